"""`python -m config.launcher`: what `make run` calls once the virtual environment is there.

1. Takes the data folder (one launcher at a time) and binds the ports, so that what is taken is said at once.
2. Migrates; makes the operator account and the token on the first start.
3. Starts Redis and waits for it; then the sandbox server, the web process, the worker and beat.
4. Says that all is ready when `/readyz` does. Ctrl-C or SIGTERM ends everything within 5 s.

`TASKHUB_PORT` (8000) and `TASKHUB_DATA_DIR` (`var/`) move everything. With `REDIS_URL` or `DAYTONA_API_KEY` in the
environment the private Redis or the local sandbox server is left out.
"""

from __future__ import annotations

import asyncio
import errno
import fcntl
import http.client
import json
import os
import re
import secrets
import signal
import socket
import subprocess
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Final

from django.core.exceptions import ImproperlyConfigured

from config import env
from config.launcher import redis_server
from config.launcher.console import Console
from config.launcher.supervisor import Child, KeepsDyingError, Supervisor
from config.settings.logs import FORMS

HOST: Final = "127.0.0.1"
READY_WITHIN_S: Final = 120.0
STOP_WITHIN_S: Final = 5.0
_PLAIN_PATH: Final = re.compile(r"[A-Za-z0-9/._-]{1,100}")
_BASE = Path(__file__).resolve().parents[2]


class LaunchError(RuntimeError):
    """Cannot start; the message says why in one sentence."""


def main() -> int:
    os.umask(0o077)  # what is made in the data folder is its owner's alone
    try:
        return asyncio.run(_launch())
    except (LaunchError, redis_server.NoRedisError) as error:
        print(f"TaskHub cannot start: {error}", file=sys.stderr)
        return 1


async def _launch() -> int:
    return await Launcher().run()


