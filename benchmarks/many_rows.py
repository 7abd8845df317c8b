"""`python -m benchmarks.many_rows`: fills the database that the environment names, as a busy hub has after a while.

Prints the key of an operator's session.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterable, Iterator
from datetime import UTC, datetime, timedelta
from typing import Any, Final
from uuid import UUID

import django

TASKS: Final = 100_000
EVENTS: Final = 1_000_000
EXECUTIONS: Final = 100_000
ENTRIES: Final = 400_000
DELIVERIES: Final = 100_000
STATUSES: Final = ("todo", "inprogress", "review", "done")
OUTCOMES: Final = ("completed", "completed", "completed", "failed", "stopped", "timed_out", "lost")
EVENT_NAMES: Final = ("task_created", "task_updated", "execution_event")
WORDS: Final = "A title that is as long as people make them when they paste the first line of an error into it. "
NOW: Final = datetime.now(UTC)


def task_id(number: int) -> UUID:
    return UUID(int=(number * 2654435761 << 64) | number)


def ago(seconds: float) -> datetime:
    return NOW - timedelta(seconds=seconds)


def tasks() -> Iterator[dict[str, Any]]:
    """One every 7 s; every tenth assignee is empty; a description of half a kilobyte."""
    for n in range(TASKS, 0, -1):
        title, description = f"Task {n}: {WORDS * 2}"[: 20 + n % 150], f"{WORDS * 5} {n}"
        yield {
            "id": task_id(n),
            "title": title,
            "description": description,
            "folded_text": f"{title}\x1f{description}".lower(),
            "status": STATUSES[n % 4],
            "priority": ("low", "medium", "high")[n % 3],
            "assignee": f"agent{n % 40}" if n % 10 else "",
            "tags": json.dumps(["ci", f"t{n % 30}"] if n % 20_000 else ["rare"]),
            "artifacts": "[]",
            "private": n % 100 == 0,
            "version": 1,
            "created_at": ago(n * 7),
            "updated_at": ago(n * 7),
        }


def executions() -> Iterator[dict[str, Any]]:
    """One of each task, 90 s after it was made."""
    for n in range(EXECUTIONS, 0, -1):
        began = ago(n * 7 - 90)
        yield {
            "id": task_id(n + TASKS),
            "task_id": task_id(n),
            "status": OUTCOMES[n % len(OUTCOMES)],
            "script": "make test\n" * 20,
            "env": "{}",
            "timeout_s": 600,
            "sandbox_id": f"box-{n % 1000}",
            "session_name": f"taskhub-{n}",
            "log_file": f"logs/task-{n}.log",
            "log_truncated": False,
            "was_private": False,
            "error_code": "" if n % 7 < 4 else "exit_code",
            "error_message": "",
            "requested_sandbox_id": "",
            "command_id": "c",
            "ending": "",
            "files_seen": 0,
            "artifacts_kept": 0,
            "artifacts_left_out": 0,
            "fence": 1,
            "attempts": 1,
            "queued_at": began,
            "started_at": began + timedelta(seconds=1),
            "finished_at": began + timedelta(seconds=2 + n % 700 / 10),
            "released_at": began + timedelta(seconds=90),
        }


def events() -> Iterator[dict[str, Any]]:
    """Two every second."""
    for n in range(1, EVENTS + 1):
        at = ago((EVENTS - n) / 2)
        data = {"task_id": str(task_id(n % TASKS + 1)), "assignee": f"agent{n % 40}", "title": WORDS, "status": "todo"}
        envelope = {"id": str(UUID(int=n)), "event": EVENT_NAMES[n % 3], "data": data, "timestamp": at.isoformat()}
        text = json.dumps(envelope, separators=(",", ":"))
        yield {"channel": "tasks", "type": "message", "data": text, "created": at, "eid": n}


def entries() -> Iterator[dict[str, Any]]:
    for n in range(ENTRIES, 0, -1):
        yield {
            "at": ago(n * 2),
            "actor_name": f"agent{n % 40}",
            "door": ("rest", "mcp", "job")[n % 3],
            "token_name": "robot",
            "action": ("task:create", "task:update", "execution:queue")[n % 3],
            "task_id": task_id(n % TASKS + 1),
            "sandbox_id": "",
            "subject": "",
            "changes": '{"status": ["todo", "inprogress"]}',
        }


def deliveries(endpoint_id: UUID) -> Iterator[dict[str, Any]]:
    for n in range(DELIVERIES, 0, -1):
        yield {
            "id": task_id(n + 2 * TASKS),
            "endpoint_id": endpoint_id,
            "sequence": n,
            "event_id": str(UUID(int=n)),
            "event_type": EVENT_NAMES[n % 3],
            "task_id": task_id(n % TASKS + 1),
            "body": WORDS * 3,
            "status": "delivered" if n % 1000 else "failed",
            "attempts": 1,
            "failures": 0,
            "next_attempt_at": ago(n),
            "response_status": 200,
            "error": "",
            "tries": "[]",
            "created_at": ago(n),
        }


def fill(table: str, rows: Iterable[dict[str, Any]]) -> None:
    """Of columns that are left out the database's own defaults are taken."""
    from django.db import connection  # noqa: PLC0415 - after django.setup

    found = iter(rows)
    first = next(found)
    names = ", ".join(connection.ops.quote_name(name) for name in first)
    with connection.cursor() as cursor:
        if connection.vendor == "postgresql":
            with cursor.copy(f"COPY {table} ({names}) FROM STDIN") as copy:
                copy.write_row(list(first.values()))
                for row in found:
                    copy.write_row(list(row.values()))
            return
        marks = ", ".join("?" for _ in first)
        raw = connection.connection
        raw.execute(f"INSERT INTO {table} ({names}) VALUES ({marks})", [_plain(value) for value in first.values()])
        plain = ([_plain(value) for value in row.values()] for row in found)
        raw.executemany(f"INSERT INTO {table} ({names}) VALUES ({marks})", plain)


