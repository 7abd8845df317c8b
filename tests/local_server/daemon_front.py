"""Daytona's own daemon behind the local server's control API: the contract tests in front of the real thing.

`DaemonServer` is a local server whose `/toolbox/{sandboxId}/…` is passed on to a daemon of that sandbox. Each daemon is
PID 1 of its own PID name space, alone in a network name space (its ports are fixed and it asks for no key), and has a
home folder of its own, which is kept with a snapshot of its sandbox. socat brings its port out as a Unix socket. Needs
root, util-linux, iproute2 and socat.
"""

import asyncio
import contextlib
import json
import os
import shlex
import shutil
import signal
import stat
import subprocess
import tempfile
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import aiohttp
import pytest
from aiohttp import WSMsgType, web
from multidict import CIMultiDictProxy
from yarl import URL

from tests.local_server.local_server_harness import KEY, Server
from tests.processes import reaper

# As whom daemons and scripts run.
USER = 20000
TOOLBOX_PORT = 2280
START_DEADLINE_S = 60
PROGRAMS = ("unshare", "setpriv", "ip", "socat")
# What belongs to one connection, or is written anew by the client library.
DROPPED = {"connection", "keep-alive", "transfer-encoding", "upgrade", "content-length", "host", "accept-encoding"}


def why_not() -> str:
    """The reason for which no daemon can run here; empty if it can."""
    if os.getuid() != 0:
        return "needs root"
    missing = [program for program in PROGRAMS if shutil.which(program) is None]
    return f"needs {', '.join(missing)}" if missing else ""


forwarded: set[int] = set()
"""Ports of this machine that sandboxes which start from now on find on their own loopback address."""


def _forwards(folder: Path, sandbox_id: str) -> tuple[str, str]:
    """Commands for the inside and the outside of a network name space."""
    sockets = {port: folder / f"{sandbox_id}-{port}.sock" for port in forwarded}
    inner = [
        f"socat TCP-LISTEN:{port},bind=127.0.0.1,reuseaddr,fork UNIX-CONNECT:{path} &" for port, path in sockets.items()
    ]
    outer = [f"socat UNIX-LISTEN:{path},fork TCP:127.0.0.1:{port} &" for port, path in sockets.items()]
    return " ".join(inner), " ".join(outer)


class Daemon:
    """The daemon of one sandbox."""

    def __init__(self, program: Path, folder: Path, sandbox_id: str, env: dict[str, str]) -> None:
        home = folder / sandbox_id
        home.mkdir(exist_ok=True)
        os.chown(home, USER, USER)
        self.socket = folder / f"{sandbox_id}.sock"
        self.socket.unlink(missing_ok=True)
        listen = f"socat UNIX-LISTEN:{self.socket},fork TCP:127.0.0.1:{TOOLBOX_PORT}"
        # The death signal that `unshare --kill-child` sets is lost with the change of the user: it is set again.
        become = (
            "unshare --pid --fork --kill-child --mount-proc "
            f"setpriv --reuid {USER} --regid {USER} --clear-groups --pdeathsig KILL"
        )
        inner, outer = _forwards(folder, sandbox_id)
        inside = (
            f"ip link set lo up && {{ {listen} & {inner}}} && cd {shlex.quote(str(home))} && exec {become} {program}"
        )
        with (folder / f"{sandbox_id}.out").open("ab") as output:
            self.process = subprocess.Popen(
                ["sh", "-c", f"{outer} exec unshare --net sh -c {shlex.quote(inside)}"],
                env=env
                | {
                    "PATH": os.environ["PATH"],
                    "LANG": "C.UTF-8",
                    "HOME": str(home),
                    "ENVIRONMENT": "production",
                    "DAYTONA_SANDBOX_ID": sandbox_id,
                    "DAYTONA_USER_HOME_AS_WORKDIR": "true",
                    "DAYTONA_DAEMON_LOG_FILE_PATH": str(folder / f"{sandbox_id}.log"),
                },
                stdout=output,
                stderr=output,
                start_new_session=True,
            )
        reaper.tell("process", self.process.pid)
        (folder / f"{sandbox_id}.log").touch()
        os.chown(folder / f"{sandbox_id}.log", USER, USER)
        self.client = aiohttp.ClientSession(
            connector=aiohttp.UnixConnector(str(self.socket), limit=0, force_close=True)
        )

    async def answers(self) -> bool:
        with contextlib.suppress(aiohttp.ClientError):
            async with self.client.get("http://daemon/version") as response:
                return response.status == 200
        return False

    async def started(self) -> None:
        async with asyncio.timeout(START_DEADLINE_S):
            while not await self.answers():
                if self.process.poll() is not None:
                    raise RuntimeError(f"the daemon ended with {self.process.returncode}")
                await asyncio.sleep(0.05)

    async def end(self) -> None:
        await self.client.close()
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self.process.pid, signal.SIGKILL)
        await asyncio.to_thread(self.process.wait)
        reaper.tell("gone", self.process.pid)


