"""What reads and writes cost on a hub that has kept much, by turns with an earlier checkout on a database of its own.

CPU is that of the web process, and on PostgreSQL of the processes that serve its connections as well. With
`TASKHUB_BENCH_BEFORE=folder` an earlier checkout, with its own `.venv`, takes part.
"""

from __future__ import annotations

import contextlib
import http.client
import json
import os
import sqlite3
import subprocess
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, Final
from urllib.parse import urlsplit

import psycopg

from benchmarks.many_rows import EVENTS, TASKS
from benchmarks.scenarios import FigureRow, Sample, Scenario, bearer
from benchmarks.servers import (
    BEFORE,
    HOST,
    Server,
    Template,
    backends,
    exact_cpu_s,
    template_before,
    web_process,
)
from benchmarks.writers import WriterProcess, status_path

TURNS: Final = 2
READS_A_TURN: Final = 10
WRITES_A_TURN: Final = 100
_STATUSES: Final = ("inprogress", "review")
RENAMED: Final = "Another title"
WRITTEN: Final = 50
"""So many tasks are written to."""
SLOW_S: Final = 0.05
"""A request that takes more CPU is made less often."""
SLOW_READS: Final = 2
DEEP_PAGES: Final = 25
"""Of 200 rows: behind them is page 100 of 50."""

LISTS: Final = {
    "a list of 200": ("page_size=200", 4.0),
    "the first page": ("", 10.0),
    "`q=` of a word that none has": ("q=nowherez", 8.0),
    "`q=` of a word that 11 have": ("q=task+4711", 8.0),
    "`q=` of a word that all have": ("q=error", None),
    "`q=` of two letters": ("q=zz", None),
    "`status=`": ("status=review", 10.0),
    "`priority=`": ("priority=high", 10.0),
    "`assignee=`": ("assignee=agent7", 10.0),
    "`assignee=` of none": ("assignee=somebody", 10.0),
    "`created_by=` of none": ("created_by=somebody", 10.0),
    "`tags=` of five tasks": ("tags=rare", 10.0),
    "`tags=` of many": ("tags=t7", 10.0),
    "`private=true`": ("private=true", 10.0),
    "`ready=true`": ("ready=true", 10.0),
    "`stale=true`": ("stale=true", 10.0),
    "`waiting_for=review`": ("waiting_for=review", 10.0),
    "`waiting_for=any`": ("waiting_for=any", 10.0),
    "`updated_since=` an hour ago": ("updated_since={hour_ago}", 10.0),
    "`last_execution=lost`": ("last_execution=lost", 10.0),
    "`last_execution=queued` of none": ("last_execution=queued", 10.0),
    **{
        f"`{status}ordering={order}`": (f"{status}ordering={order}", 10.0 if status else 30.0)
        for status in ("status=todo&", "")
        for order in ("created_at", "updated_at", "-updated_at", "title", "-title", "priority", "-priority")
    },
    "`ordering=status`": ("ordering=status", 30.0),
    "`ordering=-status`": ("ordering=-status", 30.0),
}
"""Name, query, and the CPU of a page that is allowed, in ms."""
DEEP: Final = (
    *("the first page", "`status=`", "`priority=`", "`assignee=`", "`waiting_for=any`", "`last_execution=lost`"),
    *("`status=todo&ordering=updated_at`", "`status=todo&ordering=title`", "`status=todo&ordering=-priority`"),
)
STATUS: Final = "`/api/events/status`"
BLOCKED: Final = "a task is claimed behind 100,000 that are blocked"
CLAIM_MS: Final = 4.0


