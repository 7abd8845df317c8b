"""`python -m tests.soak.pass_writer NAME CHAINS [RISK]`: appends events, and is killed or stopped somewhere in a pass.

Each event adds one to a chain, behind the lock of its row, and tells what its transaction saw of another chain. A line
`done CHAIN VALUE` says that the commit has returned. At each step the process ends or stops itself with the
probability RISK, as if from outside.
"""

from __future__ import annotations

import json
import os
import random
import signal
import sys
import time
from collections.abc import Callable
from functools import wraps
from typing import Any, Final

import django

django.setup()

from django.db import Error, connection, transaction  # noqa: E402 - models load only after setup

from taskhub.events import numbering, outbox  # noqa: E402
from taskhub.models import Task  # noqa: E402

SIGNALS: Final = (signal.SIGKILL, signal.SIGSTOP)
WRITES_PER_S: Final = 25


class Risk:
    """What befalls a process at a step, seldom."""

    def __init__(self, share: float) -> None:
        self._share = share
        self._rng = random.Random(os.getpid())

    def at(self, step: str) -> None:
        if self._rng.random() < self._share:
            number = self._rng.choice(SIGNALS)
            print(f"step {step} {number.name}", flush=True)
            os.kill(os.getpid(), number)

    def around(self, step: str, act: Callable[..., Any]) -> Callable[..., Any]:
        @wraps(act)
        def run(*arguments: Any) -> Any:
            self.at(f"before-{step}")
            found = act(*arguments)
            self.at(f"after-{step}")
            return found

        return run


def main(name: str, chains: list[str], share: float) -> None:
    risk = Risk(share)
    for step in ("request", "move_pending", "notify"):
        setattr(numbering, step, risk.around(step, getattr(numbering, step)))
    rng = random.Random(name)
    storage = outbox.OutboxStorage()
    while True:
        chain, other = rng.sample(chains, 2)
        try:
            with transaction.atomic():
                row = Task.objects.select_for_update().get(pk=chain)
                row.version += 1
                row.save(update_fields=["version"])
                seen = Task.objects.values_list("version", flat=True).get(pk=other)
                told = {"chain": chain, "value": row.version, "saw": [other, seen], "at": time.time()}
                append = storage.append_numbered if rng.random() < 0.02 else storage.append_event
                append("tasks", "message", json.dumps(told))
                risk.at("appended")
            print(f"done {chain} {row.version}", flush=True)
        except Error:
            connection.close()
            time.sleep(0.1)
        time.sleep(rng.random() * 2 / WRITES_PER_S)


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2].split(","), float(sys.argv[3]) if len(sys.argv) > 3 else 0.0)