class Launcher:
    def __init__(self) -> None:
        self.data_dir = Path(os.environ.get("TASKHUB_DATA_DIR", _BASE / "var")).resolve()
        self.port = _port()
        self.env = dict(os.environ)
        self.console = Console(as_json=_log_form() == "json")
        self.supervisor = Supervisor(self.console.say)
        self._lock: int | None = None

    async def run(self) -> int:
        """Returns the exit code: 0 after a signal, 1 if something kept dying."""
        self._take_data_dir()
        web = _bind(self.port)
        stopped = asyncio.Event()
        for number in (signal.SIGINT, signal.SIGTERM):
            asyncio.get_running_loop().add_signal_handler(number, stopped.set)
        with tempfile.TemporaryDirectory(prefix="taskhub-") as scratch, web:
            self._prepare_env(Path(scratch))
            # A signal during the preparation is obeyed right after it.
            self._manage("prepare")
            try:
                return await self._supervise(web, stopped)
            finally:
                await self.supervisor.stop(within_s=STOP_WITHIN_S)
                self._redis_socket.unlink(missing_ok=True)

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
        await self._start_children(web)
        await self._until(self._service_answers)
        self._announce()

    def _take_data_dir(self) -> None:
        try:
            self.data_dir.mkdir(parents=True, exist_ok=True, mode=0o700)
        except OSError as error:
            raise LaunchError(f"{self.data_dir} cannot be made a folder: {error.strerror}.") from None
        # A lock on the folder itself: it goes with the process and leaves no file behind.
        self._lock = os.open(self.data_dir, os.O_RDONLY)
        try:
            fcntl.flock(self._lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise LaunchError(
                f"another TaskHub is running on {self.data_dir}; stop it, or set TASKHUB_DATA_DIR."
            ) from None

    def _prepare_env(self, scratch: Path) -> None:
        socket_path = self.data_dir / "redis.sock"
        # Elsewhere, if the kernel would not take the path for a unix socket, or a URL would not take it as it is.
        self._redis_socket = socket_path if _PLAIN_PATH.fullmatch(str(socket_path)) else scratch / "redis.sock"
        self._own_redis = not _is_set("REDIS_URL")
        self._own_sandboxes = not _is_set("DAYTONA_API_KEY")
        self.env |= {
            "DJANGO_SETTINGS_MODULE": "config.settings.local",
            "TASKHUB_DATA_DIR": str(self.data_dir),
            "PYTHONUNBUFFERED": "1",
        }
        if not _is_set("SECRET_KEY"):
            self.env["SECRET_KEY"] = self._kept_secret("secret_key")
        if self._own_redis:
            self.env["REDIS_URL"] = f"unix://{self._redis_socket}"

    def _kept_secret(self, name: str) -> str:
        path = self.data_dir / name
        if not path.exists() or not path.read_text():
            # In one step: a start that is killed here must not leave half a secret behind.
            new = path.with_suffix(".new")
            new.write_text(secrets.token_urlsafe(50))
            new.replace(path)
        return path.read_text()

    def _manage(self, *arguments: str) -> None:
        done = subprocess.run(
            [sys.executable, str(_BASE / "manage.py"), *arguments],
            env=self.env,
            cwd=_BASE,
            check=False,
            start_new_session=True,  # Ctrl-C reaches us alone; we obey it when this is done
        )
        if done.returncode != 0:
            raise LaunchError(f"manage.py {arguments[0]} failed; its words are above.")

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
                    *(python, "-m", "uvicorn", "config.asgi:application"),
                    *("--fd", str(web.fileno()), "--lifespan", "on"),
                    *("--no-access-log", "--log-level", "warning", "--no-proxy-headers", "--no-server-header"),
                    *("--timeout-graceful-shutdown", "3"),
                ],
                self.env,
                fds=[web.fileno()],
            )
        )
        await self.supervisor.start(
            Child(
                "worker",
                [
                    *celery,
                    *("worker", "--pool", "threads", "--concurrency", "8", "--loglevel", "WARNING"),
                    *("--without-gossip", "--without-mingle", "--without-heartbeat"),
                ],
                self.env,
            )
        )
        await self.supervisor.start(
            Child(
                "beat",
                # The schedule stays in memory and no pid file is written: nothing to find stale after a crash.
                [*celery, "beat", "--loglevel", "WARNING", "--scheduler", "celery.beat:Scheduler", "--pidfile="],
                self.env,
            )
        )

    async def _start_sandbox_server(self) -> None:
        """Daytona's stand-in, on a port that was free and with a key made for this run."""
        listener = _bind(0)
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
                    *("--hide", str(self.data_dir)),
                ],
                {**own_env, "LOCAL_SANDBOX_KEY": key, "PYTHONUNBUFFERED": "1"},
                fds=[listener.fileno()],
            )
        )
        self._sandbox_listener = listener  # kept open: a restarted server finds the same port
        self.env |= {"DAYTONA_API_KEY": key, "DAYTONA_API_URL": f"http://{HOST}:{port}/api"}

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
        connection = http.client.HTTPConnection(HOST, self.port, timeout=5)
        try:
            connection.request("GET", "/readyz")
            answer = connection.getresponse()
            return answer.status == http.client.OK and json.load(answer)["status"] == "ok"
        except (OSError, ValueError, http.client.HTTPException):
            return False
        finally:
            connection.close()

    def _announce(self) -> None:
        address = f"http://localhost:{self.port}"
        sandboxes = "the local sandbox server (no security boundary)" if self._own_sandboxes else "Daytona"
        self.console.announce(
            f"""
TaskHub is ready at {address}
  live events   {address}/test_sse.html, or: curl -N {address}/api/events/stream
  API           {address}/api/docs/
  admin         {address}/admin/ (account: operator)
  API token     {self.data_dir / "token"}
  data          {self.data_dir}
  sandboxes     {sandboxes}
Ctrl-C ends everything.
"""
        )


def _is_set(name: str) -> bool:
    """By its value or by a file that holds it; an empty value is none."""
    return bool(os.environ.get(name) or os.environ.get(f"{name}_FILE"))


def _log_form() -> str:
    try:
        return env.one_of("TASKHUB_LOG_FORMAT", "plain", FORMS)
    except ImproperlyConfigured as error:
        raise LaunchError(str(error)) from None


def _port() -> int:
    text = os.environ.get("TASKHUB_PORT", "8000")
    if not (text.isascii() and text.isdigit()) or not 0 < int(text) < 2**16:
        raise LaunchError(f"TASKHUB_PORT must be a port number, not {text!r}.")
    return int(text)


def _bind(port: int) -> socket.socket:
    """A listening socket on loopback; it outlives the child that serves it, so a restart refuses no connection."""
    listener = socket.socket()
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    # Accepted connections inherit it. uvicorn takes what comes by `--fd` for a unix socket and leaves it out: then the
    # answers on a kept connection each wait 40 ms for the client's delayed acknowledgement.
    listener.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    try:
        listener.bind((HOST, port))
    except OSError as error:
        if error.errno == errno.EADDRINUSE:
            raise LaunchError(f"port {port} is taken; stop what uses it, or set TASKHUB_PORT.") from None
        raise LaunchError(f"port {port} cannot be used: {error.strerror}. Set TASKHUB_PORT.") from None
    listener.listen(2048)
    listener.set_inheritable(True)
    return listener


if __name__ == "__main__":
    sys.exit(main())
