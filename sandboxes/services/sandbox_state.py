"""Sandbox state from polls, pushes and first looks: stored in the row, and published.

`sandbox-status` and `sessions-update` carry Daytona's own object with `sandboxId`, `timestamp`, `changed` (something in
it differs from the last time) and `source`. The result of a poll is always published, a pushed one only if it is new.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from datetime import datetime, timedelta
from typing import Any, Final, Literal

from django.db import transaction
from django.db.models import F
from django.utils import timezone

from sandboxes.channels import sessions_channel, status_channel
from sandboxes.errors import SandboxError
from sandboxes.gateway import Document
from sandboxes.models import DESTROYED, EXECUTION_LABEL, Poll, Sandbox
from sandboxes.services.state_changes import states_note
from taskhub.events.publish import announce
from taskhub.lib.timestamps import iso

SURELY_GONE_AFTER: Final = timedelta(minutes=1)
"""After this time Daytona's caches no longer contain a destroyed sandbox."""

Source = Literal["poll", "push"]

_UNSEEN: Final = frozenset({"env", "outboundProxyUrl"})
"""Fields that are never stored or shown: they may contain secrets."""
_DETAILS: Final = frozenset(
    {"kvm", "volumes", "buildInfo", "backupCreatedAt", "otelEndpointOverride", "linkedSandboxId"}
)
"""Fields that only single sandboxes have, not those of a list: left out, or they would alternate between the two."""

_OF_ENVIRONMENTS: Final = frozenset({"snapshot", "networkAllowList", "domainAllowList"})
"""Fields of an environment that its operators alone read: left out of sandboxes that the hub made for executions."""


def shown(document: Document) -> Document:
    """Daytona's object as viewers see it, independent of its source."""
    labels, left_out = document.get("labels"), _UNSEEN | _DETAILS
    if isinstance(labels, dict) and EXECUTION_LABEL in labels:
        left_out |= _OF_ENVIRONMENTS
        if document.get("state") == "build_failed":
            left_out |= {"errorReason"}  # it names the image, or a line of the Dockerfile
    return {name: value for name, value in document.items() if name not in left_out}


def sandbox_first_seen(*, document: Document) -> Sandbox:
    """Store a sandbox for its first viewer, without publishing: no other viewer exists yet.

    A sandbox that was considered destroyed but still exists a minute later was not; its row starts anew.
    """
    mistaken = Sandbox.objects.filter(pk=str(document["id"]), state=DESTROYED)
    mistaken.filter(seen_at__lt=timezone.now() - SURELY_GONE_AFTER).delete()
    ((row, _),) = _write([document])
    return row


def sandboxes_observe(*, documents: Iterable[Document], source: Source) -> None:
    """Store sandboxes as Daytona has just described them, and tell their viewers. Raises redis.RedisError."""
    for row, changed in _write(documents):
        if changed or source == "poll":
            announce(status_channel(row.pk), "sandbox-status", status_data(row, changed=changed, source=source))
        if row.state == DESTROYED:
            _say_goodbye(row.pk, "sandbox_destroyed")


def sandboxes_store(*, documents: Iterable[Document]) -> None:
    """Likewise for sandboxes that were read for the admin, whether they have viewers or not: only changes are told."""
    for row, changed in _write(documents):
        if changed:
            announce(status_channel(row.pk), "sandbox-status", status_data(row, changed=True, source="poll"))
            if row.state == DESTROYED:
                _say_goodbye(row.pk, "sandbox_destroyed")


@transaction.atomic
def _write(documents: Iterable[Document]) -> list[tuple[Sandbox, bool]]:
    """The current rows, and whether they changed; in two statements for any number of them.

    In one transaction, so that only one of several processes that received the same push publishes it.
    """
    seen = {str(document["id"]): shown(document) for document in documents}
    known = {row.pk: row for row in Sandbox.objects.select_for_update().filter(pk__in=list(seen))}
    now = timezone.now()
    before = {sandbox_id: row.state for sandbox_id, row in known.items()}
    news: list[tuple[Sandbox, bool]] = []
    for sandbox_id, document in seen.items():
        row = known.get(sandbox_id) or Sandbox(id=sandbox_id)
        row.seen_at = now
        if is_older(document, row.document):
            news.append((row, False))  # a newer document was stored meanwhile
            continue
        changed = document != row.document
        row.document = document
        row.name, row.state = str(document.get("name", ""))[:255], str(document.get("state", "unknown"))[:50]
        news.append((row, changed))
    if changed_rows := [row for row, changed in news if changed]:
        fields = ["name", "state", "document", "seen_at"]
        Sandbox.objects.bulk_create(changed_rows, update_conflicts=True, unique_fields=["id"], update_fields=fields)
    if same := [row.pk for row, changed in news if not changed]:
        Sandbox.objects.filter(pk__in=same).update(seen_at=now)
    states_note({row.pk: row.state for row, changed in news if changed and row.state != before.get(row.pk)})
    return news


def is_older(document: Document, known: Document) -> bool:
    """Whether Daytona's own `updatedAt` says that `document` is older than `known`."""
    if DESTROYED in (document.get("state"), known.get("state")):
        return document.get("state") != DESTROYED  # destroyed is final
    try:
        return datetime.fromisoformat(document["updatedAt"]) < datetime.fromisoformat(known["updatedAt"])
    except (KeyError, TypeError, ValueError):
        return False  # one of them has no time


