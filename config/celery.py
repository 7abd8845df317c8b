"""Celery: the apps' jobs (`jobs.py`), workers, and beat."""

from __future__ import annotations

import logging
import os
import threading
import warnings
from typing import Any

from celery import Celery, signals

from taskhub.lib import worker_beat

# At its start Celery would run Django's checks and drop their results. They load all URLs and the code behind them: a
# second of work without use for a worker or beat.
os.environ.setdefault("CELERY_SKIP_CHECKS", "1")

app = Celery("taskhub", task_cls="taskhub.lib.ticks:Job")
app.config_from_object("django.conf:settings", namespace="CELERY")
app.user_options["worker"].add(worker_beat.OPTION)
app.steps["worker"].add(worker_beat.BeatThread)
# A Task is a model of ours, so Celery's tasks are called jobs here.
app.autodiscover_tasks(related_name="jobs")
app.autodiscover_tasks(["taskhub.webhooks"], related_name="jobs")


@signals.setup_logging.connect
def _keep_our_logging(loglevel: int, **_: Any) -> None:
    """Keep Django's LOGGING; Celery would use its own format, and turn printed text into records."""
    logging.getLogger("celery").setLevel(loglevel)


@signals.celeryd_init.connect
def _accept_root(**_: Any) -> None:
    """Celery warns of root in eight lines. Jobs are JSON and run no foreign code, so the warning says nothing here."""
    warnings.filterwarnings("ignore", message="You're running the worker with superuser privileges")


@signals.celeryd_init.connect
def _log_farewell(**_: Any) -> None:
    """Log a worker's shutdown message, which Celery prints to stdout."""
    from celery.apps import worker  # noqa: PLC0415 - loaded only in workers

    def say(words: str, *_: Any) -> None:
        logging.getLogger("celery.worker").warning("%s", words)

    worker.safe_say = say  # type: ignore[attr-defined]  # the stubs leave it out


@signals.worker_init.connect
def _wait_for_database(**_: Any) -> None:
    """Below the launcher, which is making it ready; before anything reads of it."""
    from config.launcher.gate import wait_at_gate  # noqa: PLC0415 - loaded only in workers

    wait_at_gate()


@signals.worker_init.connect
def _load_sdk(**_: Any) -> None:
    from django.conf import settings  # noqa: PLC0415 - the settings are loaded only now

    from sandboxes.gateway import load_sdk  # noqa: PLC0415 - the apps are loaded only now

    if not settings.TASKHUB_PRELOAD:
        return
    try:
        load_sdk()
    except ImportError as error:
        # Celery would log other exceptions and continue.
        raise SystemExit(f"The Daytona SDK cannot be loaded: {error}") from error


@signals.worker_init.connect
def _trace_worker(**_: Any) -> None:
    from taskhub.observability.tracing import start_tracing  # noqa: PLC0415 - likewise

    start_tracing("worker")


@signals.worker_init.connect
def _make_pool(**_: Any) -> None:
    from taskhub.web.thread_pool import make_worker_pool  # noqa: PLC0415 - likewise

    make_worker_pool()


@signals.worker_init.connect
def _raise_limits(**_: Any) -> None:
    """A worker follows the logs of the executions that it has taken, by a connection each.

    Those are far fewer than a web process has streams, whose start says it where the hard limit is too low for them.
    """
    from django.conf import settings  # noqa: PLC0415 - the settings are loaded only now

    from taskhub.lib.descriptors import raise_descriptor_limit  # noqa: PLC0415 - likewise

    raise_descriptor_limit(settings.TASKHUB_STREAM_LIMIT, log_level=logging.DEBUG)


@signals.task_prerun.connect
def _lend_loop(**_: Any) -> None:
    """Run the asynchronous parts of jobs on one long-lived loop, which keeps their connections."""
    from taskhub.lib.event_loops import lend_loop  # noqa: PLC0415 - the apps are loaded only now

    lend_loop()


@signals.worker_shutting_down.connect
def _begin_handing_over(**_: Any) -> None:
    """Hand running executions over as soon as the signal has come: jobs that still run may take a while."""
    from taskhub.worker import conductor  # noqa: PLC0415 - the apps are loaded only now

    conductor.begin_close()


# With the thread pool the first is sent in the process that runs the jobs, with prefork the second.
@signals.worker_shutdown.connect
@signals.worker_process_shutdown.connect
def _hand_over(**_: Any) -> None:
    from taskhub.worker import conductor  # noqa: PLC0415 - likewise

    conductor.close()


@signals.beat_init.connect
def _trace_beat(**_: Any) -> None:
    if threading.current_thread() is not threading.main_thread():
        return  # a thread of a worker, which is traced as one
    from taskhub.observability.tracing import start_tracing  # noqa: PLC0415 - likewise

    start_tracing("beat")