class Front:
    """A reverse proxy: the control API to the local server, each sandbox's toolbox to its daemon."""

    def __init__(self, control: str, program: Path, folder: Path) -> None:
        self.control = control
        self.program = program
        self.folder = folder
        self.daemons: dict[str, asyncio.Task[Daemon]] = {}
        self.ending: set[asyncio.Task[None]] = set()

    async def handle(self, request: web.Request) -> web.StreamResponse:
        _, first, *rest = request.path.split("/", 3)
        if first != "toolbox":
            sandbox_id = await self.ended_by(request)
            body = await self.kept_home(request)
            response = await passed_on(request, self.client, f"{self.control}{request.rel_url}", body)
            if sandbox_id and response.status == 200:
                await self.end_daemon(sandbox_id)
            return response
        sandbox_id = rest[0]
        refusal = await self.refusal(request, sandbox_id)
        if refusal is not None:
            return refusal
        if sandbox_id not in self.daemons:
            self.daemons[sandbox_id] = asyncio.create_task(self.start(sandbox_id))
        daemon = await asyncio.shield(self.daemons[sandbox_id])
        query = f"?{request.rel_url.raw_query_string}" if request.query_string else ""
        # As it was sent: names of sessions may hold any character.
        raw_path = request.rel_url.raw_path.split("/", 3)[3]
        try:
            return await passed_on(request, daemon.client, f"http://daemon/{raw_path}{query}")
        except aiohttp.ClientConnectionError:
            return web.Response(status=502)  # a script has ended it

    async def refusal(self, request: web.Request, sandbox_id: str) -> web.StreamResponse | None:
        """What the local server says of a sandbox that is not started, or of a wrong key: as Daytona's proxy does."""
        url = f"{self.control}/toolbox/{sandbox_id}/work-dir"
        async with self.client.get(url, headers=kept(request.headers)) as response:
            if response.status == 200:
                return None
            return web.Response(body=await response.read(), status=response.status, headers=kept(response.headers))

    async def start(self, sandbox_id: str) -> Daemon:
        document = await self.sandbox(sandbox_id)
        home = self.folder / sandbox_id
        if document.get("snapshot") and not home.exists():
            await asyncio.to_thread(_copy_home, self.snapshot(document["snapshot"]), home)
        daemon = Daemon(self.program, self.folder, sandbox_id, document["env"])
        try:
            await daemon.started()
        except BaseException:
            await daemon.end()
            raise
        return daemon

    def snapshot(self, name: str) -> Path:
        return self.folder / f"snapshot-{name}"

    async def kept_home(self, request: web.Request) -> bytes | None:
        """Keeps the home of a stopped sandbox that the request makes a snapshot of; the body of such a request."""
        parts = request.path.split("/")
        if request.method != "POST" or parts[1:3] != ["api", "sandbox"] or parts[-1] != "snapshot":
            return None
        body = await request.read()
        found = await self.sandbox(parts[3])
        home = self.folder / str(found.get("id", ""))
        if found.get("state") == "stopped" and home.is_dir():
            await asyncio.to_thread(_copy_home, home, self.snapshot(json.loads(body)["name"]))
        return body

    async def sandbox(self, id_or_name: str) -> dict[str, Any]:
        url = f"{self.control}/api/sandbox/{id_or_name}"
        async with self.client.get(url, headers={"Authorization": f"Bearer {KEY}"}) as response:
            document: dict[str, Any] = await response.json()
            return document

    async def ended_by(self, request: web.Request) -> str:
        """The id of the sandbox that the request ends, empty if it ends none."""
        parts = request.path.split("/")
        if parts[1:3] != ["api", "sandbox"] or not (
            (request.method == "DELETE" and len(parts) == 4) or (request.method == "POST" and parts[-1] == "stop")
        ):
            return ""
        return str((await self.sandbox(parts[3])).get("id", ""))

    async def end_daemon(self, sandbox_id: str) -> None:
        """With its sandbox a daemon ends, and every process with it; also where the request is given up meanwhile."""
        starting = self.daemons.pop(sandbox_id, None)
        if starting is None:
            return
        ending = asyncio.create_task(self.end(starting))
        self.ending.add(ending)
        ending.add_done_callback(self.ending.discard)
        await asyncio.shield(ending)

    async def end(self, starting: asyncio.Task[Daemon]) -> None:
        # One that did not start has ended already, and its request has said why.
        await asyncio.wait([starting])
        if starting.exception() is None:
            await starting.result().end()

    async def close(self) -> None:
        for sandbox_id in list(self.daemons):
            await self.end_daemon(sandbox_id)
        await asyncio.gather(*self.ending)
        await self.client.close()


