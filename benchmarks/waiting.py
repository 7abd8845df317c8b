"""How others fare while many requests wait: for a log that never pauses, a sandbox service that hangs, a locked row."""

from __future__ import annotations

import contextlib
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Final

import httpx
import psycopg

from benchmarks.scenarios import FigureRow, Sample, Scenario, bearer
from benchmarks.servers import HOST, Server, Template, web_process
from benchmarks.writers import WriterProcess
from tests.sandboxes.ill_daytona import KEY, Daytona

VIEWERS: Final = 24
AGENTS: Final = 16
WRITERS: Final = 12
PHASE_S: Final = 15.0
PAUSE_S: Final = 0.1
MOST_MS: Final = 500.0
SCRIPT: Final = "while :; do echo x; sleep 0.05; done"
PHASES: Final = {
    "log": f"{VIEWERS} clients that ask for the end of a log that never pauses",
    "hang": f"{AGENTS} clients that list sandboxes, the sandbox service stopped",
    "lock": f"{WRITERS} clients that change a task whose row is locked",
}


def run(database: Template, _: WriterProcess) -> Sample:
    with tempfile.TemporaryDirectory(prefix="taskhub-bench-waiting-") as folder:
        daytona = Daytona(Path(folder))
        try:
            env = {"DAYTONA_API_URL": daytona.api_url, "DAYTONA_API_KEY": KEY}
            with web_process(database, more_env=env) as server, _client(server) as client:
                task_id = _chatty(server, client, daytona)
                log = f"/api/exec/logs/{task_id}?tail=1"
                sample = _phase(server, "log", VIEWERS, lambda each: each.get(log))
                assert daytona.process is not None
                with daytona.process.frozen():
                    sample |= _phase(server, "hang", AGENTS, lambda each: each.get("/api/sandboxes/"))
                with _locked(server, task_id):
                    change = f"/api/tasks/{task_id}/"
                    sample |= _phase(server, "lock", WRITERS, lambda each: each.patch(change, json={"title": "u"}))
                return sample
        finally:
            daytona.close()


@contextlib.contextmanager
def _client(server: Server) -> Iterator[httpx.Client]:
    with httpx.Client(base_url=f"http://{HOST}:{server.port}", headers=bearer(server), timeout=120) as made:
        yield made


def _chatty(server: Server, client: httpx.Client, daytona: Daytona) -> str:
    """The task of an execution that runs at Daytona, as a worker would have started it."""
    sandbox_id, command_id = daytona.command(SCRIPT)
    task_id = str(client.post("/api/tasks/", json={"title": "chatty"}).raise_for_status().json()["id"])
    client.post(f"/api/exec/{task_id}", json={"script_content": SCRIPT}).raise_for_status()
    placed = "UPDATE taskhub_execution SET status = 'running', sandbox_id = %s, session_name = 's', command_id = %s"
    with psycopg.connect(server.env["DATABASE_URL"], autocommit=True) as connection:
        connection.execute(placed, [sandbox_id, command_id])
    return task_id


@contextlib.contextmanager
def _locked(server: Server, task_id: str) -> Iterator[None]:
    with psycopg.connect(server.env["DATABASE_URL"]) as forgotten:
        forgotten.execute("SELECT 1 FROM taskhub_task WHERE id = %s FOR UPDATE", [task_id])
        yield
        forgotten.rollback()


def _phase(server: Server, key: str, clients: int, ask: Callable[[httpx.Client], httpx.Response]) -> Sample:
    """Clients that ask again as soon as they are answered; and the times of others meanwhile."""
    stopping = threading.Event()
    answers: list[int] = []

    def again() -> None:
        with _client(server) as client:
            while not stopping.is_set():
                answers.append(ask(client).status_code)

    asking = [threading.Thread(target=again) for _ in range(clients)]
    for thread in asking:
        thread.start()
    try:
        with _client(server) as client:
            health, writes = _others(client)
    finally:
        stopping.set()
        for thread in asking:
            thread.join()
    return {
        f"{key}_health_p50": health[len(health) // 2],
        f"{key}_health_max": health[-1],
        f"{key}_write_p50": writes[len(writes) // 2],
        f"{key}_write_max": writes[-1],
        f"{key}_answers": len(answers) / PHASE_S,
    }


def _others(client: httpx.Client) -> tuple[list[float], list[float]]:
    """Milliseconds of `/healthz` and of making a task, sorted."""
    health, writes = [], []
    until = time.monotonic() + PHASE_S
    while time.monotonic() < until:
        health.append(_timed(lambda: client.get("/healthz")))
        writes.append(_timed(lambda: client.post("/api/tasks/", json={"title": "t"})))
        time.sleep(PAUSE_S)
    return sorted(health), sorted(writes)


def _timed(ask: Callable[[], httpx.Response]) -> float:
    began = time.monotonic()
    ask().raise_for_status()
    return (time.monotonic() - began) * 1e3


def _figures() -> list[FigureRow]:
    rows: list[FigureRow] = []
    for key, words in PHASES.items():
        rows += [
            (f"{key}_health_max", f"{words}: `/healthz`, slowest", "ms", MOST_MS, None),
            (f"{key}_health_p50", f"{words}: `/healthz`, p50", "ms", None, None),
            (f"{key}_write_max", f"{words}: a task is made, slowest", "ms", None, None),
            (f"{key}_write_p50", f"{words}: a task is made, p50", "ms", None, None),
            (f"{key}_answers", f"{words}: answers to these clients", "1/s", None, None),
        ]
    return rows


SCENARIO: Final = Scenario(
    "waiting",
    f"One web process on PostgreSQL, with the threads that the settings give it. For {PHASE_S:.0f} s each, clients "
    "that have to wait ask again as soon as they are answered; another one asks for `/healthz` and makes a task, "
    f"by turns, every {PAUSE_S * 1e3:.0f} ms. Wall time, with the clients on the same two cores: a busy machine shows.",
    run,
    _figures(),
)
