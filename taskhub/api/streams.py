"""`/api/events/stream` and what every stream view shares: who calls, what they ask for, and errors before it opens."""

from __future__ import annotations

import random
import re
from collections.abc import Awaitable, Callable, Coroutine
from datetime import UTC, datetime
from functools import wraps
from typing import Any, Concatenate, Final, ParamSpec
from uuid import UUID

from asgiref.sync import sync_to_async
from django.conf import settings
from django.contrib.auth.models import AnonymousUser, User
from django.db import DatabaseError
from django.http import HttpRequest, HttpResponse, JsonResponse
from django.views.decorators.csrf import csrf_exempt
from rest_framework.exceptions import AuthenticationFailed

from taskhub.api.authentication import user_of
from taskhub.api.errors import error_response
from taskhub.errors import HubError, Invalid, Unavailable, error_body
from taskhub.events import storage
from taskhub.events.channels import TASKS, ChannelManager
from taskhub.events.frames import Filters, encode_event
from taskhub.events.hub import get_hub
from taskhub.events.stream import EventStream, Slot, TooManyStreams, registry
from taskhub.events.types import EVENT_TYPES, Connected
from taskhub.execution_log import encode_log_farewell, log_source
from taskhub.selectors.executions import execution_get_for

P = ParamSpec("P")
Caller = User | AnonymousUser

_EVENT_ID: Final = re.compile(r"tasks:(\d{1,18})\Z", re.ASCII)
_LOG_ID: Final = re.compile(r"([0-9a-f-]{36}):(\d{1,18})\Z", re.ASCII)


class NotAuthenticated(HubError):
    status = 401
    default_code = "not_authenticated"


def stream_view(
    view: Callable[Concatenate[HttpRequest, Caller, Slot, P], Awaitable[EventStream]],
) -> Callable[Concatenate[HttpRequest, P], Coroutine[Any, Any, HttpResponse]]:
    """A view that opens a stream for a caller who may read. Every error comes before the stream, as JSON."""

    @wraps(view)
    async def opened(request: HttpRequest, /, *args: P.args, **kwargs: P.kwargs) -> HttpResponse:
        if request.method != "GET":
            body = error_body("method_not_allowed", "A stream is opened with GET.")
            return JsonResponse(body, status=405, headers={"Allow": "GET"})
        slot: Slot | None = None
        try:
            caller = await _reader(request)
            slot = registry.admit(caller_key(request, caller))
            response = await view(request, caller, slot, *args, **kwargs)
            slot = None  # it is the stream's now
        except HubError as error:
            return _refusal(error)
        except DatabaseError:
            return _refusal(Unavailable("The database does not answer; try again."))
        else:
            return response
        finally:
            if slot is not None:
                slot.release()

    # It changes nothing; a wrong method is a 405 and not a question of CSRF.
    return csrf_exempt(opened)


async def _reader(request: HttpRequest) -> Caller:
    """The caller, if they may read the hub's events. Raises NotAuthenticated."""
    anonymous = "HTTP_AUTHORIZATION" not in request.META and settings.SESSION_COOKIE_NAME not in request.COOKIES
    try:
        # Only who shows credentials costs a look at the database, and with it a thread.
        caller: Caller = AnonymousUser() if anonymous else await sync_to_async(_resolve)(request)
    except AuthenticationFailed:
        raise NotAuthenticated("The token is wrong or has expired.") from None
    if not ChannelManager().can_read_channel(caller, TASKS):
        raise NotAuthenticated("Send a token: Authorization: Bearer …")
    return caller


def _resolve(request: HttpRequest) -> Caller:
    user = user_of(request)
    return user if user.is_authenticated else AnonymousUser()


def caller_key(request: HttpRequest, caller: Caller) -> str:
    """Whose streams are counted together: an account's, or an address's."""
    return f"user:{caller.pk}" if caller.is_authenticated else f"address:{request.META.get('REMOTE_ADDR', '')}"


