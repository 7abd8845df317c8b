"""Celery: the short jobs of the apps (`jobs.py`), and the beat that reconciles and polls."""

from __future__ import annotations

import logging
import os
from typing import Any

from celery import Celery, signals

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "config.settings.local")
# At its start Celery would make Django's checks, and throw away what they find. They load all addresses and what stands
# behind them: a second of work, of no use to a worker or beat.
os.environ.setdefault("CELERY_SKIP_CHECKS", "1")

app = Celery("taskhub")
app.config_from_object("django.conf:settings", namespace="CELERY")
# A Task is a row of ours, so Celery's tasks are called jobs here.
app.autodiscover_tasks(related_name="jobs")
app.autodiscover_tasks(["taskhub.webhooks"], related_name="jobs")


@signals.setup_logging.connect
def _keep_our_logging(loglevel: int, **_: Any) -> None:
    """Django's LOGGING holds; Celery would write its lines in its own way, and take what is printed for lines."""
    logging.getLogger("celery").setLevel(loglevel)


@signals.celeryd_init.connect
def _log_farewell(**_: Any) -> None:
    """What a worker says when it is told to end, Celery prints past all logging."""
    from celery.apps import worker  # noqa: PLC0415 - only a worker needs all that it loads

    def say(words: str, *_: Any) -> None:
        logging.getLogger("celery.worker").warning("%s", words)

    worker.safe_say = say  # type: ignore[attr-defined]  # the stubs leave it out


@signals.worker_init.connect
def _load_sdk(**_: Any) -> None:
    from sandboxes.gateway import load_sdk  # noqa: PLC0415 - the apps are loaded only now

    try:
        load_sdk()
    except ImportError as error:
        # Of another error Celery would write a line, and go on.
        raise SystemExit(f"The Daytona SDK cannot be loaded: {error}") from error


@signals.worker_init.connect
def _trace_worker(**_: Any) -> None:
    from taskhub.observability.tracing import start_tracing  # noqa: PLC0415 - likewise

    start_tracing("worker")


@signals.task_prerun.connect
def _lend_loop(**_: Any) -> None:
    """Jobs wait for what is asynchronous on one loop that lasts, and keep their connections there."""
    from taskhub.lib.event_loops import lend_loop  # noqa: PLC0415 - the apps are loaded only now

    lend_loop()


@signals.beat_init.connect
def _trace_beat(**_: Any) -> None:
    from taskhub.observability.tracing import start_tracing  # noqa: PLC0415 - likewise

    start_tracing("beat")
