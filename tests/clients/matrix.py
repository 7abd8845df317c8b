"""What every client must do: connect, read what is hard to read, resume once and in order, and stop at the end."""

from __future__ import annotations

import json
import os
import shutil
import sys
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final
from urllib.parse import urlencode

from taskhub.events.wire_json import FRAME_LIMIT
from tests.clients.environments import HERE, NPM, node, python
from tests.clients.pages import page_in_a_file, serving
from tests.clients.targets import PATIENCE_S, Target
from tests.processes import Process, wait_until
from tests.streaming import open_stream

NODE: Final = ("eventsource-2", "eventsource-4", "eventsource-client", "eventsource-parser")
PYTHON: Final = (
    *("httpx-sse", "sseclient", "sseclient-py", "aiohttp-sse-client2", "launchdarkly-eventsource"),
    *("requests", "aiohttp", "curl"),
)
PAGES: Final = ("native", "event-source-polyfill", "fetch-event-source", "sse.js")
TITLES: Final = (
    "Å ą ü",
    "日本語の題名",
    "🙂👩‍💻🏳️‍🌈",
    "one\u2028two\u2029three\x85four",
    'quote " backslash \\ tab \t end',
)
LOG_EVENTS: Final = ["connected", "log", "log-complete", "disconnected"]
SCRIPT: Final = """
echo plain; echo '日本語 🙂'; printf 'one\\rtwo\\n'; printf 'a\\342\\200\\250b\\302\\205c\\n'
head -c 90000 /dev/zero | tr '\\0' '\\033'; echo
"""


@dataclass
class Seen:
    """What one client has told, of one stream."""

    name: str
    process: Process
    page: int | None = None
    events: list[dict[str, Any]] = field(default_factory=list)
    closed: bool = False
    _read: int = 0

    def look(self) -> None:
        output = self.process.output
        while self._read < len(output):
            line = output[self._read]
            self._read += 1
            if self.page is not None:
                number, _, line = line.partition("\t")
                if number != str(self.page):
                    continue
            if line.startswith("{"):
                said = json.loads(line)
                if said.get("closed"):
                    self.closed = True
                else:
                    self.events.append(said)


class Failed(AssertionError):
    pass


def wait_for(seen: list[Seen], holds: Callable[[Seen], bool], what: str) -> None:
    """Until it holds for every client; names those for which it does not. Raises Failed."""

    def all_hold() -> bool:
        for each in seen:
            each.look()
        return all(holds(each) for each in seen)

    try:
        wait_until(all_hold, what, PATIENCE_S)
    except AssertionError:
        missing = [each for each in seen if not holds(each)]
        last = {each.name: (str(each.events[-4:])[:1500], str(each.process.output[-3:])[:600]) for each in missing}
        said = "".join(f"\n  {name}: {events} {output}" for name, (events, output) in last.items())
        raise Failed(f"{what}: not in {', '.join(each.name for each in missing)}{said}") from None


