"""Executions in the hands of two real workers: one is killed, or told to end, in each phase of an execution's life."""

from __future__ import annotations

import signal
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.postgres import make_database
from tests.processes import Process, wait_until
from tests.sandboxes.ill_daytona import KEY, Console, Daytona
from tests.servers.hubs import Installation

CELERY = ("-m", "celery", "--app", "config", "--quiet")
ENDED = {"completed", "failed", "stopped", "timed_out", "lost"}
HANG_S = 25.0
"""Longer than a dead worker's lease: what it asked for comes after the other has taken over."""


class Workers(Installation):
    """No web process: what REST would queue is queued by the console."""

    def __init__(self, folder: Path, daytona: Daytona, database_url: str | None) -> None:
        self.folder = folder
        self.daytona = daytona
        super().__init__(folder, database_url)
        self.console = Console(self.env)

    def profile(self, data_dir: Path) -> dict[str, str]:
        return {"DAYTONA_API_URL": self.daytona.api_url, "DAYTONA_API_KEY": KEY}

    def worker(self, name: str, *, queue: str = "celery") -> Process:
        options = ("--pool", "threads", "--concurrency", "4", "--loglevel", "INFO", "-Q", queue, "-n", f"{name}@here")
        process = self.start(name, *CELERY, "worker", *options, "--without-gossip", "--without-mingle")
        process.wait_for_line(" ready", 120)
        return process

    def relief(self) -> None:
        """A second worker, which takes no job until `call_relief`: a start takes longer than the phases last."""
        self.worker("relief", queue="relief")

    def call_relief(self) -> None:
        where = "destination=['relief@here'], reply=True, limit=1, timeout=60"
        answer = self.console.ask(f"current_app.control.add_consumer('celery', {where})")
        assert "ok" in answer[0]["relief@here"], answer

    def beat(self) -> None:
        self.start("beat", *CELERY, "beat", "--loglevel", "WARNING", "--pidfile=")

    def execute(self, script: str, **fields: Any) -> str:
        """Its script notes each of its starts."""
        begins = f'echo "$TASKHUB_EXECUTION" >>{self.folder}/starts\n'
        return str(self.console.ask(f"execute({begins + script!r}, **{fields!r})"))

    def shown(self, execution_id: str) -> dict[str, Any]:
        return dict(self.console.ask(f"shown({execution_id!r})"))

    def starts(self) -> list[str]:
        noted = self.folder / "starts"
        return noted.read_text().split() if noted.exists() else []

    def wait(self, execution_id: str, wanted: Callable[[dict[str, Any]], bool], what: str, within_s: float) -> None:
        def holds() -> bool:
            return wanted(shown := self.shown(execution_id)) or shown["status"] in ENDED

        try:
            wait_until(holds, what, within_s)
            assert wanted(self.shown(execution_id)), what
        except AssertionError as error:
            outputs = "\n".join(f"{name}: {line}" for name, p in self.processes.items() for line in p.output[-60:])
            raise AssertionError(f"{error}\n{self.shown(execution_id)}\n{outputs}") from None

    def wait_for_status(self, execution_id: str, status: str, within_s: float = 60.0) -> dict[str, Any]:
        self.wait(execution_id, lambda shown: shown["status"] == status, f"{status} of {execution_id}", within_s)
        return self.shown(execution_id)

    def end(self) -> None:
        self.console.end()
        super().end()


@pytest.fixture(scope="module")
def daytona(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Daytona]:
    made = Daytona(tmp_path_factory.mktemp("daytona"))
    yield made
    made.close()


@pytest.fixture(params=["sqlite", pytest.param("postgresql", marks=pytest.mark.postgres)])
def workers(request: pytest.FixtureRequest, tmp_path: Path, daytona: Daytona) -> Iterator[Workers]:
    url = None
    if request.param == "postgresql":
        url = make_database(request.getfixturevalue("postgres_url"), "conductors")
    made = Workers(tmp_path, daytona, url)
    yield made
    made.end()
    daytona.heal()


