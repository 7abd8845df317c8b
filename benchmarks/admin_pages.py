"""What pages of the admin cost on a hub with many rows: the web process's CPU and the time until the answer."""

from __future__ import annotations

import subprocess
import sys
import time
from typing import Final

import httpx

from benchmarks.many_rows import DELIVERIES, ENTRIES, EVENTS, EXECUTIONS, TASKS, task_id
from benchmarks.scenarios import FigureRow, Sample, Scenario
from benchmarks.servers import HOST, Server, Template, web_process
from benchmarks.writers import WriterProcess
from tests.processes import ROOT

REQUESTS: Final = 10
PAGES: Final = {
    "tasks": "/admin/taskhub/task/",
    "tasks, page 100": "/admin/taskhub/task/?p=100",
    "tasks, by assignee": "/admin/taskhub/task/?assignee=agent7",
    "tasks, by a tag that few have": "/admin/taskhub/task/?tag=rare",
    "tasks, by last execution": "/admin/taskhub/task/?last_execution=lost",
    "tasks, by priority and title": "/admin/taskhub/task/?priority__exact=low&o=1",
    "tasks, search that finds nothing": "/admin/taskhub/task/?q=nowhere",
    "executions": "/admin/taskhub/execution/",
    "executions, by status": "/admin/taskhub/execution/?status__exact=lost",
    "executions, by a day": "/admin/taskhub/execution/?queued_at_from={day}&queued_at_to={day}",
    "executions, search that finds nothing": "/admin/taskhub/execution/?q=nowhere",
    "events": "/admin/django_eventstream/event/",
    "events, by a name that none has": "/admin/django_eventstream/event/?event=announcement",
    "events, search that finds nothing": "/admin/django_eventstream/event/?q=nowhere",
    "events, by a day": "/admin/django_eventstream/event/?created_from={day}&created_to={day}",
    "audit": "/admin/taskhub/auditentry/",
    "audit, by an interface that none came by": "/admin/taskhub/auditentry/?door__exact=command",
    "audit, of a task": "/admin/taskhub/auditentry/?q={task}",
    "audit, search that finds nothing": "/admin/taskhub/auditentry/?q=nowhere",
    "webhook deliveries": "/admin/taskhub/webhookdelivery/",
    "webhook deliveries, failed": "/admin/taskhub/webhookdelivery/?status__exact=failed",
    "sandboxes": "/admin/sandboxes/sandbox/",
    "accounts": "/admin/auth/user/",
}
DASHBOARDS: Final = {"dashboard, last hour": "/admin/", "dashboard, last day": "/admin/?last=day"}
STATUS: Final = "/api/events/status"
STATUS_REQUESTS: Final = 200


def run(database: Template, _: WriterProcess) -> Sample:
    with web_process(database, prepared=_fill) as server:
        cookies = {"sessionid": server.env[_SESSION]}
        with httpx.Client(base_url=f"http://{HOST}:{server.port}", cookies=cookies, timeout=120) as client:
            sample = {}
            for name, address in (PAGES | DASHBOARDS).items():
                day = time.strftime("%Y-%m-%d", time.gmtime(time.time() - 2 * 86400))
                sample |= _measure(server, client, name, address.format(day=day, task=task_id(4711)), REQUESTS)
        with httpx.Client(base_url=f"http://{HOST}:{server.port}", timeout=120) as client:
            return sample | _measure(server, client, "status", STATUS, STATUS_REQUESTS)


_SESSION: Final = "TASKHUB_BENCH_SESSION"


def _fill(env: dict[str, str]) -> None:
    command = [sys.executable, "-m", "benchmarks.many_rows"]
    done = subprocess.run(command, env=env, cwd=ROOT, check=True, stdout=subprocess.PIPE, text=True)
    env[_SESSION] = done.stdout.split()[-1]


def _measure(server: Server, client: httpx.Client, name: str, address: str, requests: int) -> Sample:
    client.get(address).raise_for_status()  # templates are compiled, the pages of the database are in memory
    before, began = server.cpu_s(), time.monotonic()
    for _ in range(requests):
        answer = client.get(address)
        if answer.status_code != httpx.codes.OK:
            raise AssertionError(f"{address}: {answer.status_code}")
    return {
        name: (server.cpu_s() - before) / requests * 1e3,
        f"{name} took": (time.monotonic() - began) / requests * 1e3,
    }


def _rows(*, on_postgres: bool) -> list[FigureRow]:
    """CPU; where the database has processes of its own also the time until the answer, which has its part."""
    rows: list[FigureRow] = []
    for name in PAGES | DASHBOARDS:
        rows.append((name, f"{name}: CPU", "ms", 150 if name in PAGES else None, None))
        if on_postgres:
            rows.append((f"{name} took", f"{name}: until the answer", "ms", None, None))
    return [*rows, ("status", "`/api/events/status`: CPU", "ms", 4, None)]


def _scenario(name: str, database: str, *, on_postgres: bool) -> Scenario:
    return Scenario(
        name,
        f"{TASKS:,} tasks, {EVENTS:,} events, {EXECUTIONS:,} executions, {ENTRIES:,} audit entries and {DELIVERIES:,} "
        f"webhook deliveries on {database}; each page {REQUESTS} times, one after another, after one that is "
        f"not counted; `/api/events/status` {STATUS_REQUESTS} times, without a sign-in. Filters that find nothing cost "
        "most.",
        run,
        _rows(on_postgres=on_postgres),
    )


ON_SQLITE: Final = _scenario("admin", "SQLite", on_postgres=False)
ON_POSTGRES: Final = _scenario("admin-postgresql", "PostgreSQL", on_postgres=True)
