"""Web processes over a database and a Redis that a test may break: what `tests/servers` starts."""

from __future__ import annotations

import functools
import os
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any, Self

import httpx
import psycopg
from psycopg.sql import SQL, Identifier

from config.launcher import redis_server
from tests.processes import ROOT, Process, free_port, reaper, wait_for_redis, wait_until

PASSWORD = "a password of the tests"
PATIENCE_S = 120.0


PRODUCTION = {
    "DJANGO_SETTINGS_MODULE": "config.settings.production",
    "SECRET_KEY": "only-for-tests-" + "0123456789" * 5,
    "ALLOWED_HOSTS": "hub.example.com,127.0.0.1",
}


@functools.cache
def static_files() -> Path:
    """Production's static files, collected once for all installations of a run."""
    folder = Path(tempfile.mkdtemp(prefix="taskhub-static-"))
    reaper.tell("folder", folder)
    env = os.environ | PRODUCTION | {"DATABASE_URL": "sqlite://", "TASKHUB_STATIC_ROOT": str(folder)}
    command = [sys.executable, "manage.py", "collectstatic", "--no-input", "--verbosity", "0"]
    subprocess.run(command, env=env, cwd=ROOT, check=True, timeout=500)
    return folder


@functools.cache
def prepared_folder(database_url: str = "") -> Path:
    """A data folder with the operator's token, for all installations of a run to copy.

    It has a migrated SQLite file, or belongs to this database of PostgreSQL.
    """
    folder = Path(tempfile.mkdtemp(prefix="taskhub-prepared-"))
    reaper.tell("folder", folder)
    env = os.environ | {"TASKHUB_DATA_DIR": str(folder), "DJANGO_SETTINGS_MODULE": "config.settings.local"}
    env.pop("DATABASE_URL", None)
    if database_url:
        env["DATABASE_URL"] = database_url
    subprocess.run([sys.executable, "manage.py", "prepare"], env=env, cwd=ROOT, check=True, timeout=500)
    return folder


@functools.cache
def prepared_database(server_url: str) -> str:
    """The name of a migrated database of this server of PostgreSQL, to make others from."""
    with psycopg.connect(f"{server_url}/postgres", autocommit=True) as connection:
        connection.execute("CREATE DATABASE prepared")
    prepared_folder(f"{server_url}/prepared")
    return "prepared"


def put_in_place(database_url: str) -> Path:
    """Make this empty database a migrated one; the data folder that belongs to it."""
    server_url, _, name = database_url.rpartition("/")
    template = prepared_database(server_url)
    with psycopg.connect(f"{server_url}/postgres", autocommit=True) as connection:
        connection.execute(SQL("DROP DATABASE {}").format(Identifier(name)))
        connection.execute(SQL("CREATE DATABASE {} TEMPLATE {}").format(Identifier(name), Identifier(template)))
    return prepared_folder(f"{server_url}/{template}")


