"""Path traversal protection: paths inside a sandbox's home, and operations on them that cannot leave it.

A path is checked twice. `locate` follows symbolic links and refuses a path that leads out. Every operation then walks
from the home folder down by descriptor, one component after another, and follows no link at all: a process of the
sandbox that swaps a folder for a link between the two steps gets an error, not another folder.
"""

import os
import stat
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from sandboxes.local.disk import folder_entries
from sandboxes.local.errors import ToolboxError

_FOLDER = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
# A descriptor of the place itself: a pipe is not opened, a device not touched, a lease not broken.
_PLACE = os.O_PATH | os.O_NOFOLLOW | os.O_CLOEXEC
_REOPEN = os.O_NONBLOCK | os.O_CLOEXEC
# Folders below this depth are not walked: each level of a walk holds a descriptor.
_DEEPEST_WALK = 256


class Home:
    """One sandbox's home folder. `~` and relative paths start there.

    An absolute path is taken as it is if it lies in the home, else it is read as if the home were the root: /data/x is
    <home>/data/x.
    """

    def __init__(self, folder: Path) -> None:
        """`folder` is absolute and has no links in it: the data folder is resolved at the server's start."""
        self.folder = folder

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
        """As `locate`, and if the path itself is a symbolic link, its target. Raises ToolboxError 400, 403."""
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
        descriptor = self.open_folder(located.parent)
        try:
            yield descriptor, located.name
        finally:
            os.close(descriptor)

    @contextmanager
    def place(self, located: Path) -> Iterator[int]:
        """A descriptor (O_PATH) of a regular file or folder. Raises OSError; PermissionError for anything else."""
        if located == self.folder:
            handle = os.open(located, _PLACE)
        else:
            with self.parent(located) as (folder, name):
                handle = os.open(name, _PLACE, dir_fd=folder)
        try:
            kind = os.fstat(handle).st_mode
            if not stat.S_ISREG(kind) and not stat.S_ISDIR(kind):
                raise PermissionError(f"{located} is not a regular file")
            yield handle
        finally:
            os.close(handle)

    def open(self, located: Path) -> int:
        """A descriptor to read a regular file or folder. Raises OSError; PermissionError for a pipe, device or link."""
        with self.place(located) as handle:
            return os.open(f"/proc/self/fd/{handle}", os.O_RDONLY | _REOPEN)

    def set_mode(self, located: Path, mode: int) -> None:
        """Change the permissions of a regular file or folder. Raises OSError."""
        with self.place(located) as handle:
            os.chmod(f"/proc/self/fd/{handle}", mode)  # noqa: PTH101  a descriptor's address

    def make_folders(self, located: Path, mode: int = 0o755) -> None:
        """Like mkdir -p. Raises ToolboxError 400 if something else is in the way."""
        try:
            os.close(self.open_folder(located, make=mode))
        except OSError as error:
            raise ToolboxError(400, f"{located}: {error.strerror}") from None

    def status(self, located: Path) -> os.stat_result:
        """The status of the path itself, also of a link or pipe. Raises OSError."""
        if located == self.folder:
            return self.folder.lstat()
        with self.parent(located) as (folder, name):
            return os.stat(name, dir_fd=folder, follow_symlinks=False)

    def is_folder(self, located: Path) -> bool:
        """True if a folder is there, reached without following a link."""
        try:
            os.close(self.open_folder(located))
        except OSError:
            return False
        return True

    def open_folder(self, located: Path, make: int | None = None) -> int:
        """Walk down to a folder. With `make`, missing folders are made with that mode. Raises OSError."""
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

    def walk(self, located: Path, depth: int = _DEEPEST_WALK) -> Iterator[tuple[Path, os.stat_result]]:
        """Everything below a folder, each folder before what it holds, at most `depth` levels down.

        Subfolders that vanish, become a link or may not be read are passed over. Raises OSError if `located` cannot be
        opened.
        """
        yield from self._walk(self.open_folder(located), located, depth)

    def _walk(self, folder: int, path: Path, depth: int) -> Iterator[tuple[Path, os.stat_result]]:
        """Closes `folder`."""
        try:
            for name, status in folder_entries(folder):
                yield path / name, status
                if depth > 1 and stat.S_ISDIR(status.st_mode):
                    with suppress(OSError):
                        yield from self._walk(os.open(name, _FOLDER, dir_fd=folder), path / name, depth - 1)
        finally:
            os.close(folder)

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
