"""The start and the end of a hub on one machine.

1. Takes the data folder (one launcher at a time) and binds the port, so that a conflict is reported at once.
2. Migrates; makes the operator account and the token on the first start, and a sign-in link.
3. Meanwhile starts Redis, the sandbox server, the web process, and the worker with beat inside. The last two load their
   code, and wait for the database to be ready (`gate`).
4. Announces that the hub is ready when `/readyz` does. Ctrl-C or SIGTERM ends everything within 5 s.

`TASKHUB_PORT` (8000) and `TASKHUB_DATA_DIR` (`var/`) move everything. With `REDIS_URL` or `DAYTONA_API_KEY` in the
environment the private Redis or the local sandbox server is left out. With `TASKHUB_IN_CONTAINER=1` it listens on all
addresses, and without isolation it runs no scripts unless `TASKHUB_RUN_UNISOLATED=1`.
"""

from __future__ import annotations

import asyncio
import fcntl
import http.client
import json
import os
import re
import secrets
import signal
import socket
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Final

from django.core.exceptions import ImproperlyConfigured

from config import env
from config.launcher import LaunchError, redis_server, running
from config.launcher.announcement import NOT_ISOLATED, RUN_UNISOLATED, Announcement
from config.launcher.console import Console
from config.launcher.gate import GATE, Gate
from config.launcher.ports import LOOPBACK, bind, port_from_environment
from config.launcher.supervisor import Child, KeepsDyingError, Supervisor
from config.settings.logs import FORMS
from sandboxes.local.isolation import find_bwrap

READY_WITHIN_S: Final = 120.0
STOP_WITHIN_S: Final = 5.0
_PLAIN_PATH: Final = re.compile(r"[A-Za-z0-9/._-]{1,100}")
_BASE = Path(__file__).resolve().parents[2]


