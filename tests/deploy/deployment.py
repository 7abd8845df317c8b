"""An installation as docs/deploy.md has it: the shipped environment and the command lines of the shipped units."""

from __future__ import annotations

import os
import pwd
import shlex
import shutil
import signal
import subprocess
from pathlib import Path

import httpx

from tests.deploy.proxy import Nginx, account
from tests.deploy.shipped import DATA, DEPLOY, NAME, moved, places, read_env_file, unit_command, unit_lines
from tests.processes import ROOT, Process
from tests.servers.hubs import Installation

WEB = "taskhub-web@.service"


class Deployment(Installation):
    """Production settings on PostgreSQL and Redis; two web processes on their sockets, behind nginx.

    `name` is the hub's; `daytona` the address and the key of a sandbox service, none unless given.
    """

    def __init__(
        self, folder: Path, database_url: str, *, name: str = NAME, daytona: tuple[str, str] = ("", "no key")
    ) -> None:
        self.name = name
        self._daytona_url, daytona_key = daytona
        self.data, self.sockets = folder / "data", folder / "run"
        proxy = folder / "nginx"
        for made in (self.data, self.sockets, proxy):
            made.mkdir()
        # As in the shipped tmpfiles: only nginx's group may enter.
        os.chown(self.sockets, -1, pwd.getpwnam(account()).pw_gid)
        self.sockets.chmod(0o750)
        secrets = folder / "secrets"
        secrets.mkdir()
        (secrets / "secret_key").write_text("only-for-tests-" + "0123456789" * 5 + "\n")
        (secrets / "daytona_api_key").write_text(f"{daytona_key}\n")
        self._secrets = secrets
        self.nginx = Nginx(proxy, self.sockets, name=name)
        super().__init__(self.data, database_url)
        self.manage("collectstatic", "--no-input", "--verbosity", "0")

    def profile(self, data_dir: Path) -> dict[str, str]:
        shipped = read_env_file(DEPLOY / "taskhub.env.example")
        elsewhere = {NAME: self.name, DATA: str(data_dir), "/etc/taskhub/secrets": str(self._secrets)}
        own = {"DATABASE_URL", "REDIS_URL"}
        more = {"DAYTONA_API_URL": self._daytona_url} if self._daytona_url else {}
        return {name: moved(value, elsewhere) for name, value in shipped.items() if name not in own} | more

    def socket(self, instance: str) -> Path:
        return self.sockets / f"web-{instance}.sock"

    def start_unit(self, unit: str, instance: str = "") -> Process:
        """What systemd does: the command of the unit, then what is to follow it."""
        process = self._start(f"{unit}{instance}", self._words(unit_command(unit, instance=instance)), self.env)
        self._run_all(unit, "ExecStartPost", instance)
        assert process.popen.poll() is None, "\n".join(process.output)
        return process

    def stop_unit(self, unit: str, instance: str = "") -> int:
        """Likewise; the exit code. It must be gone by itself in the time that the unit gives it."""
        process = self.processes[f"{unit}{instance}"]
        self._run_all(unit, "ExecStop", instance)
        process.signal(signal.SIGTERM)
        (within_s,) = unit_lines(unit, "TimeoutStopSec")
        return process.wait(float(within_s))

    def restart_web(self, instance: str) -> None:
        assert self.stop_unit(WEB, instance) in {0, -signal.SIGTERM}
        self.start_unit(WEB, instance)
        assert self.ask(instance, "/readyz").status_code == 200

    def ask(self, instance: str, path: str) -> httpx.Response:
        """A web process itself, past nginx."""
        with httpx.Client(transport=httpx.HTTPTransport(uds=str(self.socket(instance)))) as client:
            return client.get(f"http://localhost{path}")

    def end(self) -> None:
        self.nginx.end()
        super().end()

    def _run_all(self, unit: str, option: str, instance: str) -> None:
        for line in unit_lines(unit, option):
            command = self._words(shlex.split(line.replace("%i", instance)))
            subprocess.run(command, env=self.env, cwd=ROOT, check=True, timeout=300, capture_output=True)

    def _words(self, command: list[str]) -> list[str]:
        return [moved(word, places(self.sockets)) for word in command]


def made_folder(folder: Path) -> Path:
    """Open to be passed through, as /run and /var are: nginx and PostgreSQL run as accounts of their own."""
    folder.chmod(0o711)
    return folder


def installed(*programs: str) -> str | None:
    """The first of the programs that is not there."""
    return next((program for program in programs if shutil.which(program, path=_PATH) is None), None)


_PATH = f"{os.environ.get('PATH', '')}:/usr/sbin"
