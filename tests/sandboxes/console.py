"""`python -m tests.sandboxes.console`: evaluates what a test asks, in an installation's own settings and database.

A question is a line that holds a Python expression; the answer is a line of JSON: what it evaluates to.
"""

from __future__ import annotations

import json
import logging
import sys

import django

django.setup()

from django.contrib.auth.models import User  # noqa: E402, F401 - models load only after setup; questions name them
from django.db import connection  # noqa: E402 - likewise

from sandboxes.jobs import poll_sessions, poll_status, subscriptions_expire  # noqa: E402, F401 - likewise
from sandboxes.models import Poll, Sandbox, Subscription  # noqa: E402, F401 - likewise
from taskhub.models import (  # noqa: E402 - likewise
    ApiToken,  # noqa: F401
    AuditEntry,  # noqa: F401
    Heartbeat,  # noqa: F401
    IdempotencyKey,  # noqa: F401
    MetricSample,  # noqa: F401
    StreamProcess,  # noqa: F401
)

log = logging.getLogger(__name__)


def hold_writes() -> None:
    """Keep every other writer of the database waiting."""
    connection.cursor().execute("BEGIN IMMEDIATE")


def release_writes() -> None:
    connection.cursor().execute("ROLLBACK")


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