def sandboxes_mark_destroyed(*, sandbox_ids: Iterable[str]) -> None:
    """Daytona no longer knows these sandboxes: tell their viewers, and close their streams. Raises redis.RedisError."""
    for sandbox_id in sandbox_ids:
        row = Sandbox.objects.filter(pk=sandbox_id).first()
        if row is None:
            _say_goodbye(sandbox_id, "sandbox_not_found")
            continue
        changed = row.state != DESTROYED
        row.state, row.document["state"], row.seen_at = DESTROYED, DESTROYED, timezone.now()
        row.save(update_fields=["state", "document", "seen_at"])
        if changed:
            states_note({row.pk: row.state})
        announce(status_channel(row.pk), "sandbox-status", status_data(row, changed=changed, source="poll"))
        _say_goodbye(row.pk, "sandbox_destroyed")


def sandboxes_forget(*, before: datetime) -> None:
    """Delete rows without viewers since then; the next viewer creates them again."""
    Sandbox.objects.filter(seen_at__lt=before).delete()


def _say_goodbye(sandbox_id: str, reason: str) -> None:
    """A `disconnected` on a channel closes its streams."""
    for channel in (status_channel(sandbox_id), sessions_channel(sandbox_id)):
        announce(channel, "disconnected", {"sandboxId": sandbox_id, "reason": reason, "timestamp": iso(timezone.now())})


def status_data(row: Sandbox, *, changed: bool, source: str) -> dict[str, Any]:
    """The data of `sandbox-status`."""
    return {
        **row.document,
        "sandboxId": row.pk,
        "timestamp": iso(row.seen_at),
        "changed": changed,
        "source": source,
    }


def sessions_first_seen(*, sandbox: Sandbox, sessions: Sequence[Document]) -> Sandbox:
    """Store the sessions for a first viewer."""
    _write_sessions(sandbox, sessions)
    return sandbox


def sessions_observe(*, sandbox: Sandbox, sessions: Sequence[Document]) -> None:
    """Store a sandbox's sessions as just listed, and tell its viewers. Raises redis.RedisError."""
    changed = _write_sessions(sandbox, sessions)
    announce(sessions_channel(sandbox.pk), "sessions-update", sessions_data(sandbox, changed=changed, source="poll"))


def _write_sessions(sandbox: Sandbox, sessions: Sequence[Document]) -> bool:
    """Whether they changed. Daytona's list has no fixed order, so sessions are sorted by id."""
    ordered = [_ordered(session) for session in sorted(sessions, key=lambda session: str(session.get("sessionId")))]
    changed = ordered != sandbox.sessions
    sandbox.sessions, sandbox.sessions_seen_at = ordered, timezone.now()
    sandbox.save(update_fields=["sessions", "sessions_seen_at"])
    return changed


def _ordered(session: Document) -> Document:
    return {**session, "commands": sorted(session.get("commands") or [], key=lambda command: str(command.get("id")))}


def sessions_data(row: Sandbox, *, changed: bool, source: str) -> dict[str, Any]:
    """The data of `sessions-update`."""
    seen_at = row.sessions_seen_at or row.seen_at
    return {
        "sandboxId": row.pk,
        "sessions": row.sessions or [],
        "timestamp": iso(seen_at),
        "changed": changed,
        "source": source,
    }


def trouble_report(*, channel_of: Callable[[str], str], troubles: Mapping[str, SandboxError], retry_s: float) -> None:
    """Tell the viewers of these sandboxes' channels why there is no news, and when it is tried again."""
    for sandbox_id, error in troubles.items():
        wait_s = max(retry_s, error.retry_after_s or 0)
        said = {"sandboxId": sandbox_id, **trouble_data(error.code, error.message, wait_s)}
        announce(channel_of(sandbox_id), "error", said)


def viewers_send_to_ids(*, names: Iterable[str]) -> None:
    """Close streams that were opened by name while Daytona did not answer; a client that reconnects is served by id."""
    for name in names:
        _say_goodbye(name, "known_by_its_id")


def trouble_data(code: str, message: str, retry_s: float) -> dict[str, Any]:
    """The data of an `error` event: no internals, and the time of the next attempt."""
    return {"code": code, "message": message, "retry_in_ms": int(retry_s * 1000), "timestamp": iso(timezone.now())}


def poll_note(*, name: str, started_at: datetime, took_s: float, watched: int, requests: int, error_code: str) -> None:
    """Store the result of a tick."""
    fields = {
        "started_at": started_at,
        "took_ms": int(took_s * 1000),
        "watched": watched,
        "requests": requests,
        "error_code": error_code,
    }
    if not Poll.objects.filter(pk=name).update(ticks=F("ticks") + 1, **fields):
        Poll.objects.create(name=name, ticks=1, **fields)


def poll_note_skipped(*, name: str) -> None:
    if not Poll.objects.filter(pk=name).update(skipped=F("skipped") + 1):
        Poll.objects.create(name=name, started_at=timezone.now(), took_ms=0, watched=0, requests=0, skipped=1)
