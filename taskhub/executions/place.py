"""The place where an execution runs, from its row."""

from __future__ import annotations

from taskhub.errors import NotFound
from taskhub.executions.executor import Place
from taskhub.executions.masking import mask_of
from taskhub.models import Execution


def execution_place(execution: Execution) -> Place:
    """Where the execution runs. Raises NotFound before it has started."""
    if not execution.command_id:
        raise NotFound("The execution has not started yet.", code="execution_not_started")
    return Place(
        execution.pk,
        execution.sandbox_id,
        execution.session_name,
        execution.command_id,
        execution.log_token,
        mask_of(execution),
    )
