"""The servers that `engines` measures: TaskHub, and what it is compared with, each started in a process of its own."""

from __future__ import annotations

import atexit
import contextlib
import json
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace
from functools import cache
from pathlib import Path
from typing import Final

from benchmarks.scenarios import STREAM, bearer, warm_up
from benchmarks.servers import (
    BEFORE,
    HOST,
    Server,
    Template,
    listening,
    template_before,
    uvicorn,
    web_process,
)
from benchmarks.streams import Plan
from benchmarks.writers import Form, WriterProcess, Writes, status_path
from tests.processes import free_port

PEERS: Final = Path(__file__).parent / "peers"
ONLY: Final = "TASKHUB_BENCH_ENGINES"
_BUILD_S: Final = 1800
_PACKAGES: Final = ("sse-starlette>=3.7,<4", "starlette>=1.10,<2", "uvicorn>=0.54,<1", "uvloop", "httptools")
GREETING: Final = b"event: stream-open"
CENTRIFUGO: Final = "github.com/centrifugal/centrifugo/v6@v6.9.1"
PAYLOAD: Final = "x" * 500
"""About as long as the envelope of a status update."""


@dataclass(frozen=True)
class Engine:
    """A running server. `plan`: how a stream of it is opened, and the number that its next event follows.

    `path` and `form`: how an event is published; without a form it is an update of a task's status.
    """

    server: Server
    plan: Plan
    path: str
    form: Form | None = None

    def writes(self, first: int, count: int, gap_s: float = 0.0) -> Writes:
        form = None if self.form is None else replace(self.form, first=first + 1)
        return Writes(self.server.port, self.server.token, [self.path], count, gap_s, form)


Start = Callable[[Template, WriterProcess], contextlib.AbstractContextManager[Engine]]


@contextlib.contextmanager
def hub(database: Template, writer: WriterProcess) -> Iterator[Engine]:
    with web_process(database) as server:
        yield _hub_engine(server, writer)


def _hub_engine(server: Server, writer: WriterProcess) -> Engine:
    task_id, head = warm_up(server, writer)
    return Engine(server, Plan(server.port, STREAM, bearer(server), 1, head, 0), status_path(task_id))


@contextlib.contextmanager
def _hub_before(_: Template, writer: WriterProcess) -> Iterator[Engine]:
    with template_before() as database, web_process(database) as server:
        yield _hub_engine(server, writer)


@contextlib.contextmanager
def starlette(_: Template, writer: WriterProcess) -> Iterator[Engine]:  # noqa: ARG001 - as all others
    python = str(starlette_python())
    with uvicorn(python, "benchmarks.peers.starlette_app:app", {}, "--lifespan", "off", ready="/ready") as (pid, port):
        yield _publishing(pid, port)


@contextlib.contextmanager
def django_view(_: Template, writer: WriterProcess) -> Iterator[Engine]:  # noqa: ARG001 - as all others
    application, env = "benchmarks.peers.django_app:application", dict(os.environ)
    with uvicorn(sys.executable, application, env, "--lifespan", "off", ready="/") as (pid, port):
        yield Engine(Server(pid, port, "", {}), Plan(port, "/", {}, 1, 0, 0, greeting=b"hello", greeted=b"hello"), "/")


def _program(*command: str) -> Start:
    """A program whose last argument is its port."""

    @contextlib.contextmanager
    def start(_: Template, writer: WriterProcess) -> Iterator[Engine]:  # noqa: ARG001 - as all others
        port = free_port()
        with listening([*command, str(port)], dict(os.environ), port, "/ready") as pid:
            yield _publishing(pid, port)

    return start


def _publishing(pid: int, port: int) -> Engine:
    plan = Plan(port, "/stream", {}, 1, 0, 0, greeting=GREETING)
    return Engine(Server(pid, port, "", {}), plan, "/publish", Form("PUT", ""))


def _mercure(program: Path) -> Start:
    @contextlib.contextmanager
    def start(_: Template, writer: WriterProcess) -> Iterator[Engine]:  # noqa: ARG001 - as all others
        port = free_port()
        with listening([str(program), str(port)], dict(os.environ), port, "/ready") as pid:
            # It greets with its headers.
            plan = Plan(port, "/stream?topic=tasks", {}, 1, 0, 0, greeting=b"\r\n\r\n", greeted=b"\r\n\r\n")
            body = f"topic=tasks&id={{number}}&data={PAYLOAD}"
            form = Form("POST", body, content_type="application/x-www-form-urlencoded")
            yield Engine(Server(pid, port, "", {}), plan, "/publish", form)

    return start


