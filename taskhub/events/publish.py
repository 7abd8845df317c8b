"""The only way an event leaves a service.

`publish` appends the event inside the caller's transaction. Once that has committed, the web processes are notified
over Redis in django-eventstream's own message format: on SQLite at once, on PostgreSQL by the process that gives the
event its number (`numbering.py`). The row is the truth: a notification that is lost, or cannot be sent at all, delays
the event until the streams' next look at the table (2 s at most).

`announce` is for channels that keep nothing: the latest value of something that is looked at again and again. `nudge`
only tells web processes to look at rows sooner than they would by themselves.
"""

from __future__ import annotations

import json
import logging
import time
import uuid
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any, Final

import redis
from django.conf import settings
from django.db import connection, transaction
from django.utils import timezone
from django_eventstream import send_event
from django_eventstream.utils import get_storage

from taskhub.events.channels import TASKS
from taskhub.events.types import EventData, to_json
from taskhub.events.wire_json import FRAME_LIMIT, dumps, leave_out
from taskhub.lib import awake
from taskhub.lib.timestamps import iso
from taskhub.models import MetricName
from taskhub.observability.metrics_store import meter

log = logging.getLogger(__name__)

REDIS_CHANNEL: Final = "events_channel"
"""django-eventstream's name for the one pub/sub channel that carries all of its channels."""

_PAUSE_S: Final = 2.0
_FRAME_FIELDS_BYTES: Final = 256
"""More than an event's name, `data:` and the line ends take in a frame."""


class Notifier:
    """Sends notifications, and leaves a Redis that does not answer alone for 2 s: writes keep their usual speed."""

    def __init__(self) -> None:
        self._client = redis.Redis.from_url(
            settings.REDIS_URL, socket_connect_timeout=0.5, socket_timeout=0.5, retry=None, retry_on_timeout=False
        )
        self._quiet_until = 0.0

    def notify(self, messages: Sequence[bytes]) -> None:
        if time.monotonic() < self._quiet_until:
            return
        try:
            if len(messages) == 1:
                self._client.publish(REDIS_CHANNEL, messages[0])
            else:
                with self._client.pipeline(transaction=False) as pipeline:
                    for message in messages:
                        pipeline.publish(REDIS_CHANNEL, message)
                    pipeline.execute()
        except redis.RedisError as error:
            self._quiet_until = time.monotonic() + _PAUSE_S
            log.warning("Redis does not take notifications (%s); streams follow the table", type(error).__name__)
            return
        awake.note(awake.WRITES)


_notifier: Notifier | None = None


def notify(*messages: bytes) -> None:
    """Send notifications of django-eventstream's format, in order and together."""
    global _notifier  # noqa: PLW0603 - one connection pool for the process, made at the first use
    if _notifier is None:
        _notifier = Notifier()
    _notifier.notify(messages)


def envelope(name: str, data: dict[str, Any], *, event_id: str | None = None) -> dict[str, Any]:
    """Spec 003's envelope: `id`, `event`, `data`, `timestamp` (UTC, with a Z)."""
    return {
        "id": event_id or str(uuid.uuid4()),
        "event": name,
        "data": data,
        "timestamp": iso(timezone.now()),
    }


def notification(channel: str, event_type: str, data: str, number: int | None) -> bytes:
    """django-eventstream's message about an event; without a number about one that is not kept."""
    pub_id = None if number is None else str(number)
    return json.dumps({"channel": channel, "event_type": event_type, "data": data, "pub_id": pub_id}).encode()


def publish(data: EventData, *, channel: str = TASKS) -> int:
    """Append the event to the outbox, in the transaction that changes what it reports.

    Returns its number; on PostgreSQL a number below 0, for the event gets its own behind the commit. Raises
    RuntimeError outside a transaction: an event without its change, or the other way round, is a bug.
    Call it last in a transaction, after all locks: events of the same rows then have the order of their changes.
    """
    return _publish(data, channel, get_storage().append_event)


def publish_numbered(data: EventData, *, channel: str = TASKS) -> int:
    """As `publish`, for a caller that needs the number in the same transaction.

    On PostgreSQL other events of the channel get no numbers from here to the commit.
    """
    return _publish(data, channel, get_storage().append_numbered)


def _publish(data: EventData, channel: str, append: Callable[[str, str, str], Any]) -> int:
    if not connection.in_atomic_block:
        raise RuntimeError("publish() must run in the transaction of the change it reports")
    text = json.dumps(envelope(data.name, to_json(data)), ensure_ascii=False, separators=(",", ":"))
    number = int(append(channel, "message", text).id)
    transaction.on_commit(partial(meter.count, MetricName.EVENTS, data.name))
    if number > 0:
        transaction.on_commit(partial(notify, notification(channel, "message", text, number)))
    return number


def announce(channel: str, event_type: str, data: dict[str, Any]) -> None:
    """Send a named event to the present readers of the channel, without its largest fields above the frame limit.

    Raises redis.RedisError: then no reader has it.
    """
    text = dumps(data)
    excess = len(text.encode("utf-8", errors="replace")) + _FRAME_FIELDS_BYTES - FRAME_LIMIT
    if excess > 0:
        text = dumps(leave_out(data, excess))
    send_event(channel, event_type, text, json_encode=False)


def nudge(channel: str, event_type: str, data: dict[str, Any]) -> None:
    """After the commit, tell the present readers of a channel that keeps nothing; without Redis no reader hears it."""
    transaction.on_commit(partial(notify, notification(channel, event_type, dumps(data), None)))
