"""Isolation of a sandbox's processes: a clean environment and, with bubblewrap, a file system of their own."""

import getpass
import os
import shutil
import subprocess
import tempfile
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from sandboxes.local.sizes import UNBOUND, Bounds
from sandboxes.local.volumes import Mount, mount_arguments

_PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
_PROBE_TIMEOUT_S = 5.0
_RUNTIME_FOLDERS = ("/run", "/var/run")
_RESOLVER = Path("/etc/resolv.conf")


@dataclass(frozen=True)
class Folders:
    """The folders of one sandbox. In bubblewrap its processes see `home`, writable, and `run`, read-only.

    Without `network` they have a loopback interface of their own and nothing else. `mounts` are its volumes,
    `bounds` those of its processes.
    """

    root: Path
    network: bool = True
    mounts: tuple[Mount, ...] = ()
    bounds: Bounds = UNBOUND

    @property
    def home(self) -> Path:
        return self.root / "home"

    @property
    def run(self) -> Path:
        """Named pipes and the text of running commands: written by the server alone."""
        return self.root / "run"

    @property
    def sessions(self) -> Path:
        return self.root / "sessions"

    @property
    def supervisors(self) -> Path:
        """One file per living supervisor, so that a restarted server knows what its predecessor left."""
        return self.root / "supervisors"

    @property
    def row(self) -> Path:
        return self.root / "sandbox.json"

    def make(self) -> None:
        """Make those that are missing. Raises OSError."""
        for folder in (self.root, self.home, self.run, self.sessions, self.supervisors):
            folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        # A script may have put anything there since; then TMPDIR is as the script wants it.
        with suppress(FileExistsError):
            (self.home / ".tmp").mkdir(mode=0o700)


def shell_environment(folders: Folders, sandbox_env: dict[str, str]) -> dict[str, str]:
    """The whole environment of a shell. Nothing of the server's own: that holds the API key."""
    try:
        user = getpass.getuser()
    except (KeyError, OSError):
        # A container may run under a uid that has no name.
        user = str(os.getuid())
    base = {
        "PATH": _PATH,
        "LANG": "C.UTF-8",
        "TERM": "xterm-256color",
        "USER": user,
        "TMPDIR": str(folders.home / ".tmp"),
    }
    # HOME comes last: a restarted server recognises leftover processes of this sandbox by it.
    return base | sandbox_env | {"HOME": str(folders.home)}


def bwrap_prefix(bwrap: str, hidden: Sequence[Path], folders: Folders, *, cwd: Path | None = None) -> list[str]:
    """bubblewrap's command line: the system read-only, sockets and `hidden` folders out of sight, the home writable.

    `folders.run` is there read-only: the shell reads commands and opens pipes in it, and no process of the sandbox can
    put another file in their place.
    """
    home, run = str(folders.home), str(folders.run)
    system, mounted = mount_arguments(folders.mounts)
    emptied = [*_runtime_folders(), *(folder for folder in hidden if folder.is_dir())]
    return [
        *(bwrap, "--die-with-parent", "--unshare-pid", "--unshare-ipc", "--cap-drop", "ALL"),
        *(() if folders.network else ("--unshare-net",)),
        *system,
        *("--dev", "/dev", "--proc", "/proc", "--tmpfs", "/tmp"),  # noqa: S108  a mount point, not a file
        *(word for folder in emptied for word in ("--tmpfs", str(folder))),
        *_resolver(),
        *("--ro-bind", run, run, "--bind", home, home),
        *mounted,
        *("--chdir", str(cwd or folders.home), "--"),
    ]


def _runtime_folders() -> list[Path]:
    """/run and /var/run: where daemons and agents listen (PostgreSQL, D-Bus, Docker, ssh-agent)."""
    return sorted({Path(name).resolve() for name in _RUNTIME_FOLDERS if Path(name).is_dir()})


def _resolver() -> list[str]:
    """/etc/resolv.conf is often a link into /run: without the file, no name would be found."""
    file = _RESOLVER.resolve()
    hidden = any(file.is_relative_to(folder) for folder in _runtime_folders())
    return ["--ro-bind-try", str(file), str(file)] if hidden else []


def find_bash() -> str:
    """The path of bash. Raises FileNotFoundError."""
    bash = shutil.which("bash", path=_PATH) or shutil.which("bash")
    if bash is None:
        raise FileNotFoundError("bash was not found. The local sandbox server runs its sessions in bash: install it.")
    return bash


def find_program(name: str) -> str:
    """The path of one of the system's programs, whatever PATH a sandbox has. Raises FileNotFoundError."""
    found = shutil.which(name, path=_PATH) or shutil.which(name)
    if found is None:
        raise FileNotFoundError(f"{name} was not found. The local sandbox server needs it: install it.")
    return found


def find_bwrap(data_dir: Path, hidden: Sequence[Path], *, network: bool = True) -> str | None:
    """The path of bubblewrap if it is installed and works here, tried once with the options that shells get."""
    bwrap = shutil.which("bwrap")
    if bwrap is None:
        return None
    with tempfile.TemporaryDirectory(dir=data_dir, prefix="probe-") as name:
        folders = Folders(Path(name), network)
        folders.make()
        try:
            result = subprocess.run(
                [*bwrap_prefix(bwrap, hidden, folders), find_bash(), "-c", "exit 7"],
                check=False,
                capture_output=True,
                timeout=_PROBE_TIMEOUT_S,
            )
        except (OSError, subprocess.TimeoutExpired):
            return None
    # Kernels and containers that forbid namespaces make bwrap end with its own code, which is 1.
    return bwrap if result.returncode == 7 else None  # noqa: PLR2004  the code asked for two lines above