class Installation:
    """A data folder, a database and a private Redis; web processes on top of them, on ports that stay theirs.

    `database_url`: an empty database of PostgreSQL; without one it is SQLite.
    """

    base_headers: dict[str, str] = {}

    def __init__(self, data_dir: Path, database_url: str | None = None) -> None:
        self.redis_socket = data_dir / "redis.sock"
        self.env = {
            **{name: value for name, value in os.environ.items() if name != "DATABASE_URL"},
            "TASKHUB_DATA_DIR": str(data_dir),
            "REDIS_URL": f"unix://{self.redis_socket}",
            "DJANGO_SETTINGS_MODULE": "config.settings.local",
            "PYTHONUNBUFFERED": "1",
        }
        if database_url is not None:
            self.env["DATABASE_URL"] = database_url
        self.env |= self.profile(data_dir)
        self.accounts: dict[str, str] = {}
        self.processes: dict[str, Process] = {}
        self.ports: dict[str, int] = {}
        self.start_redis()
        self.prepare(data_dir)
        self.token = (data_dir / "token").read_text().strip()
        self.headers = {"Authorization": f"Bearer {self.token}"}

    def prepare(self, data_dir: Path) -> None:
        """What `manage.py prepare` does, which takes as long as all else of a start."""
        used = self.env.get("DATABASE_URL", "")
        prepared = put_in_place(used) if used.startswith("postgres") else prepared_folder()
        shutil.copytree(prepared, data_dir, dirs_exist_ok=True)

    def profile(self, data_dir: Path) -> dict[str, str]:
        """What of the environment is another than `make run`'s."""
        return {}

    def manage(self, *arguments: str, stdin: str = "") -> str:
        """What the command said."""
        command = [sys.executable, "manage.py", *arguments]
        done = subprocess.run(
            command, env=self.env, cwd=ROOT, check=False, timeout=500, input=stdin, capture_output=True, text=True
        )
        assert done.returncode == 0, done.stderr
        return done.stdout

    def make_accounts(self, *names: str) -> None:
        """An account per role, and one without: `a-viewer` and so on, their tokens by role in `accounts`.

        Agents by these names too, whose tokens are there by their names.
        """
        said = self.manage(
            "shell",
            "--no-imports",
            "-c",
            f"""
from django.contrib.auth.hashers import make_password
from django.contrib.auth.models import Group, User
from taskhub.models import ApiToken
password = make_password({PASSWORD!r})
for role in ("viewer", "agent", "operator", "nothing"):
    user = User.objects.create(username="a-" + role, password=password)
    user.groups.set(Group.objects.filter(name=role))
    print(role, ApiToken.objects.create(user=user, name="of " + role)[1])
for name in {names!r}:
    user = User.objects.create(username=name, password=password)
    user.groups.add(Group.objects.get(name="agent"))
    print(name, ApiToken.objects.create(user=user)[1])
""",
        )
        self.accounts = dict(line.split() for line in said.splitlines())

    def log_in(self, name: str, username: str, password: str) -> dict[str, str]:
        """The cookies of a browser that has logged in, by the form."""
        address = f"{self.address(name)}/login/"
        form = httpx.get(address, headers=self.base_headers)
        cookie = f"csrftoken={form.cookies['csrftoken']}"
        answer = httpx.post(
            address,
            headers={**self.base_headers, **self.origin(name), "Cookie": cookie},
            data={"username": username, "password": password, "csrfmiddlewaretoken": form.cookies["csrftoken"]},
        )
        assert answer.status_code == 302, answer.text
        return dict(answer.cookies)

    def origin(self, name: str) -> dict[str, str]:
        """What a browser says of the page that sends a form."""
        return {"Origin": self.address(name)}

    def start(self, name: str, *command: str) -> Process:
        return self._start(name, [sys.executable, *command], self.env)

    def _start(self, name: str, command: list[str], env: dict[str, str]) -> Process:
        """In the place of the process that had the name, if there was one."""
        if name in self.processes:
            self.processes.pop(name).end()
        process = self.processes[name] = Process(command, env)
        return process

    def start_redis(self) -> None:
        self.redis_socket.unlink(missing_ok=True)
        command = redis_server.command_line(redis_server.find_binary(), self.redis_socket)
        self._start("redis", command, {})
        wait_for_redis(self.env["REDIS_URL"])

    def start_web(self, name: str, *options: str, application: str = "config.asgi:application") -> None:
        port = self.ports.setdefault(name, free_port())
        serve = ("-m", "uvicorn", application, "--port", str(port), "--no-access-log")
        serve += ("--timeout-keep-alive", "60", "--timeout-graceful-shutdown", "8")
        process = self.start(name, *serve, *options)

        def answers() -> bool:
            assert process.popen.poll() is None, "\n".join(process.output)
            try:
                return httpx.get(f"{self.address(name)}/healthz").status_code == 200
            except httpx.TransportError:
                return False

        wait_until(answers, f"{name} answers", within_s=400)

    def address(self, name: str) -> str:
        return f"http://127.0.0.1:{self.ports[name]}"

    def client(self, name: str, **options: Any) -> httpx.Client:
        """For the operator's requests to this process, which may wait long."""
        return httpx.Client(base_url=self.address(name), headers=self.headers, timeout=PATIENCE_S, **options)

    def status(self, name: str) -> dict[str, object]:
        answer: dict[str, object] = httpx.get(f"{self.address(name)}/api/events/status").json()
        return answer

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.end()

    def end(self) -> None:
        for process in reversed(self.processes.values()):
            process.end()


class ProductionInstallation(Installation):
    """The production settings, as behind a proxy that ends TLS; on SQLite, so that no server is needed."""

    base_headers = {"Host": "hub.example.com", "X-Forwarded-Proto": "https"}

    def profile(self, data_dir: Path) -> dict[str, str]:
        return PRODUCTION | {
            "DATABASE_URL": f"sqlite:///{data_dir}/taskhub.sqlite3",
            "TASKHUB_STATIC_ROOT": str(static_files()),
        }

    def origin(self, name: str) -> dict[str, str]:
        return {"Origin": "https://hub.example.com"}
