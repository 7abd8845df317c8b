"""What is measured: a web process with a database, a Redis and a data folder of its own.

The database is migrated once; each run gets a copy of it, and nothing of a run is left afterwards.
"""

from __future__ import annotations

import contextlib
import http.client
import os
import secrets
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final
from urllib.parse import urlsplit, urlunsplit

import psycopg
from psycopg import sql

from config.launcher import redis_server
from tests.processes import ROOT, Process, free_port, wait_until

BEFORE: Final = "TASKHUB_BENCH_BEFORE"
HOST: Final = "127.0.0.1"
READY_WITHIN_S: Final = 180.0
WATCHING: Final = "benchmark"
"""The name of a connection that looks on."""
TICKS_PER_S: Final = os.sysconf("SC_CLK_TCK")
STREAM_LIMIT: Final = 10_000
TASKHUB_SETTINGS: Final = "config.settings.local"
UVICORN: Final = (
    *("--host", HOST, "--no-access-log", "--log-level", "warning"),
    *("--no-proxy-headers", "--no-server-header", "--timeout-graceful-shutdown", "3"),
    *("--timeout-keep-alive", "60"),
)
"""How the launcher starts the web process, but for the socket: here uvicorn binds a free port itself."""


@dataclass(frozen=True)
class Server:
    """A running web process; its figures come from the kernel and cover all of its threads. `env`: its environment."""

    pid: int
    port: int
    token: str
    env: Mapping[str, str]

    def cpu_s(self) -> float:
        return cpu_s(self.pid)

    def rss_bytes(self) -> int:
        return rss_bytes(self.pid)

    def threads(self) -> int:
        return len(list(Path(f"/proc/{self.pid}/task").iterdir()))


def cpu_s(pid: int, *, waited_for: bool = False) -> float:
    """User and system time of a process so far, in seconds; a hundredth is the kernel's resolution.

    `waited_for`: of its children that have ended instead.
    """
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    first = 13 if waited_for else 11
    return (int(fields[first]) + int(fields[first + 1])) / TICKS_PER_S


def exact_cpu_s(pid: int) -> float:
    """Time on a core of the threads that a process has now, in seconds, to the nanosecond."""
    total = 0
    for path in Path(f"/proc/{pid}/task").glob("*/schedstat"):
        with contextlib.suppress(FileNotFoundError, ProcessLookupError):  # a thread that has just ended
            total += int(path.read_text().split()[0])
    return total / 1e9


def backends(server: Server) -> list[int]:
    """The processes of PostgreSQL that serve this server; none on SQLite."""
    url = server.env.get("DATABASE_URL")
    if url is None:
        return []
    with psycopg.connect(url) as connection:
        rows = connection.execute(
            "SELECT pid FROM pg_stat_activity WHERE datname = current_database() AND pid <> pg_backend_pid() "
            "AND backend_type = 'client backend' AND application_name <> %s",
            [WATCHING],
        )
        return [pid for (pid,) in rows]


