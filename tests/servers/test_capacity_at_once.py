"""200 executions of 20 accounts before a sandbox service with room for ten, whose worker is killed while they wait."""

from __future__ import annotations

import json
import signal
import sqlite3
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import psycopg
import pytest

from tests.postgres import make_database
from tests.processes import wait_until
from tests.sandbox_server import SandboxServer, running_sandbox_server
from tests.servers.hubs import Installation

CELERY = ("-m", "celery", "--app", "config", "--quiet")
ACCOUNTS = [f"account-{n:02}" for n in range(20)]
EACH = 10
ROOM = 10
COMPUTING = {"creating", "starting", "started", "stopping"}

QUEUE = """
from django.contrib.auth.models import Group, User
from django.db import transaction
from taskhub.auth.actor import Actor
from taskhub.services.executions import execution_queue
from taskhub.services.tasks import task_create

with transaction.atomic():
    for name in {accounts!r}:
        user = User.objects.create(username=name, password="!")
        user.groups.add(Group.objects.get(name="agent"))
        actor = Actor(door="rest", user=user)
        for number in range({each}):
            task = task_create(actor=actor, title=f"{{name}} {{number}}")
            execution_queue(actor=actor, task_id=task.pk, script={script!r})
"""


class Hub(Installation):
    """Workers and beat on a database that the test reads; no web process is needed."""

    workers: list[str]

    def __init__(self, folder: Path, database_url: str | None, sandboxes: SandboxServer) -> None:
        self._sandboxes = sandboxes
        self._file = folder / "taskhub.sqlite3"
        self._url = database_url
        super().__init__(folder, database_url)

    def profile(self, data_dir: Path) -> dict[str, str]:
        return self._sandboxes.env

    def start_worker(self, name: str) -> None:
        self.start(name, *CELERY, "worker", "--pool", "threads", "--concurrency", "8", "--loglevel", "WARNING")

    def start_beat(self) -> None:
        self.start("beat", *CELERY, "beat", "--loglevel", "WARNING", "--pidfile=")

    def rows(self, sql: str) -> list[tuple[str, ...]]:
        if self._url is not None:
            with psycopg.connect(self._url) as server:
                return server.execute(sql).fetchall()
        connection = sqlite3.connect(f"file:{self._file}?mode=ro", uri=True, timeout=30)
        try:
            return connection.execute(sql).fetchall()
        finally:
            connection.close()

    def counts(self) -> Counter[str]:
        return Counter(dict(self.rows("select status, count(*) from taskhub_execution group by status")))


@pytest.fixture
def sandboxes(tmp_path: Path) -> Iterator[SandboxServer]:
    """Without bubblewrap, so that scripts can wait for a file of the test's, and write to another."""
    options = ("--no-bwrap", "--limit-cpus", str(ROOM), "--transition-ms", "5", "--faults")
    with running_sandbox_server(tmp_path / "sandboxes", *options) as server:
        yield server


@pytest.fixture(
    params=[("sqlite", 1), pytest.param(("postgresql", 2), marks=pytest.mark.postgres)], ids=["sqlite", "postgresql"]
)
def hub(request: pytest.FixtureRequest, tmp_path: Path, sandboxes: SandboxServer) -> Iterator[Hub]:
    database, workers = request.param
    url = None
    if database == "postgresql":
        url = make_database(request.getfixturevalue("postgres_url"), "capacity")
    (tmp_path / "hub").mkdir()
    made = Hub(tmp_path / "hub", url, sandboxes)
    made.workers = [f"worker {number}" for number in range(workers)]
    try:
        yield made
    finally:
        made.end()


def test_200_executions_of_20_accounts_share_room_for_ten(hub: Hub, sandboxes: SandboxServer, tmp_path: Path) -> None:
    go, ran = tmp_path / "go", tmp_path / "ran"
    script = f'echo "$TASKHUB_EXECUTION" >> {ran}; until [ -e {go} ]; do sleep 0.2; done; echo done'
    hub.manage("shell", "--no-imports", "-c", QUEUE.format(accounts=ACCOUNTS, each=EACH, script=script))
    total = len(ACCOUNTS) * EACH
    assert hub.counts() == {"queued": total}
    for name in hub.workers:
        hub.start_worker(name)
    hub.start_beat()
    most = 0

    def stands(**wanted: int) -> bool:
        nonlocal most
        most = max(most, sum(state in COMPUTING for state in sandboxes.states()))
        return hub.counts() == wanted

    wait_until(lambda: stands(running=ROOM, queued=total - ROOM), "ten run, the others wait", 240)
    waiting = hub.rows("select waiting_reason, count(*) from taskhub_execution where status = 'queued' group by 1")
    assert waiting == [("capacity", total - ROOM)]

    worker = hub.processes["worker 0"]
    worker.signal(signal.SIGKILL)
    worker.wait()
    go.touch()
    hub.start_worker("worker 0")
    wait_until(lambda: stands(completed=total), "all are completed", 600)

    assert most == ROOM
    # Each script ran once, and is told to have started once.
    assert len(ran.read_text().split()) == len(set(ran.read_text().split())) == total
    wait_until(lambda: hub.rows("select 1 from taskhub_pendingevent") == [], "all events have numbers")
    events = [json.loads(data)["data"] for (data,) in hub.rows("select data from django_eventstream_event")]
    started = Counter(event["execution_id"] for event in events if event.get("execution_event") == "started")
    assert len(started) == started.total() == total
    assert spread(hub.rows("select account from taskhub_execution order by started_at, id")) <= 2
    assert sandboxes.requests()["POST /api/sandbox"] < 2 * total


def spread(accounts: list[tuple[str, ...]]) -> int:
    """The greatest difference there ever was between the starts of two accounts."""
    starts = Counter(dict.fromkeys(ACCOUNTS, 0))
    greatest = 0
    for (account,) in accounts:
        starts[account] += 1
        greatest = max(greatest, max(starts.values()) - min(starts.values()))
    return greatest