class Matrix:
    """The clients on the streams of one hub; `scratch` is a folder of its own, `stack` ends what is started."""

    def __init__(self, target: Target, scratch: Path, stack: ExitStack) -> None:
        self.target = target
        self.http = stack.enter_context(target.client())
        self._scratch = scratch
        self._stack = stack
        self._loopback = stack.enter_context(serving("127.0.0.1"))
        self._elsewhere = stack.enter_context(serving("127.0.0.2"))
        self._count = 0

    def ticket(self, kind: str, **params: str) -> str:
        """A URL that opens the stream, another one each time: Firefox lets loads of one address wait for each other."""
        self._count += 1
        url: str = self.http.post("/api/tickets/", json={"kind": kind, "params": params}).json()["url"]
        # Also behind a proxy, on a port that is not the usual one.
        assert url.startswith(f"{self.target.address}/"), url
        return f"{url}&_={self._count}"

    def start(self, events: list[str], kind: str, **params: str) -> list[Seen]:
        """Every client on a stream of its own."""
        listed = ",".join(events)
        seen: list[Seen] = []
        for name in NODE:
            program = str(NPM / "node_clients.mjs")
            seen += [self._run(name, [node(), program, name, self.ticket(kind, **params), listed])]
        for name in PYTHON:
            interpreter = sys.executable if name == "curl" else python(name)
            command = [interpreter, str(HERE / "python_clients.py"), name, self.ticket(kind, **params), listed]
            seen.append(self._run(name, command))
        for browser in ("chromium", "firefox"):
            seen += self._browse(browser, events, kind, params)
        return seen

    def _run(self, name: str, command: list[str]) -> Seen:
        return Seen(name, self._process(command))

    def _process(self, command: list[str]) -> Process:
        own = {"PYTHONIOENCODING": "utf-8", "PYTHONUNBUFFERED": "1", "HOME": str(self._scratch)}
        env = {**os.environ, **own, **self.target.trust}
        process = Process(command, env)
        self._stack.callback(process.end)
        return process

    def _browse(self, browser: str, events: list[str], kind: str, params: dict[str, str]) -> list[Seen]:
        """Pages of another port of this machine (by open reading where it is), of another origin, and of a file."""
        pages = {"native, another port": self._page(self._loopback, "native", self._by_reading(kind, **params), events)}
        for name in PAGES:
            pages[f"{name}, another origin"] = self._page(self._elsewhere, name, self.ticket(kind, **params), events)
        file = page_in_a_file(self._scratch, f"{browser}-{kind}", self.ticket(kind, **params), events)
        pages["native, a file"] = file
        if browser == "firefox":
            profile = self._scratch / f"firefox-{kind}"
            profile.mkdir()
            command = [
                node(),
                str(NPM / "firefox.mjs"),
                str(shutil.which("firefox-esr")),
                str(profile),
                *pages.values(),
            ]
        else:
            command = [sys.executable, str(HERE / "chromium.py"), *pages.values()]
        process = self._process(command)
        return [Seen(f"{name}, {browser}", process, number) for number, name in enumerate(pages)]

    def _by_reading(self, kind: str, **params: str) -> str:
        if not self.target.open_reading:
            return self.ticket(kind, **params)
        self._count += 1
        path = "/api/events/stream?" if kind == "events" else f"/sse?{urlencode(params)}&"
        return f"{self.target.address}{path}_={self._count}"

    @staticmethod
    def _page(origin: str, client: str, url: str, events: list[str]) -> str:
        return f"{origin}/page.html?{urlencode({'client': client, 'url': url, 'events': ','.join(events)})}"

    def create(self, **fields: Any) -> str:
        answer = self.http.post("/api/tasks/", json={"title": "t", **fields})
        assert answer.status_code == 201, answer.text
        return str(answer.json()["id"])


@contextmanager
def reported(what: str) -> Iterator[None]:
    """Prints the line when the block has succeeded."""
    yield
    print(f"ok: {what}", flush=True)


def check_target(target: Target, scratch: Path) -> int:
    """All clients on a log that ends and on the events; returns how many. Raises AssertionError."""
    scratch.mkdir()
    with ExitStack() as stack:
        matrix = Matrix(target, scratch, stack)
        wanted = finished_command(matrix)
        logs = matrix.start(LOG_EVENTS, "sse", **wanted)
        check_logs(matrix, logs, wanted)
        for process in {id(each.process): each.process for each in logs}.values():
            process.end()
        events = matrix.start(["message"], "events")
        check_events(matrix, events)
    return len(events)


