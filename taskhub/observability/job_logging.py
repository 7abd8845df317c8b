"""What a job's log lines belong to: whatever the one who sent it worked on, the job itself, and its subject.

A message carries the sender's belonging in a header. A worker's threads stay, so each job begins anew and leaves
nothing.
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
"""Of a job that sends a job: these are not the new one's."""


def connect() -> None:
    """In every process: all send jobs, and only a worker runs them."""
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
