"""Dispatch of Celery jobs by name, so that a service can send the job that goes on with what it wrote.

By name, since jobs import services and not the other way round.
"""

from __future__ import annotations

import logging
from typing import Final
from uuid import UUID

import redis
from celery import current_app
from django.db import transaction
from kombu.exceptions import OperationalError

log = logging.getLogger(__name__)

EXECUTION_START: Final = "taskhub.jobs.execution_start"
EXECUTION_END: Final = "taskhub.jobs.execution_end"
EXECUTIONS_ADMIT: Final = "taskhub.jobs.executions_admit"
EXECUTIONS_RELEASE: Final = "taskhub.jobs.executions_release"
EXECUTION_GONE: Final = "taskhub.jobs.execution_gone"
VERDICTS_VOID: Final = "taskhub.jobs.verdicts_void"
SNAPSHOTS_PREPARE: Final = "taskhub.jobs.snapshots_prepare"
EXECUTION_STOP_SANDBOX: Final = "taskhub.jobs.execution_stop_sandbox"


def send_job(name: str, *execution_ids: UUID) -> None:
    """Send a job now. If the broker does not answer, the job is left to the next `executions_reconcile`."""
    try:
        current_app.send_task(name, args=list(map(str, execution_ids)))
    except (OperationalError, redis.RedisError) as error:
        log.warning("%s is not sent now (%s); reconciliation will", name, type(error).__name__)


def send_job_on_commit(name: str, *execution_ids: UUID) -> None:
    """Send a job when the transaction commits; never after a rollback."""
    transaction.on_commit(lambda: send_job(name, *execution_ids))
