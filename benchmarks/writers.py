"""The writers: events over REST, each writer on a keep-alive connection of its own, all in another process."""

from __future__ import annotations

import http.client
import json
import multiprocessing
import threading
import time
from concurrent.futures import Future, ProcessPoolExecutor
from dataclasses import dataclass, field
from typing import Final

from benchmarks.servers import HOST, Server

_STATUSES: Final = ("inprogress", "review")
"""Neither makes the task ready, which would be an event of its own."""
_DONE: Final = (http.client.OK, http.client.CREATED)


@dataclass(frozen=True)
class Form:
    """A request of a writer. In `body`, `{number}` is the event's, from `first` on."""

    method: str
    body: str
    first: int = 1
    content_type: str = "application/json"


@dataclass(frozen=True)
class Writes:
    """Each writer sends `count` requests to its path, one after the other, `gap_s` apart or as fast as it can.

    Without a `form` they are updates of a task's status. `more_ports`: of other processes of the hub; the writers are
    spread over all of them.
    """

    port: int
    token: str
    paths: list[str]
    count: int
    gap_s: float = 0.0
    form: Form | None = None
    more_ports: tuple[int, ...] = ()

    def port_of(self, writer: int) -> int:
        ports = (self.port, *self.more_ports)
        return ports[writer % len(ports)]


@dataclass
class Written:
    """How it went: seconds from the first request to the last answer, and when each was sent and answered.

    The moments are as `time.time()` has them.
    """

    elapsed_s: float = 0.0
    sent: list[float] = field(default_factory=list)
    answered: list[float] = field(default_factory=list)
    errors: list[str] = field(default_factory=list)

    def check(self) -> Written:
        """Raises if any write failed."""
        if self.errors:
            raise AssertionError(f"{len(self.errors)} writes failed, the first: {self.errors[0]}")
        return self


class WriterProcess:
    """A process that writes; made before the measurement, so that its start costs nothing."""

    def __init__(self) -> None:
        self._pool = ProcessPoolExecutor(1, mp_context=multiprocessing.get_context("spawn"))
        self._pool.submit(time.time).result(60)

    def start(self, writes: Writes) -> Future[Written]:
        return self._pool.submit(_write, writes)

    def run(self, writes: Writes, within_s: float) -> Written:
        return self.start(writes).result(within_s).check()

    def close(self) -> None:
        self._pool.shutdown(cancel_futures=True)


def make_task(server: Server) -> str:
    """A new task's id; one event (`task_created`)."""
    body = json.dumps({"title": "MetricSample the delivery engine", "tags": ["benchmark"]})
    status, answer = _Caller(server.port, server.token).send("POST", "/api/tasks/", body)
    assert status == http.client.CREATED, answer
    return str(json.loads(answer)["id"])


def status_path(task_id: str) -> str:
    return f"/api/tasks/status/{task_id}"


def status_update(writer: int, turn: int) -> dict[str, str]:
    """The body of an update. Another assignee each time: a change for sure, also where several writers share a task."""
    return {"new_status": _STATUSES[turn % 2], "assignee": f"agent-{writer}-{turn}"}


def read_version(server: Server, task_id: str) -> int:
    _, answer = _Caller(server.port, server.token).send("GET", f"/api/tasks/{task_id}")
    return int(json.loads(answer)["version"])


class _Caller:
    def __init__(self, port: int, token: str, content_type: str = "application/json") -> None:
        self._connection = http.client.HTTPConnection(HOST, port, timeout=60)
        self._headers = {"Content-Type": content_type}
        if token:
            self._headers["Authorization"] = f"Bearer {token}"

    def send(self, method: str, path: str, body: str | None = None) -> tuple[int, bytes]:
        self._connection.request(method, path, body, self._headers)
        response = self._connection.getresponse()
        return response.status, response.read()


def _write(writes: Writes) -> Written:
    written = Written()
    threads = [
        threading.Thread(target=_write_one_by_one, args=(writes, number, written))
        for number in range(len(writes.paths))
    ]
    began = time.perf_counter()
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    written.elapsed_s = time.perf_counter() - began
    return written


def _write_one_by_one(writes: Writes, writer: int, written: Written) -> None:
    form = writes.form
    caller = _Caller(writes.port_of(writer), writes.token, form.content_type if form else "application/json")
    began = time.monotonic()
    for turn in range(writes.count):
        if writes.gap_s:
            time.sleep(max(0.0, began + turn * writes.gap_s - time.monotonic()))
        method, body = ("PUT", json.dumps(status_update(writer, turn))) if form is None else _filled(form, turn)
        written.sent.append(time.time())
        try:
            status, answer = caller.send(method, writes.paths[writer], body)
        except (OSError, http.client.HTTPException) as error:
            written.errors.append(repr(error))
            return
        written.answered.append(time.time())
        if status not in _DONE:
            written.errors.append(f"{status} {answer[:300]!r}")


def _filled(form: Form, turn: int) -> tuple[str, str]:
    return form.method, form.body.replace("{number}", str(form.first + turn))
