"""Paths inside a sandbox's home, and operations on them that can not leave it.

A path is checked twice. `locate` follows symlinks and refuses what leads out. Every operation then walks from the home
folder down, one component after another, and follows no symlink at all: so a process of the sandbox that swaps a folder
for a symlink between the two steps gets an error, not another folder.
"""

import os
import stat
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from sandboxes.local.errors import ToolboxError

_FOLDER = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW


class Home:
    """One sandbox's home folder. `~` and relative paths start there.

    An absolute path is taken as it is if it lies in the home, else it is read as if the home were the root: /data/x is
    <home>/data/x.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder.resolve()

    def locate(self, path: str, *, parents: bool = False) -> Path:
        """The real path, below the home. With `parents`, missing folders above it are made.

        Raises ToolboxError: 400 without a path, 403 if it leads out of the home.
        """
        lexical = Path(os.path.normpath(self._joined(path)))
        self._refuse_outside(lexical, path)
        try:
            real = lexical.parent.resolve() / lexical.name if lexical != self.folder else lexical
        except (OSError, RuntimeError) as error:
            raise ToolboxError(400, f"{path}: {error}") from None
        self._refuse_outside(real, path)
        if parents:
            self.make_folders(real.parent)
        return real

    def follow(self, path: str) -> Path:
        """As `locate`, and if the path itself is a symlink, where it leads. Raises ToolboxError 400, 403."""
        located = self.locate(path)
        try:
            real = located.resolve()
        except (OSError, RuntimeError) as error:
            raise ToolboxError(400, f"{path}: {error}") from None
        self._refuse_outside(real, path)
        return real

    @contextmanager
    def parent(self, located: Path) -> Iterator[tuple[int, str]]:
        """A descriptor of the folder that holds it, and its name there. Raises OSError."""
        if located == self.folder:
            raise PermissionError(f"{located}: the home folder itself stays as it is")
        descriptor = self._open_folder(located.parent)
        try:
            yield descriptor, located.name
        finally:
            os.close(descriptor)

    def open(self, located: Path, flags: int, mode: int = 0o644) -> int:
        """Raises OSError; also if it is neither a file nor a folder (a named pipe would never answer)."""
        if located == self.folder:
            return self._open_folder(located)
        with self.parent(located) as (folder, name):
            descriptor = os.open(name, flags | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC, mode, dir_fd=folder)
        kind = os.fstat(descriptor).st_mode
        if not stat.S_ISREG(kind) and not stat.S_ISDIR(kind):
            os.close(descriptor)
            raise PermissionError(f"{located} is not a file")
        return descriptor

    def make_folders(self, located: Path, mode: int = 0o755) -> None:
        """Like mkdir -p. Raises ToolboxError 400 if something else is in the way."""
        try:
            os.close(self._open_folder(located, make=mode))
        except OSError as error:
            raise ToolboxError(400, f"{located}: {error.strerror}") from None

    def status(self, located: Path) -> os.stat_result:
        """Raises OSError."""
        if located == self.folder:
            return self.folder.stat()
        with self.parent(located) as (folder, name):
            return os.stat(name, dir_fd=folder, follow_symlinks=False)

    def _open_folder(self, located: Path, make: int | None = None) -> int:
        """Walk down to it. With `make`, missing folders are made with that mode."""
        descriptor = os.open(self.folder, _FOLDER)
        try:
            for name in located.relative_to(self.folder).parts:
                if make is not None:
                    with suppress(FileExistsError):
                        os.mkdir(name, make, dir_fd=descriptor)
                below = os.open(name, _FOLDER, dir_fd=descriptor)
                os.close(descriptor)
                descriptor = below
        except OSError:
            os.close(descriptor)
            raise
        return descriptor

    def _joined(self, path: str) -> str:
        if not path or "\0" in path:
            raise ToolboxError(400, "path is required")
        if path == "~" or path.startswith("~/"):
            path = path[2:]
        elif path == str(self.folder) or path.startswith(f"{self.folder}/"):
            return path
        # Join by hand: `Path /` would let an absolute path replace the home.
        return f"{self.folder}/{path}"

    def _refuse_outside(self, path: Path, given: str) -> None:
        if not path.is_relative_to(self.folder):
            raise ToolboxError(403, f"{given} is outside the sandbox's home", "FILE_ACCESS_DENIED")
