"""Webhook queue: deliveries created from the outbox, and leased to the sending worker."""

from __future__ import annotations

import json
import logging
import random
from collections.abc import Iterable
from datetime import datetime, timedelta
from typing import Any, Final
from uuid import UUID

from django.db import transaction
from django.db.models import Count, Exists, F, OuterRef, QuerySet
from django.utils import timezone

from taskhub.events import outbox
from taskhub.events.channels import TASKS
from taskhub.events.filters import Filters
from taskhub.events.frames import MADE_PUBLIC, read_frame, read_text
from taskhub.events.types import TaskDeleted
from taskhub.events.visibility import Privacy, read_privacy
from taskhub.lib.leases import watch
from taskhub.models import DeliveryStatus, WebhookDelivery, WebhookEndpoint
from taskhub.webhooks.deliveries import JITTER, RETRIES_S
from taskhub.webhooks.http_client import RETRY_AFTER_MOST_S

log = logging.getLogger(__name__)

PAGE: Final = 200
WAITING_LIMIT: Final = 10_000
"""Pending deliveries of an endpoint; beyond that its events stay in the outbox."""
LEASE_S: Final = 30.0
AT_ONCE: Final = 40
AT_ONCE_FAILING: Final = 20
"""Concurrent deliveries to all endpoints, and of these to endpoints whose last attempt failed."""
AT_ONCE_PER_ENDPOINT: Final = 5
AHEAD_SEEN: Final = 500
"""Deliveries that are not due yet and whose time is held against the monotonic clock: the next ones."""
RESTS_MOST: Final = timedelta(seconds=RETRY_AFTER_MOST_S)


def deliveries_write() -> bool:
    """Create the deliveries for new events: one page for every endpoint that is behind.

    Returns whether there may be more.
    """
    head = outbox.read_heads([TASKS])[TASKS]
    behind = WebhookEndpoint.objects.filter(is_active=True, cursor__lt=head).values_list("pk", flat=True)
    filled = [_write_page(endpoint_id, head) for endpoint_id in behind]
    return any(filled)


@transaction.atomic
def _write_page(endpoint_id: UUID, head: int) -> bool:
    """Lock the endpoint, read from its cursor, create the deliveries, move the cursor: all or nothing."""
    endpoint = WebhookEndpoint.objects.select_for_update().filter(pk=endpoint_id, is_active=True).first()
    if endpoint is None or endpoint.cursor >= head or _is_full(endpoint):
        return False
    rows = outbox.read_after(TASKS, endpoint.cursor, PAGE)
    first = rows[0].seq if rows else head + 1
    if first != endpoint.cursor + 1:
        endpoint.notice = f"Events {endpoint.cursor + 1} to {first - 1} expired before they could be sent."
        log.warning("webhook endpoint %s: %s", endpoint.pk, endpoint.notice)
    WebhookDelivery.objects.bulk_create(_deliveries_of(endpoint, rows))
    endpoint.cursor = rows[-1].seq if rows else head
    endpoint.save(update_fields=["cursor", "notice"])
    return len(rows) == PAGE


def _is_full(endpoint: WebhookEndpoint) -> bool:
    waiting = endpoint.deliveries.filter(status=DeliveryStatus.PENDING).order_by("next_attempt_at")
    return waiting[WAITING_LIMIT - 1 : WAITING_LIMIT].exists()


def _deliveries_of(endpoint: WebhookEndpoint, rows: list[outbox.Row]) -> list[WebhookDelivery]:
    """Deliveries for the events that a stream with these filters would show; other messages are skipped."""
    frames = [read_frame(TASKS, *row, whole=True) for row in rows]
    filters = Filters(types=frozenset(endpoint.event_types), viewer=None if endpoint.private else "")
    task_ids = {task_id for frame in frames if (task_id := _read_id(frame.task_id))}
    privacy = Privacy() if endpoint.private else read_privacy(task_ids)
    now = timezone.now()
    shown = [(frame, read_text(frame)) for each in frames if (frame := filters.show(each, privacy)) is not None]
    return [
        WebhookDelivery(
            endpoint=endpoint,
            sequence=frame.seq,
            event_id=str(said["id"])[:100],
            event_type=frame.name[:100],
            task_id=_read_id(frame.task_id),
            body=text,
            next_attempt_at=now,
        )
        for frame, text in shown
        if (said := _read_envelope(text)) is not None
    ]


def _read_envelope(text: str) -> dict[str, Any] | None:
    try:
        said = json.loads(text)
    except ValueError:
        return None
    return said if isinstance(said, dict) and {"id", "event", "data", "timestamp"} <= said.keys() else None


def _read_id(text: str) -> UUID | None:
    try:
        return UUID(text)
    except ValueError:
        return None


def deliveries_claim() -> list[WebhookDelivery]:
    """Due deliveries with their endpoints, each leased to the caller, which sends them at once.

    Fairness: an endpoint has `AT_ONCE_PER_ENDPOINT` slots, a failing one a single slot, and all failing ones together
    `AT_ONCE_FAILING`.
    """
    _expire_leases()
    now = timezone.now()
    _bring_forward(now)
    return _claim(now) if _due(now).exists() else []


