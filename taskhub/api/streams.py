"""The streams of the hub: `/api/events/stream` and the log of an execution."""

from __future__ import annotations

import re
from datetime import UTC, datetime
from typing import Final
from uuid import UUID

from asgiref.sync import sync_to_async
from django.http import HttpRequest, HttpResponse

from taskhub.api.stream_view import had_everything, last_event_id, running_hub, ticketed, unknown_parameters
from taskhub.auth.rate_limits import address_of
from taskhub.errors import Invalid
from taskhub.events import outbox
from taskhub.events.channels import TASKS
from taskhub.events.filters import Filters
from taskhub.events.frames import encode_event, encode_named_farewell
from taskhub.events.stream import EventStream, Listening, Slot
from taskhub.events.tickets import EVENTS, EXECUTION_LOG
from taskhub.events.types import EVENT_TYPES, Connected
from taskhub.executions.log_stream import SEEN_TO_THE_END, log_source
from taskhub.roles import Caller, viewer_of
from taskhub.selectors.executions import execution_get_for

_ASKED_MOST: Final = 200
_FILTERS: Final = ("types", "task_id", "assignee", "since")
_WRONG: Final = "Some parameters are wrong; details names them."
_EVENT_ID: Final = re.compile(r"tasks:(\d{1,18})\Z", re.ASCII)
_LOG_ID: Final = re.compile(rf"([0-9a-f-]{{36}}):(\d{{1,18}})({SEEN_TO_THE_END})?\Z", re.ASCII)


@ticketed(EVENTS)
async def events_stream(request: HttpRequest, caller: Caller, slot: Slot) -> EventStream:
    """Spec 003: every event of the hub, as a `message` with the envelope."""
    filters = read_filters(request)._replace(viewer=viewer_of(caller))
    resume_after = _resume_after(last_event_id(request))
    since = _since(request)
    hub = running_hub()
    feed = await hub.feed(TASKS)
    if resume_after is None and since is not None:
        resume_after = await hub.reader.run(outbox.read_seq_before, TASKS, since)
    if resume_after is not None:
        feed.counters["resumes"] += 1
    cursor = feed.head if resume_after is None else resume_after
    slot.listening = Listening(caller.get_username(), address_of(request)[:45], _asked(request))
    position = f"{TASKS}:{cursor}"
    connected = Connected(last_event_id=position, announcements=feed.announcements())
    greeting = encode_event(connected, event_id=position)
    return EventStream(feed.follow(cursor, filters, slot.repeats), slot=slot, channel=TASKS, greeting=greeting)


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
        raise Invalid("Last-Event-ID is not one of this stream's.", code="last_event_id_malformed")
    return int(found[1])


def _since(request: HttpRequest) -> datetime | None:
    """`?since=` for those who have no id: an ISO 8601 time, UTC unless it says otherwise. Raises Invalid."""
    # In a query an unencoded `+` of the offset is a space.
    text = re.sub(r" (\d\d:?\d\d)\Z", r"+\1", request.GET.get("since", ""))
    if not text:
        return None
    try:
        moment = datetime.fromisoformat(text)
        return moment.astimezone(UTC) if moment.tzinfo is not None else moment.replace(tzinfo=UTC)
    except (ValueError, OverflowError):
        words = ["Must be an ISO 8601 time, like 2025-06-22T10:00:00Z."]
        raise Invalid(_WRONG, details={"since": words}) from None


def read_filters(request: HttpRequest) -> Filters:
    """`?types=a,b`, `?task_id=`, `?assignee=`. Raises Invalid, naming each parameter that is wrong."""
    wrong = unknown_parameters(request.GET, _FILTERS)
    types = frozenset(word for word in request.GET.get("types", "").split(",") if word)
    if types - EVENT_TYPES.keys():
        wrong["types"] = [f"Must be one of: {', '.join(EVENT_TYPES)}."]
    task_id = request.GET.get("task_id", "")
    if task_id:
        try:
            task_id = str(UUID(task_id))
        except ValueError:
            wrong["task_id"] = ["Must be a UUID."]
    if wrong:
        raise Invalid(_WRONG, details=wrong)
    return Filters(types, task_id, request.GET.get("assignee", ""))


@ticketed(EXECUTION_LOG)
async def execution_log_stream(request: HttpRequest, caller: Caller, slot: Slot, task_id: UUID) -> HttpResponse:
    """An execution's log as it is written: the newest one's, or `?execution_id=`'s, or the one of `Last-Event-ID`."""
    execution_id, after = _log_position(request)
    if last_event_id(request).endswith(SEEN_TO_THE_END):
        return had_everything()
    feed = await running_hub().feed(TASKS)
    eyes, since = Filters(viewer=viewer_of(caller)), feed.head
    slot.may_go_on = lambda: eyes.may_follow(str(task_id), feed.privacy, since=since)
    execution = await sync_to_async(execution_get_for)(user=caller, task_id=task_id, execution_id=execution_id)
    return EventStream(
        log_source(execution, after=after),
        slot=slot,
        channel=f"execution-{execution.pk}-log",
        farewell=encode_named_farewell,
    )


def _log_position(request: HttpRequest) -> tuple[UUID | None, int]:
    if wrong := unknown_parameters(request.GET, ("execution_id",)):
        raise Invalid(_WRONG, details=wrong)
    named = request.GET.get("execution_id", "")
    execution_id = _uuid(named, "execution_id") if named else None
    last_id = last_event_id(request)
    if not last_id:
        return execution_id, 0
    found = _LOG_ID.match(last_id)
    # Where the address names an execution, which a ticket may be bound to, an id of another is not this stream's.
    if found is None or (execution_id and _uuid(found[1], "Last-Event-ID") != execution_id):
        raise Invalid("Last-Event-ID is not one of this stream's.", code="last_event_id_malformed")
    return _uuid(found[1], "Last-Event-ID"), int(found[2])


def _uuid(value: str, name: str) -> UUID:
    try:
        return UUID(value)
    except ValueError:
        raise Invalid(_WRONG, details={name: ["Must be a UUID."]}) from None
