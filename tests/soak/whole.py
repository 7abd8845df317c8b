"""The installation that is soaked: two web processes, two workers, beat, Redis and the local sandbox server."""

from __future__ import annotations

import subprocess
import sys
from contextlib import suppress
from pathlib import Path

from tests.deploy.previous_release import PreviousRelease
from tests.processes import ROOT, Process, descendants, free_port
from tests.servers.hubs import Installation

CELERY = ("-m", "celery", "--app", "config", "--quiet")
KEY = "only-for-this-soak-0123456789"


class Whole(Installation):
    parts = ("web one", "web two", "worker one", "worker two", "beat")

    def __init__(
        self,
        folder: Path,
        database_url: str,
        limit_cpus: int | None = None,
        *,
        release: PreviousRelease | None = None,
        env: dict[str, str] | None = None,
    ) -> None:
        """`release`: what runs until `upgrade`, if it is not this one. `env`: more for the hub's processes."""
        self.folder = folder
        self.data = folder / "hub"
        self.data.mkdir(exist_ok=True)
        self.database_url = database_url
        self.limit_cpus = limit_cpus
        self._release = release
        self._more_env = env or {}
        self._sandbox_port = free_port()
        self.sandboxes = f"http://127.0.0.1:{self._sandbox_port}"
        super().__init__(self.data, database_url)

    def prepare(self, data_dir: Path) -> None:
        """By the release that is about to run."""
        self.manage("prepare")

    def profile(self, data_dir: Path) -> dict[str, str]:
        return self._more_env | {
            "DAYTONA_API_URL": f"{self.sandboxes}/api",
            "DAYTONA_API_KEY": KEY,
            "LOCAL_SANDBOX_KEY": KEY,
            # Many come and go here: what a viewer may still look at is given back soon, or has to give way.
            "TASKHUB_SANDBOX_KEEP_S": "5" if self.limit_cpus is None else "600",
            "TASKHUB_STREAM_LIMIT_PER_CALLER": "1000",
        }

    def manage(self, *arguments: str, stdin: str = "") -> str:
        if self._release is None:
            return super().manage(*arguments, stdin=stdin)
        return self._release.manage(self.env, *arguments)

    def _start(self, name: str, command: list[str], env: dict[str, str]) -> Process:
        if self._release is None or command[0] != sys.executable:
            return super()._start(name, command, env)
        if name in self.processes:
            self.processes.pop(name).end()
        of_release = [self._release.python, *command[1:]]
        process = self.processes[name] = Process(of_release, env, cwd=self._release.folder)
        return process

    def upgrade(self) -> None:
        """As docs/deploy.md has it: migrations while the previous release serves, then one process after the other."""
        self._release = None
        self.manage("migrate", "--no-input")
        for part in self.parts:
            process = self.processes[part]
            process.popen.terminate()
            with suppress(subprocess.TimeoutExpired):
                process.popen.wait(30)
            self.start_part(part)

    def start_all(self) -> None:
        options = ["--data-dir", str(self.folder / "sandboxes"), "--port", str(self._sandbox_port)]
        if self.limit_cpus is not None:
            options += ["--limit-cpus", str(self.limit_cpus)]
        # Always of this release, and by the right time: it is no part of the hub.
        env = {name: value for name, value in self.env.items() if name not in self._more_env}
        sandboxes = Process([sys.executable, "-m", "sandboxes.local", *options], env, cwd=ROOT)
        self.processes["sandboxes"] = sandboxes
        sandboxes.wait_for_line("ready")
        for part in self.parts:
            self.start_part(part)

    def start_part(self, part: str) -> None:
        """Returns at once for parts that do not report that they are ready."""
        if part == "redis":
            self.start_redis()
        elif part.startswith("web"):
            self.start_web(part)
        elif part.startswith("worker"):
            self.start(part, *CELERY, "worker", "--pool", "threads", "--concurrency", "8", "--loglevel", "WARNING")
        else:
            # Release 0.1 had its scheduler on the command line; now it is a setting.
            scheduler = ("--scheduler", "celery.beat:Scheduler") if self._release is not None else ()
            self.start(part, *CELERY, "beat", "--loglevel", "WARNING", "--pidfile=", *scheduler)

    @property
    def addresses(self) -> list[str]:
        return [self.address(part) for part in self.parts if part.startswith("web")]

    def last_event(self) -> int:
        ids = self.status("web one")["last_event_ids"]
        assert isinstance(ids, dict)
        return int(ids["tasks"].partition(":")[2])

    def fallen(self) -> list[str]:
        """Parts that ended without being killed, with their last output."""
        return [
            f"{name} ended by itself:\n" + "\n".join(process.output[-400:])
            for name, process in self.processes.items()
            if process.popen.poll() is not None
        ]

    def zombies(self) -> list[str]:
        """Zombies: processes below ours that have ended and were not waited for."""
        below = {pid for process in self.processes.values() for pid in descendants(process.pid)}
        dead = []
        for pid in below:
            try:
                stat = Path(f"/proc/{pid}/stat").read_text()
            except OSError:
                continue
            if stat.rpartition(")")[2].split()[0] == "Z":
                dead.append(stat.partition(")")[0])
        return [f"zombies: {dead}"] if dead else []