def _expire_leases() -> None:
    """Take away the leases of workers that have died, so that their deliveries are sent again."""
    held = WebhookDelivery.objects.filter(status=DeliveryStatus.PENDING, lease_until__isnull=False)
    for pk, attempts, until in held.values_list("pk", "attempts", "lease_until"):
        if watch.lease_is_past(("delivery", pk), (attempts, until), LEASE_S):
            WebhookDelivery.objects.filter(pk=pk, attempts=attempts, lease_until=until).update(lease_until=None)


@transaction.atomic
def _claim(now: datetime) -> list[WebhookDelivery]:
    busy = _busy()
    waits = Exists(_due(now).filter(endpoint=OuterRef("pk")))
    endpoints = [each for each in WebhookEndpoint.objects.filter(waits, is_active=True) if _is_rested(each)]
    random.shuffle(endpoints)
    endpoints.sort(key=_is_failing)
    claimed: list[WebhookDelivery] = []
    for endpoint in endpoints:
        is_failing = _is_failing(endpoint)
        places = (1 if is_failing else AT_ONCE_PER_ENDPOINT) - sum(count for pk, _, count in busy if pk == endpoint.pk)
        room = AT_ONCE - sum(count for _, _, count in busy)
        if is_failing:
            room = min(room, AT_ONCE_FAILING - sum(count for _, failing, count in busy if failing))
        taken = _lease(endpoint, now, places=min(places, room))
        busy.append((endpoint.pk, is_failing, len(taken)))
        claimed += taken
    return _withhold(claimed)


def _is_rested(endpoint: WebhookEndpoint) -> bool:
    until = endpoint.resting_until
    return until is None or watch.moment_is_past(("endpoint", endpoint.pk), until, RESTS_MOST)


def _bring_forward(now: datetime) -> None:
    """Make due what a wall clock that was set back would hold up for as long."""
    ahead = WebhookDelivery.objects.filter(
        status=DeliveryStatus.PENDING, lease_until__isnull=True, next_attempt_at__gt=now
    ).order_by("next_attempt_at")
    for pk, failures, moment in ahead.values_list("pk", "failures", "next_attempt_at")[:AHEAD_SEEN]:
        longest_s = (1 + JITTER) * RETRIES_S[min(failures, len(RETRIES_S)) - 1] if failures else 0.0
        if watch.moment_is_past(("retry", pk), moment, timedelta(seconds=longest_s)):
            WebhookDelivery.objects.filter(pk=pk, next_attempt_at=moment).update(next_attempt_at=now)


def _is_failing(endpoint: WebhookEndpoint) -> bool:
    return endpoint.failing_since is not None


def _busy() -> list[tuple[UUID, bool, int]]:
    """For each endpoint with deliveries in progress: its id, whether it is failing, their number."""
    leased = WebhookDelivery.objects.filter(status=DeliveryStatus.PENDING, lease_until__isnull=False).order_by()
    rows = leased.values_list("endpoint", "endpoint__failing_since").annotate(count=Count("pk"))
    return [(pk, failing_since is not None, count) for pk, failing_since, count in rows]


def _due(now: datetime) -> QuerySet[WebhookDelivery]:
    return WebhookDelivery.objects.filter(
        status=DeliveryStatus.PENDING, lease_until__isnull=True, next_attempt_at__lte=now
    )


def _lease(endpoint: WebhookEndpoint, now: datetime, *, places: int) -> list[WebhookDelivery]:
    """At most `places` deliveries. Rows that another worker is leasing are skipped, so this never waits."""
    due = _due(now).filter(endpoint=endpoint).order_by("next_attempt_at", "sequence")
    taken = list(due.select_for_update(skip_locked=True)[: max(places, 0)])
    leased = WebhookDelivery.objects.filter(pk__in=[delivery.pk for delivery in taken])
    leased.update(attempts=F("attempts") + 1, lease_until=now + timedelta(seconds=LEASE_S))
    for delivery in taken:
        delivery.endpoint, delivery.attempts = endpoint, delivery.attempts + 1
    return taken


def _withhold(claimed: Iterable[WebhookDelivery]) -> list[WebhookDelivery]:
    """Withhold deliveries of tasks that have become private since they were created, as streams do in a replay.

    Also those of private events to an endpoint that received private tasks when they were created, and no longer does.
    """
    told = list(claimed)
    task_ids = {each.task_id for each in told if each.task_id is not None and not each.endpoint.private}
    privacy = read_privacy(task_ids) if task_ids else Privacy()
    hidden = {each.pk for each in told if _is_hidden(each, privacy)}
    WebhookDelivery.objects.filter(pk__in=hidden).update(
        status=DeliveryStatus.FAILED, lease_until=None, error="Not sent: the task is private, or was then."
    )
    return [each for each in told if each.pk not in hidden]


def _is_hidden(delivery: WebhookDelivery, privacy: Privacy) -> bool:
    """The deletion of a task may be delivered: it reveals nothing new."""
    seq = delivery.sequence
    if delivery.endpoint.private or delivery.event_type == TaskDeleted.name or seq is None:
        return False
    task_id = str(delivery.task_id)
    if task_id in privacy.owners:
        return True
    then = [span for span in privacy.spans.get(task_id, ()) if span.holds(seq)]
    if not then or not any(span.until == seq for span in then):
        return bool(then)
    # The event that made it public, in the form for those who could not see the task before?
    said = (_read_envelope(delivery.body) or {}).get("data", {})
    return any(said.get(name) != value for name, value in MADE_PUBLIC.items())