def rss_bytes(pid: int) -> int:
    """Resident memory of a process; sockets' kernel buffers are not in it."""
    return int(Path(f"/proc/{pid}/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")


class Template:
    """A migrated database with the operator's token, and the data folder that belongs to it."""

    def __init__(self, folder: Path, postgres_url: str | None, python: str = sys.executable, code: Path = ROOT) -> None:
        """`postgres_url` names a server on which databases may be created; without it SQLite is used.

        `python` and `code` are those of another checkout where it is not this one that is measured.
        """
        self.python = python
        self.code = code
        self._folder = folder
        self.server_url = postgres_url
        self._name = f"taskhub_bench_{secrets.token_hex(4)}"

    def prepare(self) -> None:
        (self._folder / "template").mkdir()
        self._on_postgres(sql.SQL("CREATE DATABASE {}").format(sql.Identifier(self._name)))
        env = self.env(self._folder / "template", self._name)
        command = [self.python, "manage.py", "prepare"]
        subprocess.run(command, env=env, cwd=self.code, check=True, stdout=subprocess.DEVNULL)

    @contextlib.contextmanager
    def copy(self) -> Iterator[dict[str, str]]:
        """The environment of a server on a fresh copy, which goes when the context ends."""
        name = f"{self._name}_{secrets.token_hex(4)}"
        folder = self._folder / name
        shutil.copytree(self._folder / "template", folder)
        self._on_postgres(
            sql.SQL("CREATE DATABASE {} TEMPLATE {}").format(sql.Identifier(name), sql.Identifier(self._name))
        )
        try:
            yield self.env(folder, name)
        finally:
            self._drop(name)
            shutil.rmtree(folder)

    def remove(self) -> None:
        self._drop(self._name)

    def env(self, folder: Path, database: str) -> dict[str, str]:
        unset = {"DJANGO_SETTINGS_MODULE", "REDIS_URL", "DATABASE_URL", "DAYTONA_API_KEY", "SECRET_KEY"}
        env = {name: value for name, value in os.environ.items() if name not in unset}
        if self.server_url is not None:
            env["DATABASE_URL"] = urlunsplit(urlsplit(self.server_url)._replace(path=f"/{database}"))
        return env | {
            "DJANGO_SETTINGS_MODULE": TASKHUB_SETTINGS,
            "TASKHUB_DATA_DIR": str(folder),
            "REDIS_URL": f"unix://{folder}/redis.sock",
            "SECRET_KEY": "only-for-benchmarks",
            "TASKHUB_STREAM_LIMIT_PER_CALLER": str(STREAM_LIMIT),  # all streams have the same token
            "PYTHONUNBUFFERED": "1",
        }

    def _drop(self, name: str) -> None:
        self._on_postgres(sql.SQL("DROP DATABASE IF EXISTS {} WITH (FORCE)").format(sql.Identifier(name)))

    def _on_postgres(self, statement: sql.Composed) -> None:
        if self.server_url is not None:
            with psycopg.connect(self.server_url, autocommit=True) as connection:
                connection.execute(statement)


@contextlib.contextmanager
def template(postgres_url: str | None = None, *, python: str = sys.executable, code: Path = ROOT) -> Iterator[Template]:
    with tempfile.TemporaryDirectory(prefix="taskhub-bench-") as folder:
        made = Template(Path(folder), postgres_url, python, code)
        try:
            made.prepare()
            yield made
        finally:
            made.remove()


@contextlib.contextmanager
def template_before(postgres_url: str | None = None) -> Iterator[Template]:
    """That of the earlier checkout that `TASKHUB_BENCH_BEFORE` names, on a database of its own schema."""
    folder = Path(os.environ[BEFORE])
    with template(postgres_url, python=str(folder / ".venv/bin/python"), code=folder) as made:
        yield made


@contextlib.contextmanager
def web_process(
    database: Template,
    *,
    application: str = "config.asgi:application",
    settings: str = TASKHUB_SETTINGS,
    more_env: Mapping[str, str] | None = None,
    prepared: Callable[[dict[str, str]], None] | None = None,
) -> Iterator[Server]:
    """A web process under uvicorn with its own Redis, ready to serve. `prepared` may fill its database before."""
    serving = web_processes(
        database, 1, application=application, settings=settings, more_env=more_env, prepared=prepared
    )
    with serving as (server,):
        yield server


@contextlib.contextmanager
def web_processes(
    database: Template,
    count: int,
    *,
    application: str = "config.asgi:application",
    settings: str = TASKHUB_SETTINGS,
    more_env: Mapping[str, str] | None = None,
    prepared: Callable[[dict[str, str]], None] | None = None,
) -> Iterator[list[Server]]:
    """Likewise, several that share database and Redis, each on a port of its own."""
    with database.copy() as env, _redis(env), contextlib.ExitStack() as stack:
        env.update(more_env or {})
        if prepared is not None:
            prepared(env)
        token = (Path(env["TASKHUB_DATA_DIR"]) / "token").read_text().strip()
        lifespan = ("--lifespan", "on" if settings == TASKHUB_SETTINGS else "off")
        env["DJANGO_SETTINGS_MODULE"] = settings
        servers = []
        for _ in range(count):
            serving = uvicorn(database.python, application, env, *lifespan, ready="/readyz", code=database.code)
            pid, port = stack.enter_context(serving)
            servers.append(Server(pid, port, token, env))
        yield servers


@contextlib.contextmanager
def uvicorn(
    python: str, application: str, env: Mapping[str, str], *options: str, ready: str, code: Path = ROOT
) -> Iterator[tuple[int, int]]:
    """uvicorn on a free port, by the interpreter `python`: its process id and its port, once `ready` answers 200."""
    port = free_port()
    command = [python, "-m", "uvicorn", application, "--port", str(port), *UVICORN, *options]
    with listening(command, env, port, ready, code=code) as pid:
        yield pid, port


@contextlib.contextmanager
def listening(command: list[str], env: Mapping[str, str], port: int, ready: str, *, code: Path = ROOT) -> Iterator[int]:
    """A server in the folder `code`: its process id, once `ready` answers 200 on its port."""
    process = Process(command, env, cwd=code)
    try:
        wait_until(lambda: _answers(port, ready), "the server", READY_WITHIN_S)
        yield process.pid
    except Exception as error:
        error.add_note("\n".join([f"{command[0]} (exit code {process.popen.poll()}) said:", *process.output]))
        raise
    finally:
        process.end()


@contextlib.contextmanager
def _redis(env: Mapping[str, str]) -> Iterator[None]:
    path = Path(env["REDIS_URL"].removeprefix("unix://"))
    process = Process(redis_server.command_line(redis_server.find_binary(), path), env)
    try:
        wait_until(path.exists, "Redis", READY_WITHIN_S)
        yield
    finally:
        process.end()


def _answers(port: int, path: str) -> bool:
    connection = http.client.HTTPConnection(HOST, port, timeout=5)
    try:
        connection.request("GET", path)
        return connection.getresponse().status == http.client.OK
    except OSError:
        return False
    finally:
        connection.close()
