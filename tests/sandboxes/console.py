"""`python -m tests.sandboxes.console`: evaluates what a test asks, in an installation's own settings and database.

A question is a line that holds a Python expression; the answer is a line of JSON: what it evaluates to.
"""

from __future__ import annotations

import json
import logging
import sys
from typing import Any

import django

django.setup()

from celery import current_app  # noqa: E402, F401 - questions name it
from django.contrib.auth.models import User  # noqa: E402 - models load only after setup; questions name them
from django.db import connection  # noqa: E402 - likewise

from sandboxes import jobs  # noqa: E402 - likewise
from sandboxes.jobs import poll_sessions, poll_status, subscriptions_expire  # noqa: E402, F401 - likewise
from sandboxes.models import Poll, Sandbox, Subscription  # noqa: E402, F401 - likewise
from taskhub.auth.actor import Actor  # noqa: E402 - likewise
from taskhub.executions import log_archive  # noqa: E402 - likewise
from taskhub.models import (  # noqa: E402 - likewise
    ApiToken,  # noqa: F401
    AuditEntry,  # noqa: F401
    Execution,
    Heartbeat,  # noqa: F401
    IdempotencyKey,  # noqa: F401
    MetricSample,  # noqa: F401
    StreamProcess,  # noqa: F401
    Task,
)
from taskhub.services import executions  # noqa: E402 - likewise

log = logging.getLogger(__name__)

# A poll gives up what has not answered within a share of its period; a busy machine may take longer than that.
jobs._SHARE = 12.0


def hold_writes() -> None:
    """Keep every other writer of the database waiting."""
    connection.cursor().execute("BEGIN IMMEDIATE")


def release_writes() -> None:
    connection.cursor().execute("ROLLBACK")


def execute(script: str, **fields: Any) -> str:
    """Queue an execution of a task of its own; its id."""
    actor = Actor(door="rest", user=User.objects.get(username="operator"))
    task = Task.objects.create(title="measured")
    return str(executions.execution_queue(actor=actor, task_id=task.pk, script=script, **fields).pk)


def stop(execution_id: str) -> None:
    """Ask for its end."""
    execution = Execution.objects.get(pk=execution_id)
    assert execution.task_id is not None
    actor = Actor(door="rest", user=User.objects.get(username="operator"))
    executions.execution_request_stop(actor=actor, task_id=execution.task_id)


def shown(execution_id: str) -> dict[str, Any]:
    """How it stands, with the lines of its archive."""
    execution = Execution.objects.get(pk=execution_id)
    names = ("status", "exit_code", "error_code", "fence", "attempts", "artifacts_kept", "log_truncated")
    lines = [line.line for line in log_archive.read(execution.log_file)]
    return {**{name: getattr(execution, name) for name in names}, "lines": lines}


def main() -> None:
    sys.stdout.write("ready\n")
    sys.stdout.flush()
    for question in sys.stdin:
        try:
            answer = {"value": eval(question)}
        except Exception as error:
            log.exception("%s", question)
            answer = {"error": repr(error)}
        sys.stdout.write(json.dumps(answer, default=str) + "\n")
        sys.stdout.flush()


if __name__ == "__main__":
    main()