class Launcher:
    def __init__(self) -> None:
        self.data_dir = Path(os.environ.get("TASKHUB_DATA_DIR", _BASE / "var")).resolve()
        self.port = port_from_environment()
        self.in_container, self._run_unisolated = _flag("TASKHUB_IN_CONTAINER"), _flag(RUN_UNISOLATED)
        self.env = dict(os.environ)
        self.console = Console(as_json=_log_form() == "json")
        self.supervisor = Supervisor(self.console.say)
        self._lock: int | None = None
        self.gate = Gate()
        self._preparation: asyncio.subprocess.Process | None = None

    async def run(self) -> int:
        """Returns the exit code: 0 after a signal, 1 if something kept dying."""
        self._take_data_dir()
        web = bind(self.port, everywhere=self.in_container)
        stopped = asyncio.Event()
        for number in (signal.SIGINT, signal.SIGTERM):
            asyncio.get_running_loop().add_signal_handler(number, stopped.set)
        with tempfile.TemporaryDirectory(prefix="taskhub-") as scratch, web, self.gate:
            self._prepare_env(Path(scratch))
            running.RunningHub.of(self.port, self.env).record(self.data_dir)
            try:
                return await self._supervise(web, stopped)
            finally:
                if self._preparation is not None:
                    await self._preparation.wait()  # a signal meanwhile is obeyed right after it
                self.gate.turn_away()
                await self.supervisor.stop(within_s=STOP_WITHIN_S)
                self._redis_socket.unlink(missing_ok=True)
                running.forget(self.data_dir)

    async def _supervise(self, web: socket.socket, stopped: asyncio.Event) -> int:
        stop = asyncio.create_task(stopped.wait())
        work = asyncio.create_task(self._work(web))
        try:
            await asyncio.wait({stop, work}, return_when=asyncio.FIRST_COMPLETED)
            if work.done():
                work.result()
        except KeepsDyingError as error:
            self.console.announce("\n".join([f"\nTaskHub stops: {error}", *error.lines]), sys.stderr)
            return 1
        finally:
            stop.cancel()
            work.cancel()
            await asyncio.gather(stop, work, return_exceptions=True)
        self.console.announce("\nTaskHub stops.")
        return 0

    async def _work(self, web: socket.socket) -> None:
        """Start everything and say so when it is ready; meanwhile and afterwards, notice what keeps dying."""
        running = asyncio.create_task(self.supervisor.run())
        starting = asyncio.create_task(self._start(web))
        try:
            await asyncio.wait({running, starting}, return_when=asyncio.FIRST_COMPLETED)
            if starting.done():
                starting.result()
            await running
        finally:
            running.cancel()
            starting.cancel()
            await asyncio.gather(running, starting, return_exceptions=True)

    async def _start(self, web: socket.socket) -> None:
        preparing = asyncio.create_task(self._prepare())
        try:
            await self._start_children(web)
            await preparing
        finally:
            preparing.cancel()
        self.gate.open()
        await self._until(self._service_answers)
        self._announce()

    def _take_data_dir(self) -> None:
        try:
            self.data_dir.mkdir(parents=True, exist_ok=True, mode=0o700)
        except OSError as error:
            raise LaunchError(f"{self.data_dir} cannot be made a folder: {error.strerror}.") from None
        # A lock on the folder itself: it goes with the process and leaves no file behind.
        self._lock = os.open(self.data_dir, os.O_RDONLY)
        for wait_s in (0.05, 0.1, None):
            try:
                fcntl.flock(self._lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
                break
            except BlockingIOError:
                if wait_s is None:
                    raise LaunchError(
                        f"another TaskHub is running on {self.data_dir}; stop it, or set TASKHUB_DATA_DIR."
                    ) from None
                time.sleep(wait_s)  # a command may be asking whether a hub runs here
        running.forget(self.data_dir)

    def _prepare_env(self, scratch: Path) -> None:
        socket_path = self.data_dir / "redis.sock"
        # Elsewhere, if the kernel would not take the path for a unix socket, or a URL would not take it as it is.
        self._redis_socket = socket_path if _PLAIN_PATH.fullmatch(str(socket_path)) else scratch / "redis.sock"
        self._link_file = scratch / "sign-in-link"
        self._own_redis = not _is_set("REDIS_URL")
        self._own_sandboxes = not _is_set("DAYTONA_API_KEY") and self._may_run_scripts()
        self.env |= {
            "DJANGO_SETTINGS_MODULE": "config.settings.local",
            "TASKHUB_DATA_DIR": str(self.data_dir),
            "PYTHONUNBUFFERED": "1",
            GATE: str(self.gate.descriptor),
        }
        if not _is_set("SECRET_KEY"):
            self.env["SECRET_KEY"] = self._kept_secret("secret_key")
        if self._own_redis:
            self.env["REDIS_URL"] = f"unix://{self._redis_socket}"
        if not self._own_sandboxes and not _is_set("DAYTONA_API_KEY"):
            self.env["TASKHUB_SANDBOXES_OFF"] = NOT_ISOLATED

    def _may_run_scripts(self) -> bool:
        """Whether scripts may run on this machine. In a container all data is in reach of what is not isolated."""
        if not self.in_container or self._run_unisolated:
            return True
        folder = self.data_dir / "sandboxes"
        folder.mkdir(mode=0o700, exist_ok=True)
        return find_bwrap(folder, [self.data_dir]) is not None

    def _kept_secret(self, name: str) -> str:
        path = self.data_dir / name
        if not path.exists() or not path.read_text():
            # In one step: a start that is killed here must not leave half a secret behind.
            new = path.with_suffix(".new")
            new.write_text(secrets.token_urlsafe(50))
            new.replace(path)
        return path.read_text()

    async def _prepare(self) -> None:
        self._preparation = await asyncio.create_subprocess_exec(
            *(sys.executable, str(_BASE / "manage.py"), "prepare", "--sign-in-link", str(self._link_file)),
            env=self.env,
            cwd=_BASE,
            start_new_session=True,  # Ctrl-C reaches us alone; we obey it when this is done
        )
        if await self._preparation.wait() != 0:
            raise LaunchError("manage.py prepare failed; its output is above.")

    async def _start_children(self, web: socket.socket) -> None:
        if self._own_redis:
            self._redis_socket.unlink(missing_ok=True)
            command = redis_server.command_line(redis_server.find_binary(), self._redis_socket)
            await self.supervisor.start(Child("redis", command, self.env, last=True, quiet=True))
            await self._until(self._redis_answers)
        if self._own_sandboxes:
            await self._start_sandbox_server()
        python = sys.executable
        celery = [python, "-m", "celery", "--app", "config", "--quiet"]
        await self.supervisor.start(
            Child(
                "web",
                [
                    *(python, "-m", "config.launcher.uvicorn_server", "config.asgi:application"),
                    *("--fd", str(web.fileno()), "--lifespan", "on"),
                    *("--no-access-log", "--log-level", "warning", "--no-proxy-headers", "--no-server-header"),
                    # Longer than clients keep an idle connection: httpx 5 s, as long as uvicorn by itself, aiohttp 15.
                    *("--timeout-keep-alive", "60"),
                    *("--timeout-graceful-shutdown", "3", "--http", "taskhub.web.bounded_http:BoundedHttp"),
                ],
                self.env,
                fds=[web.fileno(), self.gate.descriptor],
            )
        )
        await self.supervisor.start(
            Child(
                "worker",
                [
                    *celery,
                    *("worker", "--pool", "threads", "--concurrency", "8", "--loglevel", "WARNING"),
                    # Without any heartbeat Flower could not ask for Celery's events; each is a write to Redis.
                    *("--without-gossip", "--without-mingle", "--heartbeat-interval", "20", "--with-beat"),
                ],
                self.env,
                fds=[self.gate.descriptor],
            )
        )

    async def _start_sandbox_server(self) -> None:
        """Daytona's stand-in, on a port that was free and with a key made for this run."""
        listener = bind(0)
        key = secrets.token_urlsafe(32)
        port = listener.getsockname()[1]
        # Only what it needs: the hub's secrets are none of its business.
        own_env = {name: os.environ[name] for name in ("PATH", "LANG", "HOME") if name in os.environ}
        await self.supervisor.start(
            Child(
                "sandboxes",
                [
                    *(sys.executable, "-m", "sandboxes.local"),
                    *("--data-dir", str(self.data_dir / "sandboxes"), "--fd", str(listener.fileno())),
                    # The token, the keys, the database and Redis lie there: no script needs to see them.
                    *("--hide", str(self.data_dir), "--sizes-not-held"),
                ],
                {**own_env, "LOCAL_SANDBOX_KEY": key, "PYTHONUNBUFFERED": "1"},
                fds=[listener.fileno()],
            )
        )
        self._sandbox_listener = listener  # kept open: a restarted server finds the same port
        self.env |= {"DAYTONA_API_KEY": key, "DAYTONA_API_URL": f"http://{LOOPBACK}:{port}/api"}

    @staticmethod
    async def _until(condition: Callable[[], bool]) -> None:
        """Until the condition holds; asked off the loop, for it talks to another process."""
        try:
            async with asyncio.timeout(READY_WITHIN_S):
                while not await asyncio.to_thread(condition):  # noqa: ASYNC110 - what is asked lives in another process
                    await asyncio.sleep(0.05)
        except TimeoutError:
            raise LaunchError(f"it was not ready within {READY_WITHIN_S:.0f} s; the lines above say why.") from None

    def _redis_answers(self) -> bool:
        try:
            with socket.socket(socket.AF_UNIX) as probe:
                probe.settimeout(1)
                probe.connect(str(self._redis_socket))
                probe.sendall(b"PING\r\n")
                return probe.recv(16).startswith(b"+PONG")
        except OSError:
            return False

    def _service_answers(self) -> bool:
        connection = http.client.HTTPConnection(LOOPBACK, self.port, timeout=5)
        try:
            connection.request("GET", "/readyz")
            answer = connection.getresponse()
            return answer.status == http.client.OK and json.load(answer)["status"] == "ok"
        except (OSError, ValueError, http.client.HTTPException):
            return False
        finally:
            connection.close()

    def _announce(self) -> None:
        announcement = Announcement(
            port=self.port,
            link=self._link_file.read_text(encoding="ascii"),
            data_dir=self.data_dir,
            sandboxes=self._where_scripts_run(),
            in_container=self.in_container,
        )
        self.console.announce(announcement.text())

    def _where_scripts_run(self) -> str:
        if self._own_sandboxes:
            return "the local sandbox server (no security boundary)"
        return "Daytona" if _is_set("DAYTONA_API_KEY") else NOT_ISOLATED


def _is_set(name: str) -> bool:
    """By its value or by a file that holds it; an empty value is none."""
    return bool(os.environ.get(name) or os.environ.get(f"{name}_FILE"))


def _flag(name: str) -> bool:
    try:
        return env.flag(name)
    except ImproperlyConfigured as error:
        raise LaunchError(str(error)) from None


def _log_form() -> str:
    try:
        return env.one_of("TASKHUB_LOG_FORMAT", "plain", FORMS)
    except ImproperlyConfigured as error:
        raise LaunchError(str(error)) from None
