"""A real local sandbox server in a process of its own, and the official SDK as its client."""

import asyncio
import contextlib
import json
import os
import shutil
import signal
import subprocess
import sys
import time
import warnings
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Sequence
from pathlib import Path
from typing import Any
from uuid import uuid4

import aiohttp
import pytest

from tests.processes import reaper

with warnings.catch_warnings():
    warnings.simplefilter("ignore")
    from daytona import AsyncDaytona, AsyncSandbox, CreateSandboxFromSnapshotParams, DaytonaConfig

KEY = "a-key-for-tests-0123456789"
ROOT = Path(__file__).parents[2]
START_DEADLINE_S = 15
VERSION = {"X-Daytona-SDK-Version": "0.226.1"}

needs_bwrap = pytest.mark.skipif(shutil.which("bwrap") is None, reason="bubblewrap is not installed")


class Server:
    """The server as a process. Its data outlives it, so it can be started again."""

    def __init__(self, data_dir: Path, *options: str, prefix: Sequence[str] = ()) -> None:
        """`prefix`: a command that ends by executing the words after it, in place of itself."""
        self.data_dir = data_dir
        self.options = options
        self.prefix = prefix
        self.process: subprocess.Popen[str] | None = None
        self.port = 0
        self.ready = ""

    def start(self, *, port: int = 0) -> "Server":
        self.data_dir.mkdir(parents=True, exist_ok=True)
        errors = (self.data_dir.parent / f"{self.data_dir.name}.stderr").open("a")
        with errors:
            self.process = subprocess.Popen(
                [
                    *self.prefix,
                    *(sys.executable, "-m", "sandboxes.local"),
                    *("--data-dir", str(self.data_dir), "--port", str(port), *self.options),
                ],
                cwd=ROOT,
                env={**os.environ, "LOCAL_SANDBOX_KEY": KEY, "SECRET_OF_THE_SERVER": "do not leak"},
                stdout=subprocess.PIPE,
                stderr=errors,
                text=True,
                start_new_session=True,
            )
            reaper.tell("process", self.process.pid)
        self.ready = self.process.stdout.readline()
        assert "ready on http://" in self.ready, self.stderr()
        self.port = int(self.ready.split("127.0.0.1:")[1].split()[0])
        return self

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    @property
    def pid(self) -> int:
        return self.process.pid

    def stderr(self) -> str:
        return (self.data_dir.parent / f"{self.data_dir.name}.stderr").read_text()

    def clear_stderr(self) -> None:
        """After errors that a test has provoked."""
        (self.data_dir.parent / f"{self.data_dir.name}.stderr").write_text("")

    def stop(self) -> float:
        """SIGTERM; the seconds it took."""
        started = time.monotonic()
        if self.process is not None:
            self.process.send_signal(signal.SIGTERM)
            assert self.process.wait(60) == 0, self.stderr()
            self._closed()
        return time.monotonic() - started

    def kill(self) -> None:
        self.process.kill()
        self.process.wait(60)
        self._closed()

    def _closed(self) -> None:
        reaper.tell("gone", self.process.pid)
        self.process.stdout.close()
        self.process = None

    def memory_kib(self, field: str = "VmRSS") -> int:
        status = Path(f"/proc/{self.pid}/status").read_text()
        return int(status.split(f"{field}:")[1].split()[0])


class Raw:
    """Plain HTTP with the key, for what the SDK hides."""

    def __init__(self, server: Server, session: aiohttp.ClientSession) -> None:
        self.server = server
        self.session = session

    async def call(
        self, method: str, path: str, *, body: Any = None, headers: dict[str, str] | None = None, **more: Any
    ) -> tuple[int, Any, Any]:
        """Status, decoded body (bytes if it is no JSON), headers."""
        if body is not None:
            more["data"] = body if isinstance(body, bytes) else json.dumps(body).encode()
        async with self.session.request(
            method, self.server.url + path, headers={**self.headers(), **(headers or {})}, **more
        ) as response:
            data = await response.read()
            with contextlib.suppress(ValueError):
                data = json.loads(data)
            return response.status, data, response.headers

    def headers(self) -> dict[str, str]:
        return {"Authorization": f"Bearer {KEY}", **VERSION}

    def follow(self, sandbox_id: str, session_id: str, command_id: str, **headers: str):
        path = f"/toolbox/{sandbox_id}/process/session/{session_id}/command/{command_id}/logs?follow=true"
        return self.session.ws_connect(self.server.url + path, headers={**self.headers(), **headers})


async def eventually(check: Callable[[], Any], deadline_s: float = 10) -> Any:
    """Await until `check` (sync or async) answers something true."""
    end = time.monotonic() + deadline_s
    while True:
        result = check()
        if isinstance(result, Awaitable):
            result = await result
        if result:
            return result
        assert time.monotonic() < end, f"not within {deadline_s} s: {check}"
        await asyncio.sleep(0.01)


def processes_with(text: str) -> list[int]:
    """Processes whose environment or command line holds `text`. The test itself is not one of them."""
    found = []
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit() and int(entry.name) != os.getpid():
            with contextlib.suppress(OSError):
                seen = (entry / "environ").read_bytes() + (entry / "cmdline").read_bytes()
                if text.encode() in seen and "State:\tZ" not in (entry / "status").read_text():
                    found.append(int(entry.name))
    return found


@contextlib.contextmanager
def running(data_dir: Path, *options: str, prefix: Sequence[str] = ()) -> Iterator[Server]:
    server = Server(data_dir, *options, prefix=prefix).start()
    try:
        yield server
        assert "Traceback" not in server.stderr(), server.stderr()
    finally:
        if server.process is not None:
            server.stop()


@contextlib.asynccontextmanager
async def daytona_client(server: Server, *, polling: bool = True, key: str = KEY) -> AsyncIterator[AsyncDaytona]:
    with warnings.catch_warnings():
        # The SDK calls polling deprecated, and works with it.
        warnings.simplefilter("ignore", DeprecationWarning)
        client = AsyncDaytona(
            DaytonaConfig(api_key=key, api_url=f"{server.url}/api", target="us", use_deprecated_polling=polling)
        )
    async with client:
        yield client


@contextlib.asynccontextmanager
async def made(client: AsyncDaytona, **params: Any) -> AsyncIterator[AsyncSandbox]:
    """A sandbox that is gone afterwards, if the test has not deleted it."""
    params.setdefault("name", f"test-{uuid4().hex[:12]}")
    sandbox = await client.create(CreateSandboxFromSnapshotParams(**params))
    yield sandbox
    status, _, _ = await _delete(client, sandbox.id)
    assert status in (200, 404, 409)


async def _delete(client: AsyncDaytona, sandbox_id: str) -> tuple[int, Any, Any]:
    async with aiohttp.ClientSession() as session:
        url = f"{client._api_url}/sandbox/{sandbox_id}"
        async with session.delete(url, headers={"Authorization": f"Bearer {KEY}"}) as response:
            return response.status, await response.read(), response.headers