def _plain(value: Any) -> Any:
    """As Django writes it on SQLite."""
    if isinstance(value, UUID):
        return value.hex
    return value.replace(tzinfo=None).isoformat(" ") if isinstance(value, datetime) else value


def main() -> None:
    os.environ.setdefault("DJANGO_SETTINGS_MODULE", "config.settings.local")
    django.setup()
    from django.conf import settings  # noqa: PLC0415 - after django.setup
    from django.contrib.auth import BACKEND_SESSION_KEY, HASH_SESSION_KEY, SESSION_KEY  # noqa: PLC0415
    from django.contrib.auth.models import User  # noqa: PLC0415
    from django.contrib.sessions.backends.db import SessionStore  # noqa: PLC0415
    from django.db import connection, transaction  # noqa: PLC0415

    from taskhub.models import WebhookEndpoint  # noqa: PLC0415

    endpoint = WebhookEndpoint.objects.create(url="https://hooks.example/x", sealed_secret="x", cursor=EVENTS)
    with transaction.atomic():
        fill("taskhub_task", tasks())
        fill("taskhub_execution", executions())
        fill("django_eventstream_event", events())
        fill("taskhub_auditentry", entries())
        fill("taskhub_webhookdelivery", deliveries(endpoint.pk))
    with connection.cursor() as cursor:
        head = "INSERT INTO django_eventstream_eventcounter (name, value, updated) VALUES ('tasks', %s, %s) "
        cursor.execute(f"{head} ON CONFLICT (name) DO UPDATE SET value = excluded.value", [EVENTS, NOW])
        if connection.vendor == "postgresql":
            cursor.execute("ANALYZE")
    operator = User.objects.filter(is_superuser=True).first() or User.objects.filter(groups__name="operator").get()
    session = SessionStore()
    session[SESSION_KEY] = str(operator.pk)
    session[BACKEND_SESSION_KEY] = settings.AUTHENTICATION_BACKENDS[0]
    session[HASH_SESSION_KEY] = operator.get_session_auth_hash()
    session.save()
    print(session.session_key)


if __name__ == "__main__":
    main()