def _copy_home(source: Path, target: Path) -> None:
    """Without pipes and sockets. Where there is none, the sandbox has not been used."""

    def left_out(folder: str, names: list[str]) -> set[str]:
        modes = {name: (Path(folder) / name).lstat().st_mode for name in names}
        return {name for name, mode in modes.items() if stat.S_ISFIFO(mode) or stat.S_ISSOCK(mode)}

    if source.is_dir():
        shutil.copytree(source, target, symlinks=True, ignore=left_out, dirs_exist_ok=True)
        for path in (target, *target.rglob("*")):
            os.lchown(path, USER, USER)


def kept(headers: CIMultiDictProxy[str]) -> dict[str, str]:
    return {
        name: value
        for name, value in headers.items()
        if name.lower() not in DROPPED and not name.lower().startswith("sec-websocket")
    }


async def passed_on(
    request: web.Request, client: aiohttp.ClientSession, url: str, read: bytes | None = None
) -> web.StreamResponse:
    """`read`: the body, where it was read already."""
    target = URL(url, encoded=True)
    headers = kept(request.headers) | {"Host": request.host}
    if request.headers.get("Upgrade", "").lower() == "websocket":
        return await relayed(request, client, target, headers)
    body = read or (request.content if request.can_read_body else None)
    async with client.request(request.method, target, headers=headers, data=body, allow_redirects=False) as upstream:
        response = web.StreamResponse(status=upstream.status, headers=kept(upstream.headers))
        await response.prepare(request)
        async for chunk in upstream.content.iter_any():
            await response.write(chunk)
        await response.write_eof()
        return response


async def relayed(
    request: web.Request, client: aiohttp.ClientSession, target: URL, headers: dict[str, str]
) -> web.StreamResponse:
    """A websocket of which the daemon is the only one that sends."""
    try:
        upstream = await client.ws_connect(target, headers=headers, max_msg_size=0)
    except aiohttp.WSServerHandshakeError as error:
        return web.Response(status=error.status)
    async with upstream:
        websocket = web.WebSocketResponse(compress=False)
        await websocket.prepare(request)
        # Ends with the client, too: its pings are answered, and its going away is noticed, while it is read.
        leaving = asyncio.create_task(websocket.receive())
        leaving.add_done_callback(lambda _: asyncio.ensure_future(upstream.close()))
        async for message in upstream:
            with contextlib.suppress(ConnectionError):
                if message.type is WSMsgType.BINARY:
                    await websocket.send_bytes(message.data)
                else:
                    await websocket.send_str(message.data)
        if upstream.close_code in {None, 1006} and request.transport is not None:
            request.transport.close()
        else:
            await websocket.close(code=upstream.close_code or 1000)
        leaving.cancel()
        await asyncio.gather(leaving, return_exceptions=True)
        return websocket


@contextlib.contextmanager
def running_daemons(program: Path, *options: str) -> "Iterator[DaemonServer]":
    """Skips where no daemon can run."""
    if reason := why_not():
        pytest.skip(reason)
    with tempfile.TemporaryDirectory(prefix="taskhub-daemon-") as name:
        reaper.tell("folder", name)
        folder = Path(name)
        # Daemons and scripts run as a user of their own, who has to get through.
        folder.chmod(0o711)
        server = DaemonServer(folder / "data", program.resolve(), "--no-bwrap", *options)
        server.start()
        try:
            yield server
        finally:
            server.stop()


class DaemonServer(Server):
    """A local server with the front before it, which has a thread and an event loop of its own."""

    def __init__(self, data_dir: Path, program: Path, *options: str) -> None:
        super().__init__(data_dir, *options)
        self.program = program

    def start(self, *, port: int = 0) -> "DaemonServer":
        super().start(port=port)
        homes = self.data_dir.parent / f"{self.data_dir.name}-homes"
        homes.mkdir(exist_ok=True)
        homes.chmod(0o711)
        self.front = Front(f"http://127.0.0.1:{self.port}", self.program, homes)
        ready = threading.Event()
        self.thread = threading.Thread(target=lambda: asyncio.run(self.serve(ready)), daemon=True)
        self.thread.start()
        assert ready.wait(START_DEADLINE_S)
        return self

    async def serve(self, ready: threading.Event) -> None:
        self.loop, self.stopping = asyncio.get_running_loop(), asyncio.Event()
        self.front.client = aiohttp.ClientSession(connector=aiohttp.TCPConnector(limit=0))
        app = web.Application(client_max_size=1 << 30)
        app.router.add_route("*", "/{path:.*}", self.front.handle)
        runner = web.AppRunner(app, handler_cancellation=True, shutdown_timeout=1)
        await runner.setup()
        site = web.TCPSite(runner, "127.0.0.1", 0)
        await site.start()
        self.port = runner.addresses[0][1]
        ready.set()
        await self.stopping.wait()
        await runner.cleanup()
        await self.front.close()

    def stop(self) -> float:
        """As that of the local server; the daemons end before it."""
        self.loop.call_soon_threadsafe(self.stopping.set)
        self.thread.join(START_DEADLINE_S)
        return super().stop()
