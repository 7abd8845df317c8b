"""Celery jobs: polls of watched sandboxes, and deletion of expired rows.

A tick that finds the previous one still running is skipped and counted. Without watched sandboxes no request is sent.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Coroutine
from datetime import timedelta
from functools import partial
from typing import Any, Final

from asgiref.sync import async_to_sync
from celery import shared_task
from django.conf import settings
from django.utils import timezone

from sandboxes.channels import sessions_channel, status_channel
from sandboxes.errors import KeyRefused
from sandboxes.gateway import Document, open_gateway
from sandboxes.models import DESTROYED, Sandbox, Watching
from sandboxes.selectors.subscriptions import watched_ids
from sandboxes.services import operator_actions
from sandboxes.services.attention import list_is_looked_at
from sandboxes.services.daytona_webhooks import webhooks_forget
from sandboxes.services.operator_actions import Action
from sandboxes.services.sandbox_state import (
    poll_note,
    poll_note_skipped,
    sandboxes_forget,
    sandboxes_mark_destroyed,
    sandboxes_observe,
    sandboxes_store,
    sessions_observe,
    trouble_report,
    viewers_send_to_ids,
)
from sandboxes.services.state_changes import state_changes_forget
from sandboxes.services.subscriptions import subscriptions_drop_orphans
from sandboxes.watch.polling import Findings, look_at_list, look_at_sandboxes, look_at_sessions
from taskhub.lib import awake
from taskhub.lib.database_limits import retention
from taskhub.lib.locks import alone
from taskhub.models import MetricName
from taskhub.observability.metrics_store import meter
from taskhub.web.thread_pool import wait_here

log = logging.getLogger(__name__)

_SHARE: Final = 0.8
"""Share of its period that a tick may spend on requests; the rest is for publishing."""
FORGET_WEBHOOKS_AFTER: Final = timedelta(hours=1)
FORGET_SANDBOXES_AFTER: Final = timedelta(days=7)
FORGET_STATES_AFTER: Final = timedelta(days=30)


@shared_task
def poll_status() -> None:
    """`sandbox-status` for every sandbox whose status is watched."""
    _tick("status", settings.SANDBOX_STATUS_S, Watching.STATUS, _poll_status)


@shared_task
def poll_sessions() -> None:
    """`sessions-update` for every sandbox whose sessions are watched."""
    _tick("sessions", settings.SANDBOX_SESSIONS_S, Watching.SESSIONS, _poll_sessions)


@shared_task
def poll_list() -> None:
    """Refresh all rows while an operator looks at their list in the admin."""
    if not list_is_looked_at():
        return
    awake.note(awake.SANDBOX_LIST)
    with alone("taskhub:poll:list", at_most_s=1.5 * settings.SANDBOX_LIST_S) as is_alone:
        if is_alone:
            known = Sandbox.objects.exclude(state=DESTROYED).order_by("seen_at").values_list("pk", flat=True)
            _poll("list", settings.SANDBOX_LIST_S, list(known), _poll_list)
        else:
            poll_note_skipped(name="list")


@shared_task
def sandboxes_act(action: Action, account_id: int, sandbox_ids: list[str]) -> None:
    """What an operator asked for in the admin."""
    wait_here(partial(operator_actions.sandboxes_act, account_id=account_id, action=action, sandbox_ids=sandbox_ids))


@shared_task
def subscriptions_expire() -> None:
    """Delete the subscriptions of dead processes."""
    subscriptions_drop_orphans()


@shared_task
@retention()
def observations_trim() -> None:
    """Delete expired webhook ids, stale sandboxes, and what is known of states a month ago."""
    now = timezone.now()
    webhooks_forget(before=now - FORGET_WEBHOOKS_AFTER)
    sandboxes_forget(before=now - FORGET_SANDBOXES_AFTER)
    state_changes_forget(before=now - FORGET_STATES_AFTER)


def _tick(name: str, period_s: float, kind: Watching, poll: Callable[[list[str], float], Findings]) -> None:
    # A killed worker holds the lock for little more than a period.
    with alone(f"taskhub:poll:{name}", at_most_s=1.5 * period_s) as is_alone:
        if not is_alone:
            poll_note_skipped(name=name)
        elif wanted := watched_ids(kind):
            awake.note(awake.SUBSCRIPTIONS)
            _poll(name, period_s, wanted, poll)


def _poll(name: str, period_s: float, wanted: list[str], poll: Callable[[list[str], float], Findings]) -> None:
    started_at, clock = timezone.now(), time.monotonic()
    findings = poll(wanted, period_s)
    error = next(iter(findings.troubles.values()), None)
    took_s = time.monotonic() - clock
    meter.add(MetricName.POLL_MS, 1000 * took_s, name)
    poll_note(
        name=name,
        started_at=started_at,
        took_s=took_s,
        watched=len(wanted),
        requests=findings.requests,
        error_code=error.code if error is not None else "",
    )


def _guarded(look: Callable[[], Coroutine[Any, Any, Findings]], wanted: list[str]) -> Findings:
    """The findings of `look`. Without a key no request is possible, and all viewers are told."""
    try:
        return async_to_sync(look)()
    except KeyRefused as error:
        return Findings(troubles=dict.fromkeys(wanted, error))


def _poll_status(wanted: list[str], period_s: float) -> Findings:
    known = {sandbox.pk: sandbox.document for sandbox in Sandbox.objects.filter(pk__in=wanted)}
    looked_for = {sandbox_id: known.get(sandbox_id, {}) for sandbox_id in wanted}

    async def look() -> Findings:
        async with open_gateway(watching=True) as gateway:
            return await look_at_sandboxes(gateway, looked_for, within_s=_SHARE * period_s)

    findings = _guarded(look, wanted)
    sandboxes_observe(documents=findings.documents, source="poll")
    sandboxes_mark_destroyed(sandbox_ids=findings.missing)
    viewers_send_to_ids(names=findings.names)
    trouble_report(channel_of=status_channel, troubles=findings.troubles, retry_s=period_s)
    return findings


def _poll_list(wanted: list[str], period_s: float) -> Findings:
    known: dict[str, Document] = {sandbox_id: {} for sandbox_id in wanted}

    async def look() -> Findings:
        async with open_gateway(watching=True) as gateway:
            return await look_at_list(gateway, known, within_s=_SHARE * period_s)

    findings = _guarded(look, wanted)
    sandboxes_store(documents=findings.documents)
    sandboxes_mark_destroyed(sandbox_ids=findings.missing)
    return findings


def _poll_sessions(wanted: list[str], period_s: float) -> Findings:
    # A sandbox whose row has no usable address is looked at first; its sessions come with the next tick.
    rows = {row.pk: row for row in Sandbox.objects.filter(pk__in=wanted) if row.toolbox_url}
    unknown: dict[str, Document] = {sandbox_id: {} for sandbox_id in wanted if sandbox_id not in rows}

    async def look() -> Findings:
        async with open_gateway(watching=True) as gateway:
            first = await look_at_sandboxes(gateway, unknown, within_s=_SHARE * period_s / 2)
            found = await look_at_sessions(gateway, rows.values(), within_s=_SHARE * period_s / 2)
        found.documents, found.requests = first.documents, found.requests + first.requests
        found.missing, found.names = found.missing + first.missing, first.names
        found.troubles |= first.troubles
        return found

    findings = _guarded(look, wanted)
    sandboxes_observe(documents=findings.documents, source="poll")
    for sandbox_id, sessions in findings.sessions.items():
        sessions_observe(sandbox=rows[sandbox_id], sessions=sessions)
    sandboxes_mark_destroyed(sandbox_ids=findings.missing)
    viewers_send_to_ids(names=findings.names)
    trouble_report(channel_of=sessions_channel, troubles=findings.troubles, retry_s=period_s)
    return findings