def _centrifugo(program: Path) -> Start:
    @contextlib.contextmanager
    def start(_: Template, writer: WriterProcess) -> Iterator[Engine]:  # noqa: ARG001 - as all others
        port = free_port()
        settings = {
            "http_server": {"address": HOST, "port": str(port)},
            "client": {"insecure": True},
            "http_api": {"insecure": True},
            "uni_sse": {"enabled": True},
            "health": {"enabled": True},
            "log": {"level": "error"},
        }
        with tempfile.NamedTemporaryFile("w", suffix=".json") as config:
            config.write(json.dumps(settings))
            config.flush()
            with listening([str(program), "-c", config.name], dict(os.environ), port, "/health") as pid:
                path = "/connection/uni_sse?cf_connect=%7B%22subs%22%3A%7B%22tasks%22%3A%7B%7D%7D%7D"
                plan = Plan(port, path, {}, 1, 0, 0, greeting=b'"subs":', number=rb'"number": ?(\d+)')
                body = json.dumps({"channel": "tasks", "data": {"number": 0, "text": PAYLOAD}})
                form = Form("POST", body.replace('"number": 0', '"number": {number}'))
                yield Engine(Server(pid, port, "", {}), plan, "/api/publish", form)

    return start


@cache
def starlette_python() -> Path | None:
    """The interpreter of a virtual environment with sse-starlette; None, with a message, where it cannot be had."""
    folder = tempfile.TemporaryDirectory(prefix="taskhub-bench-peer-")
    atexit.register(folder.cleanup)
    python = Path(folder.name) / "bin" / "python"
    try:
        subprocess.run([sys.executable, "-m", "venv", folder.name], check=True, timeout=120)
        subprocess.run(
            [python, "-m", "pip", "install", "--quiet", *_PACKAGES], check=True, timeout=300, stderr=subprocess.DEVNULL
        )
    except (OSError, subprocess.SubprocessError) as error:
        print(f"sse-starlette is left out of the comparison, it cannot be installed: {error}", file=sys.stderr)
        return None
    return python


def _make_floor(folder: Path) -> Start:
    program = str(folder / "floor")
    subprocess.run(["gcc", "-O2", "-o", program, PEERS / "floor.c"], check=True, timeout=120)
    return _program(program)


def _make_before(_: Path) -> Start | None:
    return _hub_before if BEFORE in os.environ else None


def _make_starlette(_: Path) -> Start | None:
    return starlette if starlette_python() is not None else None


def _make_node(_: Path) -> Start | None:
    node = shutil.which("node")
    return _program(node, str(PEERS / "node_app.mjs")) if node is not None else None


def _make_centrifugo(folder: Path) -> Start:
    env = os.environ | {"GOBIN": str(folder)}
    subprocess.run(["go", "install", CENTRIFUGO], env=env, check=True, timeout=_BUILD_S)
    return _centrifugo(folder / "centrifugo")


def _make_mercure(folder: Path) -> Start:
    program = folder / "mercure"
    subprocess.run(["go", "build", "-o", program, "."], cwd=PEERS / "mercure", check=True, timeout=_BUILD_S)
    return _mercure(program)


_MAKERS: Final[Mapping[str, Callable[[Path], Start | None]]] = {
    "floor": _make_floor,
    "hub": lambda _: hub,
    "before": _make_before,
    "starlette": _make_starlette,
    "node": _make_node,
    "centrifugo": _make_centrifugo,
    "mercure": _make_mercure,
}


@cache
def starts() -> Mapping[str, Start]:
    """How each of the servers that are there is started, the floor first. What cannot be built is named on stderr."""
    folder = Path(tempfile.mkdtemp(prefix="taskhub-bench-peers-"))
    atexit.register(shutil.rmtree, folder)
    wanted = {"floor", *os.environ[ONLY].split(",")} if ONLY in os.environ else _MAKERS.keys()
    found: dict[str, Start] = {}
    for name, make in _MAKERS.items():
        try:
            start = make(folder) if name in wanted else None
        except (OSError, subprocess.SubprocessError) as error:
            print(f"{name} is left out, it cannot be built: {error}", file=sys.stderr)
            continue
        if start is not None:
            found[name] = start
    return found
