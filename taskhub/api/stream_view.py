"""What every stream view shares: the caller, a place among the streams, errors before the stream opens."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from functools import partial, wraps
from typing import Any, Concatenate, ParamSpec

from django.db import DatabaseError
from django.http import HttpRequest, HttpResponse, JsonResponse
from django.views.decorators.csrf import csrf_exempt

from taskhub.api.callers import caller_key, read_caller
from taskhub.api.errors import database_unavailable, error_response, upstream
from taskhub.errors import HubError, Unavailable, error_body
from taskhub.events.hub import Hub, get_hub
from taskhub.events.open_streams import Slot, registry
from taskhub.events.stream import STREAM_TYPE, EventStream
from taskhub.events.stream_parameters import LAST_EVENT_ID
from taskhub.events.tickets import StreamKind
from taskhub.executions.executor import ExecutorError
from taskhub.observability.log_context import for_all
from taskhub.roles import Caller
from taskhub.web.cors import METHODS
from taskhub.web.opening import Opening
from taskhub.web.thread_pool import is_on_loop, wait_here

P = ParamSpec("P")


def running_hub() -> Hub:
    """The hub of the running loop, at work for all: its log lines belong to no request, also not to the first one."""
    hub = get_hub()
    for_all(hub.start)
    return hub


def stream_view(
    view: Callable[Concatenate[HttpRequest, Caller, Slot, P], Awaitable[HttpResponse]],
    kind: StreamKind | None = None,
) -> Callable[Concatenate[HttpRequest, P], HttpResponse]:
    """A view that opens a stream for a caller who may read. Every error comes before the stream, as JSON.

    With a `kind` a ticket for exactly what the request asks for opens it as well: see `ticketed`.
    """

    @wraps(view)
    def answered(request: HttpRequest, /, *args: P.args, **kwargs: P.kwargs) -> HttpResponse:
        if request.method != "GET":
            body = error_body("method_not_allowed", "A stream is opened with GET.")
            return JsonResponse(body, status=405, headers={"Allow": METHODS})
        opened = partial(_open, view, kind, request, *args, **kwargs)
        if is_on_loop():
            return Opening(request, opened, content_type=STREAM_TYPE)
        return wait_here(opened)

    # It changes nothing; a wrong method is a 405 and not a question of CSRF.
    return csrf_exempt(answered)


def ticketed(kind: StreamKind) -> Callable[[Any], Any]:
    """`stream_view` for a stream that tickets of this kind open; what the path holds must be named as the kind does."""
    return lambda view: stream_view(view, kind)


async def _open(
    view: Callable[Concatenate[HttpRequest, Caller, Slot, P], Awaitable[HttpResponse]],
    kind: StreamKind | None,
    request: HttpRequest,
    /,
    *args: P.args,
    **kwargs: P.kwargs,
) -> HttpResponse:
    slot: Slot | None = None
    try:
        caller, credential = await read_caller(request, kind, **kwargs)
        slot = registry.admit(caller_key(request, caller), credential)
        response = await view(request, caller, slot, *args, **kwargs)
        if isinstance(response, EventStream):
            # It looks after what the streams stand on.
            running_hub()
            slot = None  # it is the stream's now
    except (HubError, ExecutorError, DatabaseError) as error:
        return _refusal(error)
    else:
        return response
    finally:
        if slot is not None:
            slot.release()


def _refusal(error: HubError | ExecutorError | DatabaseError) -> JsonResponse:
    if isinstance(error, ExecutorError):
        error = upstream(error)
    elif isinstance(error, DatabaseError):
        error = database_unavailable(error) or Unavailable("The database does not answer; try again.")
    return error_response(error)


def last_event_id(request: HttpRequest) -> str:
    """The header that a reconnecting client sends, or `?lastEventId=` of one that cannot set headers."""
    return request.headers.get("Last-Event-ID") or request.GET.get(LAST_EVENT_ID.name, "")


def had_everything() -> HttpResponse:
    """For a client that comes back after a stream's last event: an EventSource takes 204 for "do not reconnect"."""
    return HttpResponse(status=204)
