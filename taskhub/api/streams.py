"""The streams of the hub: `/api/events/stream` and the log of an execution."""

from __future__ import annotations

import re
from collections.abc import Mapping
from functools import lru_cache
from typing import Final
from uuid import UUID

from django.http import HttpRequest, HttpResponse

from taskhub.api.stream_view import had_everything, last_event_id, running_hub, ticketed
from taskhub.auth.rate_limits import address_of
from taskhub.errors import Invalid
from taskhub.events import outbox
from taskhub.events.channel_reader import ChannelReader
from taskhub.events.channels import TASKS
from taskhub.events.filters import Filters
from taskhub.events.frames import encode_event, encode_named_farewell
from taskhub.events.open_streams import Listening, Slot
from taskhub.events.stream import EventStream
from taskhub.events.tickets import EVENTS, EXECUTION_LOG
from taskhub.events.types import Connected
from taskhub.executions.log_stream import SEEN_TO_THE_END, log_source
from taskhub.lib.query_values import read_moment
from taskhub.roles import Caller, viewer_of
from taskhub.selectors.executions import execution_get_for
from taskhub.web.thread_pool import with_database

_ASKED_MOST: Final = 200
_EVENT_ID: Final = re.compile(r"tasks:(\d{1,18})\Z", re.ASCII)
_LOG_ID: Final = re.compile(rf"([0-9a-f-]{{36}}):(\d{{1,18}})({SEEN_TO_THE_END})?\Z", re.ASCII)


@ticketed(EVENTS)
async def events_stream(request: HttpRequest, caller: Caller, slot: Slot) -> EventStream:
    """Spec 003: every event of the hub, as a `message` with the envelope."""
    asked = EVENTS.read(request.GET)
    filters = read_filters(asked)._replace(viewer=viewer_of(caller))
    resume_after = _resume_after(last_event_id(request))
    since = asked["since"]
    hub = running_hub()
    feed = await hub.feed(TASKS)
    if resume_after is None and since:
        resume_after = await hub.reader.run(outbox.read_seq_before, TASKS, read_moment(since))
    if resume_after is not None:
        feed.counters["resumes"] += 1
    cursor = feed.head if resume_after is None else resume_after
    slot.listening = Listening(caller.get_username(), address_of(request)[:45], _asked(request))
    position = f"{TASKS}:{cursor}"
    connected = Connected(last_event_id=position, announcements=feed.announcements())
    greeting = encode_event(connected, event_id=position)
    reader = ChannelReader(feed, cursor, filters, slot.repeats)
    return EventStream(reader, slot=slot, channel=TASKS, greeting=greeting)


def _asked(request: HttpRequest) -> dict[str, str]:
    """The filters as they were asked for, so that a row can hold them: whatever was sent, PostgreSQL takes no NUL."""
    given = {name: request.GET.get(name, "").replace("\0", "")[:_ASKED_MOST] for name in EVENTS.names}
    return {name: value for name, value in given.items() if value}


def _resume_after(last_id: str) -> int | None:
    """The number in `tasks:<number>`; None where nothing is to be resumed. Raises Invalid."""
    if not last_id:
        return None
    found = _EVENT_ID.match(last_id)
    if found is None:
        raise Invalid("Last-Event-ID is not an id of this stream.", code="last_event_id_malformed")
    return int(found[1])


def read_filters(asked: Mapping[str, str]) -> Filters:
    """`asked`: the canonical parameters of the stream."""
    return _filters(asked["types"], asked["task_id"], asked["assignee"])


@lru_cache(1024)
def _filters(types: str, task_id: str, assignee: str) -> Filters:
    """Many streams want the same."""
    return Filters(frozenset(word for word in types.split(",") if word), task_id, assignee)


@ticketed(EXECUTION_LOG)
async def execution_log_stream(request: HttpRequest, caller: Caller, slot: Slot, task_id: UUID) -> HttpResponse:
    """An execution's log as it is written: the newest one's, or `?execution_id=`'s, or the one of `Last-Event-ID`."""
    execution_id, after = _log_position(request)
    if last_event_id(request).endswith(SEEN_TO_THE_END):
        return had_everything()
    feed = await running_hub().feed(TASKS)
    eyes, since = Filters(viewer=viewer_of(caller)), feed.head
    slot.may_go_on = lambda: eyes.may_follow(str(task_id), feed.privacy, since=since)
    execution = await with_database(execution_get_for, user=caller, task_id=task_id, execution_id=execution_id)
    return EventStream(
        log_source(execution, after=after),
        slot=slot,
        channel=f"execution-{execution.pk}-log",
        farewell=encode_named_farewell,
    )


def _log_position(request: HttpRequest) -> tuple[UUID | None, int]:
    named = EXECUTION_LOG.read(request.GET)["execution_id"]
    execution_id = UUID(named) if named else None
    last_id = last_event_id(request)
    if not last_id:
        return execution_id, 0
    found = _LOG_ID.match(last_id)
    # Where the address names an execution, which a ticket may be bound to, an id of another is not this stream's.
    if found is None or (execution_id and _uuid(found[1], "Last-Event-ID") != execution_id):
        raise Invalid("Last-Event-ID is not an id of this stream.", code="last_event_id_malformed")
    return _uuid(found[1], "Last-Event-ID"), int(found[2])


def _uuid(value: str, name: str) -> UUID:
    try:
        return UUID(value)
    except ValueError:
        raise Invalid("Some parameters are wrong; details names them.", details={name: ["Must be a UUID."]}) from None
