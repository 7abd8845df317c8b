"""Beat in its own process: its wall clock is set, its Redis takes no writes."""

from __future__ import annotations

import sqlite3
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import closing
from itertools import pairwise
from pathlib import Path

import pytest
import redis

from taskhub.lib import awake
from tests.clocks import COMPILER, WallClock
from tests.processes import ROOT, Process, wait_until
from tests.servers.hubs import Installation

CELERY = ("-m", "celery", "--app", "config", "--quiet")
WORKER = ("worker", "--pool", "threads", "--concurrency", "2", "--loglevel", "WARNING", "--without-gossip")
BEAT = ("beat", "--loglevel", "WARNING", "--pidfile=")


@pytest.fixture(scope="module")
def shared(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Installation]:
    made = Installation(tmp_path_factory.mktemp("beat"))
    # Else a reconciliation that finds no execution ends before it takes its lock.
    made.env["TASKHUB_VERIFY_IN_REVIEW"] = "1"
    yield made
    made.end()


@pytest.fixture
def installation(shared: Installation) -> Iterator[Installation]:
    """One for all tests, without processes but Redis and without heartbeats."""
    _rows(shared, "DELETE FROM taskhub_heartbeat")
    yield shared
    for name in ("beat", "worker"):
        if name in shared.processes:
            shared.processes.pop(name).end()


def _rows(installation: Installation, statement: str) -> list[tuple[str, ...]]:
    path = Path(installation.env["TASKHUB_DATA_DIR"]) / "taskhub.sqlite3"
    with closing(sqlite3.connect(path, timeout=20, isolation_level=None)) as connection:
        return list(connection.execute(statement))


def never_at_rest(installation: Installation) -> None:
    """Every job at its usual pace, as while something runs."""
    with redis.Redis.from_url(installation.env["REDIS_URL"]) as client:
        client.set(f"taskhub:awake:{awake.WRITES}", 1)


class Reconciliations:
    """When a worker has run `executions_reconcile`, by the lock that it sets in Redis."""

    def __init__(self, url: str) -> None:
        self._client = redis.Redis.from_url(url)
        self._client.config_set("notify-keyspace-events", "K$")
        self.at: list[float] = []
        self._heard = self._client.pubsub()
        self._heard.subscribe(**{"__keyspace@0__:taskhub:reconcile": self._note})
        self._reader = self._heard.run_in_thread(sleep_time=1, daemon=True)

    def _note(self, message: dict[str, bytes]) -> None:
        if message["data"] == b"set":
            self.at.append(time.monotonic())

    def close(self) -> None:
        self._reader.stop()
        self._reader.join(5)
        self._client.close()

    def wait_for(self, count: int) -> float:
        """Until there are so many more; the longest time between two of them."""
        first = len(self.at)
        wait_until(lambda: len(self.at) >= first + count, f"{count} more reconciliations", within_s=100)
        times = self.at[max(0, first - 1) :]
        return max(later - earlier for earlier, later in pairwise(times))


@pytest.mark.skipif(COMPILER is None, reason="there is no C compiler")
def test_a_wall_clock_that_is_set_stops_no_job(installation: Installation, tmp_path: Path) -> None:
    """Only beat's: a worker on another machine has the right time, and must not take each job for expired."""
    clock = WallClock(tmp_path)
    installation.start("worker", *CELERY, *WORKER)
    installation._start("beat", [sys.executable, *CELERY, *BEAT], {**installation.env, **clock.env})
    never_at_rest(installation)
    with closing(Reconciliations(installation.env["REDIS_URL"])) as runs:
        runs.wait_for(3)
        for offset_s in (-3600, 0, 3600, 0):
            clock.set(offset_s)
            assert runs.wait_for(5) < 10


def test_beat_says_once_that_redis_takes_no_writes(installation: Installation) -> None:
    never_at_rest(installation)
    beat = installation.start("beat", *CELERY, *BEAT)
    with redis.Redis.from_url(installation.env["REDIS_URL"]) as client:
        _until(lambda: client.llen("celery") > 0, "beat sends jobs")
        client.replicaof("127.0.0.1", "1")
        beat.wait_for_line("beat cannot send")
        said = len(beat.output)
        failed = client.info("commandstats").get("cmdstat_set", {}).get("rejected_calls", 0)
        _until(
            lambda: client.info("commandstats")["cmdstat_set"]["rejected_calls"] > failed + 20, "20 jobs were not sent"
        )
        assert beat.output[said:] == []
        client.replicaof("no", "one")
        line = beat.wait_for_line("beat sends again")
    assert int(line.partition("s; ")[2].split()[0]) > 20


def _until(condition: Callable[[], bool], what: str) -> None:
    wait_until(condition, what, within_s=90)


def heartbeats(installation: Installation) -> set[str]:
    return {name for (name,) in _rows(installation, "SELECT name FROM taskhub_heartbeat")}


def test_a_job_that_was_not_sent_is_no_sign_of_life(installation: Installation) -> None:
    with redis.Redis.from_url(installation.env["REDIS_URL"]) as client:
        client.replicaof("127.0.0.1", "1")
        beat: Process = installation.start("beat", *CELERY, *BEAT)
        beat.wait_for_line("beat cannot send", 120)
        assert "beat" not in heartbeats(installation)
        client.replicaof("no", "one")
        beat.wait_for_line("beat sends again")
        _until(lambda: "beat" in heartbeats(installation), "beat has a heartbeat")


def test_tools_around_celery_see_the_worker_and_its_jobs(installation: Installation) -> None:
    """With the options of the shipped unit: Flower and `celery events` ask it for its events first."""
    options = ("--pool", "threads", "--concurrency", "2", "--loglevel", "INFO", "--without-gossip", "--without-mingle")
    installation.start("worker", *CELERY, "worker", *options).wait_for_line(" ready", 120)
    for command, said in (("control enable_events", "task events"), ("inspect registered", "taskhub.jobs.")):
        call = [sys.executable, *CELERY, *command.split(), "--timeout", "30"]
        done = subprocess.run(
            call, env=installation.env, cwd=ROOT, capture_output=True, text=True, timeout=120, check=False
        )
        assert done.returncode == 0, done.stdout + done.stderr
        assert said in done.stdout, done.stdout
        assert "unavailable" not in done.stdout
