"""`python -m tests.servers.publisher COUNT PER_SECOND [FILE]`: changes a task COUNT times, as a worker elsewhere would.

When FILE appears it asks a question on the task, once, and says so; it does not end before that, nor before it has made
half as many changes as COUNT after it, however slow the machine. A change whose outcome is unknown, because the
database went away, is made again: what counts is what the table holds.
"""

from __future__ import annotations

import sys
import time
from pathlib import Path

import django

django.setup()

from django.db import DatabaseError, connection  # noqa: E402 - models load only after setup

from taskhub.auth.actor import SYSTEM  # noqa: E402
from taskhub.services.notes import note_add  # noqa: E402
from taskhub.services.tasks import task_create, task_update  # noqa: E402


def main(count: int, per_second: float, file: Path | None) -> None:
    task = task_create(actor=SYSTEM, title="watched")
    print("publishing", flush=True)
    due = time.monotonic()
    n, is_asked = 0, file is None
    while n < count or not is_asked:
        if file is not None and not is_asked and file.exists():
            note_add(actor=SYSTEM, task_id=task.pk, kind="question", text="Which region?")
            count, is_asked = max(count, n + count // 2), True
            print("asked", flush=True)
        while True:
            try:
                task_update(actor=SYSTEM, task_id=task.pk, title=f"change {n}")
                break
            except DatabaseError:
                connection.close()
                time.sleep(0.05)
        n += 1
        due += 1 / per_second
        time.sleep(max(0.0, due - time.monotonic()))
    print("published", flush=True)


if __name__ == "__main__":
    main(int(sys.argv[1]), float(sys.argv[2]), Path(sys.argv[3]) if len(sys.argv) > 3 else None)