def check_events(matrix: Matrix, seen: list[Seen]) -> None:
    """`/api/events/stream`: every task once and in order, over the death of the web processes."""
    where = matrix.target.name
    with reported(f"{where}: connect, and the first event is `connected`"):
        wait_for(seen, lambda each: bool(each.events), "the first event")
        first = {each.name: each.events[0] for each in seen}
        wrong = [name for name, event in first.items() if event["data"]["event"] != "connected"]
        assert not wrong, wrong
    expected = [matrix.create(title=title) for title in TITLES]
    description, at_limit = at_the_limit(matrix)
    expected += at_limit
    large = matrix.create(description="字" * 43_700)
    expected.append(large)
    with reported(f"{where}: emoji, CJK and line separators; an event at the limit of 96 KiB; one above it"):
        wait_for(seen, lambda each: large in tasks(each), "the last event before the restart")
    matrix.target.kill_web()
    expected += [matrix.create(title=f"after {n}") for n in range(3)]
    with reported(f"{where}: resume once and in order after the web processes are killed"):
        wait_for(seen, lambda each: expected[-1] in tasks(each), "the last event after the restart")
    for each in seen:
        created = {e["data"]["data"]["task_id"]: e["data"]["data"] for e in each.events if is_task(e)}
        assert tasks(each) == expected, f"{each.name}: {tasks(each)} is not {expected}"
        assert [created[task]["title"] for task in expected[: len(TITLES)]] == list(TITLES), each.name
        told = created[at_limit[-1]]["description"]
        assert told == {"length": len(description), "end": description[-3:]}, (each.name, told)
        assert created[large]["omitted"] == ["description"], each.name


def at_the_limit(matrix: Matrix) -> tuple[str, list[str]]:
    """A task whose event has 96 KiB, to a few bytes; its description, and the ids of the tasks that it took."""
    with open_stream(matrix.ticket("events"), timeout_s=120, verify=matrix.target.verify) as frames:
        next(frames)
        empty = matrix.create()
        frame = next(frames)
        room = FRAME_LIMIT - 16 - len(f"id: {frame.id}\ndata: {frame.data}\n\n".encode())
        description = "字" * ((room - 4) // 3) + "🙂"
        full = matrix.create(description=description)
        frame = next(frames)
        size = len(f"id: {frame.id}\ndata: {frame.data}\n\n".encode())
        assert FRAME_LIMIT - 64 < size <= FRAME_LIMIT, size
    return description, [empty, full]


def is_task(event: dict[str, Any]) -> bool:
    return bool(event["data"]["event"] == "task_created")


def tasks(each: Seen) -> list[str]:
    return [event["data"]["data"]["task_id"] for event in each.events if is_task(event)]


def finished_command(matrix: Matrix) -> dict[str, str]:
    """The parameters of `/sse` for the log of a command that has ended."""
    sandbox = made(matrix, "/api/sandboxes/")["id"]
    session = made(matrix, f"/api/sandboxes/{sandbox}/sessions")["sessionId"]
    place = f"/api/sandboxes/{sandbox}/sessions/{session}/commands"
    command = made(matrix, place, command=SCRIPT)["commandId"]
    wait_until(
        lambda: matrix.http.get(f"{place}/{command}").json()["exitCode"] is not None, "the command ends", PATIENCE_S
    )
    return {"sandboxId": sandbox, "eventType": "logs", "sessionId": session, "commandId": command}


def made(matrix: Matrix, address: str, **body: str) -> dict[str, Any]:
    answer = matrix.http.post(address, json=body)
    assert answer.is_success, answer.text
    return dict(answer.json())


def check_logs(matrix: Matrix, seen: list[Seen], wanted: dict[str, str]) -> None:
    """`/sse`: named events, each with its ids; after the end a client comes back once, gets 204, and stays away."""
    with reported(f"{matrix.target.name}: named events, and 204 at the end"):
        wait_for(seen, lambda each: each.closed, "the end")
    lines = ["plain", "日本語 🙂", "one\rtwo", "a\u2028b\x85c"]
    about = {name: wanted[name] for name in ("sandboxId", "sessionId", "commandId")}
    for each in seen:
        names = [event["event"] for event in each.events]
        logs = [event["data"] for event in each.events if event["event"] == "log"]
        assert names == ["connected", *(["log"] * len(logs)), "log-complete", "disconnected"], (each.name, names)
        assert [data["line"] for data in logs[: len(lines)]] == lines, each.name
        assert [data["n"] for data in logs] == list(range(1, len(logs) + 1)), each.name
        parts = [data["line"]["length"] for data in logs[len(lines) :]]
        assert len(parts) == 9, (each.name, parts)
        assert all(event["data"].items() >= about.items() for event in each.events), each.name
        assert not any(line.startswith("Traceback") for line in each.process.output), each.name
