"""Status of the streams of all web processes: the body of `/api/events/status`.

Each process writes its report to its row every 2 s (`StreamProcess`). The process that answers adds up the reports of
the running ones, its own fresh, and those of ended ones for the counters of the last day.
"""

from __future__ import annotations

import os
import socket
import time
from collections import Counter
from datetime import timedelta
from typing import Any, Final, TypedDict

from django.utils import timezone

from taskhub.events.channels import kind_of
from taskhub.models import StreamProcess

ALIVE_FOR: Final = timedelta(seconds=10)
FORGET_AFTER: Final = timedelta(days=1)
PROCESS_NAME: Final = f"{socket.gethostname()}:{os.getpid()}:{time.time_ns()}"


class Report(TypedDict):
    """Report of one process. Counters start with it; `lag_events` and `lag_s` are of its slowest stream."""

    clients: dict[str, int]
    counters: dict[str, int]
    lag_events: int
    lag_s: float
    redis: bool


def write_report(report: Report) -> None:
    """Store the report of this process; its first one deletes the processes without a report for a day."""
    now = timezone.now()
    fields = {"reported_at": now, "report": report}
    if not StreamProcess.objects.filter(name=PROCESS_NAME).update(**fields):
        StreamProcess.objects.update_or_create(name=PROCESS_NAME, defaults=fields)
        StreamProcess.objects.filter(reported_at__lt=now - FORGET_AFTER).delete()


def withdraw_report(report: Report) -> None:
    """Orderly end of the process: it holds no streams any more, its counters stay."""
    long_ago = timezone.now() - 2 * ALIVE_FOR
    StreamProcess.objects.update_or_create(name=PROCESS_NAME, defaults={"reported_at": long_ago, "report": report})


def clients_by_kind(report: Report) -> Counter[str]:
    """Number of streams of a process by kind."""
    clients: Counter[str] = Counter()
    for channel, count in report["clients"].items():
        clients[kind_of(channel)] += count
    return clients


def read_others() -> list[StreamProcess]:
    """The other processes, with those that have ended: their counters stay."""
    return list(StreamProcess.objects.exclude(name=PROCESS_NAME))


def add_up(own: Report, others: list[StreamProcess]) -> dict[str, Any]:
    """All processes together; `own` is this process's current report."""
    living: list[Report] = [own, *(process.report for process in others if process.is_living(ALIVE_FOR))]
    clients: Counter[str] = Counter()
    counters: Counter[str] = Counter()
    for report in living:
        clients += clients_by_kind(report)
    for report in [own, *(process.report for process in others)]:
        counters.update(report["counters"])
    return {
        "processes": len(living),
        "connected_clients": clients.total(),
        "clients_per_channel": dict(clients),
        "counters": dict(counters),
        "slowest_lag_events": max(report["lag_events"] for report in living),
        "slowest_lag_s": max(report["lag_s"] for report in living),
        "every_process_hears_redis": all(report["redis"] for report in living),
    }
