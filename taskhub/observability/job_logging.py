"""Log context of Celery jobs: the context of the sender, the job, and its arguments.

The sender's context travels in a message header. A worker's threads are reused, so each job starts with a new context
and clears it at the end.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping, Sequence
from functools import cache
from typing import Any, Final

from celery import signals

from taskhub.observability.log_context import begin, belonging, bind, bind_subjects

HEADER: Final = "taskhub_belonging"
_OWN: Final = frozenset({"job", "job_id"})
"""Fields of a sending job that are not passed on to the new one."""


def connect() -> None:
    """Connect in every process: all send jobs, and only workers run them."""
    uid = "taskhub.observability.job_logging"
    signals.before_task_publish.connect(_send_along, weak=False, dispatch_uid=uid)
    signals.task_prerun.connect(_begin, weak=False, dispatch_uid=uid)
    signals.task_postrun.connect(_end, weak=False, dispatch_uid=uid)


def _send_along(headers: dict[str, Any], **_: Any) -> None:
    headers[HEADER] = {name: value for name, value in belonging().items() if name not in _OWN}


def _begin(task_id: str, task: Any, args: Sequence[Any], kwargs: Mapping[str, Any], **_: Any) -> None:
    sent_along = getattr(task.request, HEADER, None) or {}
    begin(**{"door": "job", **sent_along})
    bind(job=task.name, job_id=task_id)
    bind_subjects({**dict(zip(_parameters(task.run), args, strict=False)), **kwargs})


@cache
def _parameters(run: Callable[..., Any]) -> tuple[str, ...]:
    return tuple(inspect.signature(run).parameters)


def _end(**_: Any) -> None:
    begin()
