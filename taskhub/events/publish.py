"""The only way an event leaves a service.

`publish` appends the event inside the caller's transaction and, once that has committed, notifies the web processes
over Redis in django-eventstream's own message format. The row is the truth: a notification that is lost, or cannot be
sent at all, delays the event until the streams' next look at the table (2 s at most).

`announce` is for channels that keep nothing: the latest value of something that is looked at again and again. `nudge`
only tells web processes to look at rows sooner than they would by themselves.
"""

from __future__ import annotations

import json
import logging
import time
import uuid
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

    def notify(self, message: bytes) -> None:
        if time.monotonic() < self._quiet_until:
            return
        try:
            self._client.publish(REDIS_CHANNEL, message)
        except redis.RedisError as error:
            self._quiet_until = time.monotonic() + _PAUSE_S
            log.warning("Redis does not take notifications (%s); streams follow the table", type(error).__name__)
            return
        awake.note(awake.WRITES)


_notifier: Notifier | None = None


def _notify(message: bytes) -> None:
    global _notifier  # noqa: PLW0603 - one connection pool for the process, made at the first use
    if _notifier is None:
        _notifier = Notifier()
    _notifier.notify(message)


def envelope(name: str, data: dict[str, Any], *, event_id: str | None = None) -> dict[str, Any]:
    """Spec 003's envelope: `id`, `event`, `data`, `timestamp` (UTC, with a Z)."""
    return {
        "id": event_id or str(uuid.uuid4()),
        "event": name,
        "data": data,
        "timestamp": iso(timezone.now()),
    }


def publish(data: EventData, *, channel: str = TASKS) -> int:
    """Append the event to the outbox, in the transaction that changes what it reports; notify after the commit.

    Returns the event's number. Raises RuntimeError outside a transaction: an event without its change, or the other way
    round, is a bug.
    Call it last in a transaction: from here to the commit other publishers of the channel wait.
    """
    if not connection.in_atomic_block:
        raise RuntimeError("publish() must run in the transaction of the change it reports")
    text = json.dumps(envelope(data.name, to_json(data)), ensure_ascii=False, separators=(",", ":"))
    appended = get_storage().append_event(channel, "message", text)
    message = json.dumps({"channel": channel, "event_type": "message", "data": text, "pub_id": str(appended.id)})
    transaction.on_commit(lambda: _committed(data.name, message.encode()))
    return int(appended.id)


def _committed(name: str, message: bytes) -> None:
    meter.count(MetricName.EVENTS, name)
    _notify(message)


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
    message = json.dumps({"channel": channel, "event_type": event_type, "data": dumps(data), "pub_id": None})
    transaction.on_commit(lambda: _notify(message.encode()))
