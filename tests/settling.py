"""Executions brought to their ends in the test's own thread, as beat and the worker do it."""

from __future__ import annotations

import time
from typing import Final

from taskhub import jobs
from taskhub.models import Execution

WITHIN_S: Final = 120


def settle(execution_id: str) -> Execution:
    """The execution when it has ended."""
    until = time.monotonic() + WITHIN_S
    while (execution := Execution.objects.get(pk=execution_id)).is_active:
        assert time.monotonic() < until, execution.status
        jobs.execution_end(execution_id)
        Execution.objects.filter(pk=execution_id, finished_at=None).update(lease_until=None)
    return execution
