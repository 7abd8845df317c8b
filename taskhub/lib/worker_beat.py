"""Celery beat in a thread of the worker (`--with-beat`): a hub of one machine is spared a process.

Celery's own `--beat` forks one.
"""

from __future__ import annotations

import logging
import os
import signal
import threading
from typing import Any, Final

from celery import Celery, bootsteps
from click import Option

log = logging.getLogger(__name__)

OPTION: Final = Option(["--with-beat"], is_flag=True, help="Run beat in a thread of this worker.")
_LOOK_S: Final = 1.0
"""How soon the thread notices that it is to end."""


class BeatThread(bootsteps.StartStopStep):
    """Step of a worker's start and end."""

    requires = ("celery.worker.components:Pool",)

    def __init__(self, worker: Any, with_beat: bool = False, **options: Any) -> None:
        super().__init__(worker, **options)
        self.enabled = with_beat

    def create(self, worker: Any) -> Any:
        return _Beat(worker.app)


class _Beat:
    def __init__(self, app: Celery) -> None:
        self._app = app
        from celery.beat import Service  # noqa: PLC0415 - loaded only where it runs

        scheduler = app.conf.beat_scheduler
        options: Any = {"max_interval": _LOOK_S, "scheduler_cls": scheduler, "remote_control": False}
        self._service = Service(app, **options)

    def start(self) -> None:
        threading.Thread(target=self._run, name="beat", daemon=True).start()

    def _run(self) -> None:
        try:
            self._app.set_current()
            self._service.start()
        except Exception:
            # A worker without beat would look healthy and do no periodic job: the supervisor starts another one.
            log.exception("beat has failed; its worker ends")
            os.kill(os.getpid(), signal.SIGTERM)

    def stop(self) -> None:
        """Does not wait: what it still sends, the next worker does."""
        self._service.stop()