class Phases:
    """An execution in each phase, all in the hands of one worker."""

    def __init__(self, workers: Workers) -> None:
        self.workers = workers
        self.daytona = workers.daytona
        self.go = workers.folder / "go"
        self.end = workers.folder / "end"
        await_go = f"while [ ! -e {self.go} ]; do sleep 0.05; done"
        await_end = f"while [ ! -e {self.end} ]; do sleep 0.05; done"
        self.archiving = workers.execute(f"echo one; {await_end}; echo made >file; echo two")
        self.running = workers.execute(f"echo one; {await_go}; echo two")
        self.stopping = workers.execute("trap '' TERM; echo one; while :; do sleep 0.05; done")
        for execution_id in (self.archiving, self.running, self.stopping):
            workers.wait_for_status(execution_id, "running")
            wait_until(lambda execution_id=execution_id: execution_id in workers.starts(), "its script runs")
        self._archive()
        self.workers.console.ask(f"stop({self.stopping!r})")
        self._start()

    @property
    def all(self) -> list[str]:
        return [self.archiving, self.running, self.stopping, self.starting]

    def _hang(self, match: str, seconds: float) -> None:
        self.daytona.fault(match, hang_s=seconds, times=1)

    def _asked(self, route: str) -> int:
        return sum(count for name, count in self.daytona.requests().items() if name.endswith(route))

    def _archive(self) -> None:
        """Its worker waits for the list of its files."""
        before = self._asked("/files/download")
        self._hang(f"GET .*/files/download.*taskhub-{self.archiving}.*artifacts", HANG_S)
        self.end.touch()
        wait_until(lambda: self._asked("/files/download") > before, "the files are asked for")

    def _start(self) -> None:
        """Its worker has asked for the script's start and has no answer; the start comes, but late."""
        before = self._asked("/exec")
        self._hang(r"POST .*/process/session/taskhub-[0-9a-f-]+/exec", HANG_S)
        self.starting = self.workers.execute("echo one; echo two")
        wait_until(lambda: self._asked("/exec") > before, "the start is asked for")
        assert self.workers.shown(self.starting)["status"] == "starting"

    def all_end_well(self, within_s: float) -> None:
        for execution_id in (self.archiving, self.running, self.starting):
            ended = self.workers.wait_for_status(execution_id, "completed", within_s)
            assert (ended["lines"], ended["exit_code"]) == (["one", "two"], 0), ended
        stopped = self.workers.wait_for_status(self.stopping, "stopped", within_s)
        assert stopped["lines"] == ["one"]
        assert self.workers.shown(self.archiving)["artifacts_kept"] == 1
        assert sorted(self.workers.starts()) == sorted(self.all)


def test_killed_worker_loses_nothing_and_nothing_starts_twice(workers: Workers) -> None:
    first = workers.worker("one")
    workers.relief()
    phases = Phases(workers)
    workers.call_relief()
    workers.beat()
    first.signal(signal.SIGKILL)
    phases.go.touch()
    phases.all_end_well(150)
    assert workers.shown(phases.starting)["attempts"] == 2


def test_worker_that_is_told_to_end_hands_over_at_once(workers: Workers) -> None:
    """Without beat: nothing but the worker's own last word brings the executions to the other one."""
    first = workers.worker("one")
    workers.relief()
    phases = Phases(workers)
    fences = {execution_id: workers.shown(execution_id)["fence"] for execution_id in phases.all}
    workers.call_relief()
    first.signal(signal.SIGTERM)
    assert first.wait(60) == 0
    for execution_id, fence in fences.items():
        workers.wait(execution_id, lambda shown, fence=fence: shown["fence"] > fence, "it is taken over", 10)
    phases.go.touch()
    phases.all_end_well(150)


def test_two_workers_share_what_is_accepted_at_once(workers: Workers) -> None:
    workers.worker("one")
    workers.worker("two")
    workers.beat()
    scripts = {
        "echo out; echo err >&2": ("completed", 0),
        "echo failed; exit 3": ("failed", 3),
        "echo $$; kill -9 $$": ("failed", 137),
        "for i in $(seq 2000); do echo line $i; done": ("completed", 0),
        "echo kept >kept; cat kept": ("completed", 0),
    }
    ids = {workers.execute(script): wanted for _ in range(4) for script, wanted in scripts.items()}
    long = {workers.execute("echo begun; sleep 600", timeout_s=1): ("timed_out", None) for _ in range(3)}
    for execution_id, (status, code) in {**ids, **long}.items():
        ended = workers.wait_for_status(execution_id, status, 120)
        assert code is None or ended["exit_code"] == code, ended
        assert not ended["log_truncated"]
        assert ended["attempts"] == 1
    assert sorted(workers.starts()) == sorted([*ids, *long])