def _refusal(error: HubError) -> JsonResponse:
    response = error_response(error)
    if isinstance(error, Unavailable) and not isinstance(error, TooManyStreams):
        # Jittered, so that those who were refused together do not come back together.
        response.headers["Retry-After"] = str(random.randint(1, 5))  # noqa: S311 - spreads load, hides nothing
    if isinstance(error, NotAuthenticated):
        response.headers["WWW-Authenticate"] = "Bearer"
    return response


def last_event_id(request: HttpRequest) -> str:
    """The header that a reconnecting client sends, or `?lastEventId=` of one that cannot set headers."""
    return request.headers.get("Last-Event-ID") or request.GET.get("lastEventId", "")


@stream_view
async def events_stream(request: HttpRequest, _: Caller, slot: Slot) -> EventStream:
    """Spec 003: every event of the hub, as a `message` with the envelope."""
    filters = read_filters(request)
    resume_after = _resume_after(last_event_id(request))
    since = _since(request)
    hub = get_hub()
    feed = await hub.feed(TASKS)
    if resume_after is None and since is not None:
        resume_after = await hub.reader.run(storage.read_seq_before, TASKS, since)
    if resume_after is not None:
        feed.counters["resumes"] += 1
    cursor = feed.head if resume_after is None else resume_after
    position = f"{TASKS}:{cursor}"
    greeting = encode_event(Connected(last_event_id=position), event_id=position)
    return EventStream(feed.follow(cursor, filters), slot=slot, channel=TASKS, greeting=greeting)


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
    text = request.GET.get("since", "")
    if not text:
        return None
    try:
        moment = datetime.fromisoformat(text)
        return moment.astimezone(UTC) if moment.tzinfo is not None else moment.replace(tzinfo=UTC)
    except (ValueError, OverflowError):
        words = ["Not an ISO 8601 time, like 2025-06-22T10:00:00Z."]
        raise Invalid("Some parameters are wrong; details names them.", details={"since": words}) from None


def read_filters(request: HttpRequest) -> Filters:
    """`?types=a,b`, `?task_id=`, `?assignee=`. Raises Invalid, naming each parameter that is wrong."""
    wrong: dict[str, list[str]] = {}
    types = frozenset(word for word in request.GET.get("types", "").split(",") if word)
    if types - EVENT_TYPES.keys():
        wrong["types"] = [f"There are {', '.join(EVENT_TYPES)}."]
    task_id = request.GET.get("task_id", "")
    if task_id:
        try:
            task_id = str(UUID(task_id))
        except ValueError:
            wrong["task_id"] = ["Not a task's id."]
    if wrong:
        raise Invalid("Some parameters are wrong; details names them.", details=wrong)
    return Filters(types, task_id, request.GET.get("assignee", ""))


@stream_view
async def execution_log_stream(request: HttpRequest, caller: Caller, slot: Slot, task_id: UUID) -> EventStream:
    """An execution's log as it is written: the newest one's, or `?execution_id=`'s, or the one of `Last-Event-ID`."""
    execution_id, after = _log_position(request)
    execution = await sync_to_async(execution_get_for)(user=caller, task_id=task_id, execution_id=execution_id)
    return EventStream(
        log_source(execution, after=after),
        slot=slot,
        channel=f"execution-{execution.pk}-log",
        farewell=encode_log_farewell,
    )


def _log_position(request: HttpRequest) -> tuple[UUID | None, int]:
    last_id = last_event_id(request)
    if last_id:
        found = _LOG_ID.match(last_id)
        if found is None:
            raise Invalid("Last-Event-ID is not one of this stream's.", code="last_event_id_malformed")
        return _uuid(found[1], "Last-Event-ID"), int(found[2])
    named = request.GET.get("execution_id", "")
    return (_uuid(named, "execution_id") if named else None), 0


def _uuid(value: str, name: str) -> UUID:
    try:
        return UUID(value)
    except ValueError:
        raise Invalid("Not an execution's id.", details={name: ["Not an execution's id."]}) from None
