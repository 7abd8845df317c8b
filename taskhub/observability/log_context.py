"""What a log line belongs to: a request, its caller, a job, and what these are about.

It stands in context variables (structlog's), so it goes wherever the work goes: from a request's thread to the loop
that sends its stream, into coroutines, and with a job to a worker (`logs/jobs.py`). Threads that stay begin anew
with each request and job; what a request starts for all begins with nothing (`for_all`, `task_for_all`).
"""

from __future__ import annotations

import asyncio
import re
import uuid
from collections.abc import Callable, Coroutine, Mapping
from contextvars import Context
from typing import Any, Final, ParamSpec, TypedDict, TypeVar, Unpack

from structlog.contextvars import bind_contextvars, clear_contextvars, get_contextvars

from taskhub.roles import Caller, role_of

P = ParamSpec("P")
T = TypeVar("T")

SUBJECTS: Final = ("task_id", "execution_id", "sandbox_id")
"""Arguments of these names say what a request or a job is about."""
_WELL_FORMED: Final = re.compile(r"[A-Za-z0-9._-]{1,64}", re.ASCII)
_LONGEST: Final = 200


class Belonging(TypedDict, total=False):
    """`user` is the account's name; `door` where the work came in (`Actor.door`); `job` a job's name."""

    request_id: str
    user: str
    role: str
    door: str
    task_id: str
    execution_id: str
    sandbox_id: str
    job: str
    job_id: str


def bind(**fields: Unpack[Belonging]) -> None:
    """From here on lines belong to these as well."""
    bind_contextvars(**fields)


def begin(**fields: Unpack[Belonging]) -> None:
    """From here on lines belong to these alone."""
    clear_contextvars()
    bind_contextvars(**fields)


def begin_request(asked_for: str) -> str:
    """The id of the request: the one it asked for, if that is well-formed; else a new one."""
    request_id = asked_for if _WELL_FORMED.fullmatch(asked_for) else uuid.uuid4().hex
    begin(request_id=request_id)
    return request_id


def bind_caller(caller: Caller) -> None:
    """Whoever nobody knows is not named."""
    if caller.is_authenticated:
        bind_contextvars(user=caller.get_username(), role=role_of(caller).group)


def bind_subjects(arguments: Mapping[str, object]) -> None:
    """Of the arguments of a view, a tool or a job, those that say what it is about."""
    named = {name: str(arguments[name])[:_LONGEST] for name in SUBJECTS if arguments.get(name)}
    bind_contextvars(**named)


def belonging() -> dict[str, Any]:
    """What lines belong to here."""
    return get_contextvars()


def for_all(function: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
    """Call what starts something that all share, by whichever request comes first: it belongs to none."""
    return Context().run(function, *args, **kwargs)


def task_for_all(work: Coroutine[Any, Any, T], *, name: str) -> asyncio.Task[T]:
    """Likewise a task of the running loop."""
    return asyncio.create_task(work, name=name, context=Context())
