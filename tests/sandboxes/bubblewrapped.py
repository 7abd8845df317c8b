"""The runner in a session's shell inside bubblewrap: what hostile scripts may be tried in."""

from __future__ import annotations

import shutil
import subprocess
import uuid
from pathlib import Path

import pytest

from sandboxes.execute.script_runner import Folders, Run
from taskhub.executions.executor import LogTokens

TOKENS = LogTokens("e" * 32, "a" * 32)
WITHIN_S = 120.0


def require_bubblewrap() -> str:
    """The path of a bubblewrap that works here. On the bare machine a hostile script would end the tests, and more."""
    bwrap = shutil.which("bwrap")
    if bwrap is None:
        pytest.skip("bubblewrap is not installed")
    probe = [bwrap, "--unshare-pid", "--ro-bind", "/", "/", "--proc", "/proc", "--dev", "/dev", "sh", "-c", "echo $$"]
    found = subprocess.run(probe, capture_output=True, text=True, check=False, timeout=30)
    if found.returncode != 0 or int(found.stdout) > 10:
        pytest.skip("bubblewrap does not give processes a namespace of their own here")
    return bwrap


class Session:
    """A shell as the sandbox service has it, with a home of its own; it runs one script by the runner."""

    def __init__(self, home: Path, script: str, *, perl: bool = True, **fields: object) -> None:
        self.home = home
        self.execution_id = uuid.uuid4()
        folders = Folders("taskhub-x")
        self.own = home / folders.own
        self.work = home / folders.working
        taken = str(fields.pop("taken", ""))
        without = str(fields.pop("without", ""))
        hidden = ("--ro-bind", "/dev/null", without) if without else ()
        env: dict[str, str] = fields.pop("env", {})  # type: ignore[assignment]  # a dict of strings
        run = Run(folders, f"{folders.own}/try", self.execution_id, TOKENS, script, env, **fields)  # type: ignore[arg-type]
        for path, content in run.files().items():
            (home / path).parent.mkdir(parents=True, exist_ok=True)
            (home / path).write_bytes(content)
        if taken:
            # A folder where a file is to be copied to.
            (self.work / taken).mkdir(parents=True)
        command = run.command() if perl else run.command().replace("command -v perl", "false")
        (home / "command").write_text(f"{command}\n")
        self.popen = subprocess.Popen(
            [
                *(require_bubblewrap(), "--die-with-parent", "--unshare-pid", "--unshare-ipc", "--cap-drop", "ALL"),
                *("--ro-bind", "/", "/", "--dev", "/dev", "--proc", "/proc", "--tmpfs", "/tmp"),
                *hidden,
                *("--bind", str(home), str(home), "--chdir", str(home), "--", "bash"),
            ],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            env={"PATH": "/usr/local/bin:/usr/bin:/bin", "HOME": str(home), "LANG": "C.UTF-8"},
        )

    def outcome(self) -> tuple[str, str, str]:
        """stdout, stderr, and what the session's shell found left of the runner and the script."""
        # A helper of the runner's that was killed may take a moment to be gone.
        found = f"grep -lzsE '^TASKHUB_(EXECUTION|RUNNER)={self.execution_id}$' /proc/[0-9]*/environ"
        left = f'for n in {{1..20}}; do found=$({found}) || break; sleep 0.1; done; printf %s "$found"'
        lines = f'. {self.home}/command\necho "code $?" >{self.home}/code\n{left} >{self.home}/left\n'
        try:
            out, err = self.popen.communicate(lines.encode(), WITHIN_S)
        finally:
            self.popen.kill()
        left_over = self.home / "left"
        return out.decode(errors="replace"), err.decode(errors="replace"), left_over.read_text()

    @property
    def code(self) -> str:
        return (self.home / "code").read_text().strip()


def end_mark(words: str) -> str:
    """As the runner prints it."""
    return f"\x1b_{TOKENS.end}E{words}\x1b\\\n"
