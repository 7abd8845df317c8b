"""Whose log a session's command writes: an execution's has marks and secret values that are not shown."""

from __future__ import annotations

from typing import NamedTuple
from uuid import UUID

from taskhub.executions.executor import LogTokens
from taskhub.executions.log_relay import LogKey
from taskhub.executions.masking import Mask, mask_of
from taskhub.models import ACTIVE_STATUSES, SESSION_PREFIX, Execution


class LogOrigin(NamedTuple):
    """What must not be shown of a log; nothing where it is no execution's.

    `is_released`: of an execution whose sandbox was given back. Its secret values are deleted, so what a sandbox may
    still have of its log must not be read.
    """

    execution_id: UUID | None = None
    tokens: LogTokens | None = None
    mask: Mask | None = None
    is_released: bool = False


def log_origin(session_name: str) -> LogOrigin:
    execution = _execution_of(session_name)
    if execution is None:
        return LogOrigin()
    tokens = LogTokens.read(execution.log_token)
    return LogOrigin(execution.pk, tokens, mask_of(execution), execution.released_at is not None)


def archived_execution(key: LogKey) -> Execution | None:
    """The finished execution whose log this is, if its log was kept."""
    execution = _execution_of(key.session_name)
    if execution is None or execution.status in ACTIVE_STATUSES or execution.log_lines is None:
        return None
    if execution.task_id is None:
        return None  # as over REST: an execution is found by its task
    # A sandbox that was made for it has the session's name.
    names = {execution.sandbox_id} | ({execution.session_name} if not execution.requested_sandbox_id else set())
    return execution if key.sandbox_id in names and key.command_id == execution.command_id else None


def _execution_of(session_name: str) -> Execution | None:
    try:
        execution_id = UUID(session_name.removeprefix(SESSION_PREFIX))
    except ValueError:
        return None
    return Execution.objects.defer("script", "env").filter(pk=execution_id, session_name=session_name).first()