class Side:
    """A running hub with many rows, and the requests that are made to it."""

    def __init__(self, server: Server) -> None:
        self.server = server
        self._connection = http.client.HTTPConnection(HOST, server.port, timeout=300)
        self._headers = {**bearer(server), "Content-Type": "application/json"}
        self._backends = dict.fromkeys(backends(server), 0.0)
        self._made: list[str] = []
        self._turns = 0

    def cpu_s(self) -> float:
        for pid, known in self._backends.items():
            self._backends[pid] = max(known, exact_cpu_s(pid))  # a connection may have been closed
        return exact_cpu_s(self.server.pid) + sum(self._backends.values())

    def look_at_backends(self) -> None:
        self._backends = dict.fromkeys(backends(self.server), 0.0)

    def ask(self, method: str, path: str, body: Any = None) -> Any:
        """Raises AssertionError for any other answer than 200 and 201."""
        text = None if body is None else json.dumps(body)
        self._connection.request(method, path, text, self._headers)
        answer = self._connection.getresponse()
        read = answer.read()
        if answer.status not in {http.client.OK, http.client.CREATED}:
            raise AssertionError(f"{method} {path}: {answer.status} {read[:300]!r}")
        return json.loads(read)

    def make(self) -> None:
        made = self.ask("POST", "/api/tasks/", {"title": "A task of a benchmark", "description": "Words. " * 80})
        self._made.append(made["id"])

    def set_status(self) -> None:
        body = {"new_status": _STATUSES[self._turns // WRITTEN % 2], "assignee": f"agent-{self._turns}"}
        self.ask("PUT", status_path(self._next()), body)

    def change_title(self) -> None:
        self.ask("PATCH", f"/api/tasks/{self._next()}", {"title": f"{RENAMED} {self._turns}"})

    def claim(self) -> None:
        if self.ask("POST", "/api/tasks/claim", {})["task"] is None:
            raise AssertionError("no task to claim")

    def _next(self) -> str:
        """The first tasks in turn."""
        task_id = self._made[self._turns % WRITTEN]
        self._turns += 1
        return task_id


CLAIMED: Final = "a task is claimed"
WRITES: Final[dict[str, tuple[Callable[[Side], None], int]]] = {
    "a task is made": (Side.make, WRITES_A_TURN),
    "a status is set": (Side.set_status, WRITES_A_TURN),
    "a title is changed": (Side.change_title, WRITES_A_TURN),
    CLAIMED: (Side.claim, READS_A_TURN),
}


def run(database: Template, _: WriterProcess) -> Sample:
    sample: Sample = {}
    with _sides(database) as sides:
        for name, (query, _most) in LISTS.items():
            hour_ago = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(time.time() - 3600))
            path = f"/api/tasks/?{query.format(hour_ago=hour_ago)}"
            sample |= _by_turns(sides, name, lambda side, path=path: side.ask("GET", path))
            if name in DEEP:
                deep = _page_100(sides["now"], path)
                sample |= _by_turns(
                    {"now": sides["now"]}, f"{name}, page 100", lambda side, deep=deep: side.ask("GET", deep)
                )
        sample |= _by_turns(sides, STATUS, lambda side: side.ask("GET", "/api/events/status"))
        sample |= _write_all(sides)
    return sample


@contextlib.contextmanager
def _sides(database: Template) -> Iterator[dict[str, Side]]:
    with contextlib.ExitStack() as stack:
        databases = {"now": database}
        if BEFORE in os.environ:
            databases["before"] = stack.enter_context(template_before(database.server_url))
        servers = {
            version: stack.enter_context(web_process(each, prepared=_filled_by(each)))
            for version, each in databases.items()
        }
        yield {version: Side(server) for version, server in servers.items()}


def _filled_by(database: Template) -> Callable[[dict[str, str]], None]:
    def fill(env: dict[str, str]) -> None:
        command = [database.python, "-m", "benchmarks.many_rows"]
        env = env | {"TASKHUB_DATABASE_STATEMENT_TIMEOUT_S": "0"}
        subprocess.run(command, env=env, cwd=database.code, check=True, stdout=subprocess.DEVNULL)

    return fill


def _by_turns(sides: dict[str, Side], name: str, ask: Callable[[Side], Any], requests: int = READS_A_TURN) -> Sample:
    """CPU of a request, in ms: the least of the turns, as other work makes some of them dearer."""
    least: Sample = {}
    counts: dict[str, int] = {}
    for version, side in sides.items():
        before = side.cpu_s()
        ask(side)  # what is made once, the pages of the database
        counts[version] = requests if side.cpu_s() - before < SLOW_S * 2 else SLOW_READS
        side.look_at_backends()
    for _ in range(TURNS):
        for version, side in sides.items():
            before = side.cpu_s()
            for _ in range(counts[version]):
                ask(side)
            took_ms = (side.cpu_s() - before) / counts[version] * 1e3
            key = f"{version} {name}"
            least[key] = min(least.get(key, took_ms), took_ms)
    print(f"{name}: " + ", ".join(f"{key.split()[0]} {took_ms:.2f} ms" for key, took_ms in least.items()), flush=True)
    return least


def _page_100(side: Side, path: str) -> str:
    page = f"{path}&page_size=200"
    for _ in range(DEEP_PAGES):
        following = side.ask("GET", page)["next"]
        if following is None:
            return path
        page = urlsplit(following)._replace(scheme="", netloc="").geturl()
    return page.replace("page_size=200", "page_size=50")


def _write_all(sides: dict[str, Side]) -> Sample:
    sample: Sample = {}
    for name, (write, count) in WRITES.items():
        sample |= _by_turns(sides, name, write, count)
    for side in sides.values():
        _block(side.server)
    return sample | _by_turns(sides, BLOCKED, Side.claim)


def _block(server: Server) -> None:
    """All tasks wait for another one, but those that were made last."""
    statement = "UPDATE taskhub_task SET status = 'todo', holder = '', open_blockers = {}"
    statements = [statement.format(1), f"{statement.format(0)} WHERE title LIKE '{RENAMED}%'"]
    if url := server.env.get("DATABASE_URL"):
        with psycopg.connect(url, autocommit=True) as connection:
            for each in [*statements, "VACUUM ANALYZE taskhub_task"]:
                connection.execute(each)
        return
    file = next(Path(server.env["TASKHUB_DATA_DIR"]).glob("*.sqlite3"))
    with contextlib.closing(sqlite3.connect(file, timeout=60)) as found:
        for each in statements:
            found.execute(each)
        found.commit()


def _rows() -> list[FigureRow]:
    wanted: dict[str, float | None] = {}
    for name, (_query, most) in LISTS.items():
        wanted[name] = most
        if name in DEEP:
            wanted[f"{name}, page 100"] = most
    wanted |= {STATUS: 4.0, **dict.fromkeys(WRITES), CLAIMED: CLAIM_MS, BLOCKED: CLAIM_MS}
    rows: list[FigureRow] = []
    for name, most in wanted.items():
        rows += [(f"now {name}", name, "ms", most, None), (f"before {name}", f"before: {name}", "ms", None, None)]
    return rows


def _scenario(name: str, database: str, whose: str) -> Scenario:
    return Scenario(
        name,
        f"{TASKS:,} tasks, {EVENTS:,} events, 100,000 executions and 400,000 audit entries on {database}; lists over "
        f"REST (`/api/tasks/`), with a token, one request after another: CPU of {whose}, the least of {TURNS} turns of "
        f"{READS_A_TURN} reads ({SLOW_READS} of slow ones), {WRITES_A_TURN} writes or {READS_A_TURN} claims, by turns "
        "with the commit before the lists, searches, indexes and numbers of this release.",
        run,
        _rows(),
    )


ON_SQLITE: Final = _scenario("kept", "SQLite", "the web process")
ON_POSTGRES: Final = _scenario(
    "kept-postgresql", "PostgreSQL", "the web process and of PostgreSQL's processes that serve it"
)
