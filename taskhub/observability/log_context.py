"""Log context: request, caller, job, and the objects that they are about.

Stored in context variables (structlog's), so it follows the work: from a request's thread to the loop that sends its
stream, into coroutines, and with a job to a worker (`job_logging.py`). Reused threads start with a new context for
each request and job; shared work that a request happens to start has none (`for_all`, `task_for_all`).
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
"""Arguments of these names identify what a request or a job is about."""
_WELL_FORMED: Final = re.compile(r"[A-Za-z0-9._-]{1,64}", re.ASCII)
_LONGEST: Final = 200


class Belonging(TypedDict, total=False):
    """`user` is the account's name; `door` the interface (`Actor.door`); `job` the job's name."""

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
    """Add fields to the log context."""
    bind_contextvars(**fields)


def begin(**fields: Unpack[Belonging]) -> None:
    """Replace the log context by these fields."""
    clear_contextvars()
    bind_contextvars(**fields)


def begin_request(asked_for: str) -> str:
    """The id of the request: the requested one if it is well-formed, else a new one."""
    request_id = asked_for if _WELL_FORMED.fullmatch(asked_for) else uuid.uuid4().hex
    begin(request_id=request_id)
    return request_id


def bind_caller(caller: Caller) -> None:
    """Anonymous users are not bound to the log context."""
    if caller.is_authenticated:
        bind_contextvars(user=caller.get_username(), role=role_of(caller).group)


def bind_subjects(arguments: Mapping[str, object]) -> None:
    """Bind those arguments of a view, a tool or a job that identify its objects."""
    named = {name: str(arguments[name])[:_LONGEST] for name in SUBJECTS if arguments.get(name)}
    bind_contextvars(**named)


def belonging() -> dict[str, Any]:
    """The current log context."""
    return get_contextvars()


def for_all(function: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
    """Call a function without log context, because it starts shared work that belongs to no single request."""
    return Context().run(function, *args, **kwargs)


def task_for_all(work: Coroutine[Any, Any, T], *, name: str) -> asyncio.Task[T]:
    """Likewise, a task of the running loop."""
    return asyncio.create_task(work, name=name, context=Context())
