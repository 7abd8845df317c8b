"""State files and folders on disk: opened without following links, replaced atomically, removed whole.

Scripts of a sandbox may swap what lies below their home for a symbolic link or a named pipe at any moment, and without
bubblewrap every other file of the server too. Nothing here follows such a link or waits for a pipe.
"""

import os
import stat
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from uuid import uuid4

_FOLDER = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
# Neither waits for the other end of a pipe, nor for a lease that a process holds on the file.
_FILE = os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
_OWNER_ONLY = 0o700
# Passes over a folder that other processes keep filling.
_MOST_PASSES = 100


class NotRegularFileError(OSError):
    """A symbolic link, named pipe, device or socket lies where a regular file is expected."""


def open_regular(path: Path, flags: int, mode: int = 0o600) -> int:
    """A descriptor of a regular file. Raises OSError, and NotRegularFileError for anything else at that path."""
    descriptor = os.open(path, flags | _FILE, mode)
    if not stat.S_ISREG(os.fstat(descriptor).st_mode):
        os.close(descriptor)
        raise NotRegularFileError(f"{path} is not a regular file")
    return descriptor


def read_text(path: Path) -> str:
    """The text of a small state file. Raises OSError, ValueError if it is not UTF-8."""
    with os.fdopen(open_regular(path, os.O_RDONLY), encoding="utf-8") as file:
        return file.read()


def write_atomically(path: Path, text: str) -> None:
    """Replace a file: readers, also after a crash of this process, see the old text or the new one, never a part.

    The file is not synced to the medium: a power failure may lose the last commands. Raises OSError.
    """
    temporary = path.with_name(f".{path.name}.new")
    # Left by a crash, or put there by a script.
    temporary.unlink(missing_ok=True)
    with os.fdopen(open_regular(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL), "w", encoding="utf-8") as file:
        file.write(text)
    temporary.replace(path)


def remove_tree(root: Path) -> None:
    """Remove a folder with everything in it, at any depth and with any permissions. Raises OSError.

    Of a link, which a script may have put in the folder's place, only the link goes.
    """
    if not stat.S_ISDIR(root.lstat().st_mode):
        root.unlink()
        return
    parent = os.open(root.parent, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        remove_tree_at(parent, root.name)
    finally:
        os.close(parent)


def remove_tree_at(parent: int, name: str) -> None:
    """Remove the folder `name` in the folder of the descriptor `parent`. Raises OSError.

    1. Every subfolder is moved up into the folder itself before it is emptied: so paths stay short and two descriptors
       are enough, however deep a script has nested its folders.
    2. No link is followed; folders without permissions are opened up through their descriptor.
    """
    top = _open_writable(parent, name)
    try:
        for _ in range(_MOST_PASSES):
            waiting = _emptied(top, top)
            while waiting:
                below = waiting.pop()
                folder = _open_writable(top, below)
                try:
                    waiting += _emptied(folder, top)
                finally:
                    os.close(folder)
                # Not empty if a process has added to it meanwhile: the next pass finds it again.
                with suppress(OSError):
                    os.rmdir(below, dir_fd=top)
            with suppress(OSError):
                os.rmdir(name, dir_fd=parent)
                return
    finally:
        os.close(top)
    os.rmdir(name, dir_fd=parent)


def _emptied(folder: int, top: int) -> list[str]:
    """Unlink the files in `folder` and move its subfolders into `top`. Returns their names there."""
    moved = []
    for name in os.listdir(folder):
        with suppress(FileNotFoundError):
            if not stat.S_ISDIR(os.stat(name, dir_fd=folder, follow_symlinks=False).st_mode):
                os.unlink(name, dir_fd=folder)
            elif folder == top:
                moved.append(name)
            else:
                # A folder can be moved only if it is writable itself: ".." in it changes.
                os.close(_open_writable(folder, name))
                unique = f".removed-{uuid4().hex}"
                os.rename(name, unique, src_dir_fd=folder, dst_dir_fd=top)
                moved.append(unique)
    return moved


def _open_writable(parent: int, name: str) -> int:
    """A descriptor of a folder that its owner may read and write from now on. Raises OSError."""
    handle = os.open(name, os.O_PATH | _FOLDER, dir_fd=parent)
    try:
        if stat.S_IMODE(os.fstat(handle).st_mode) & _OWNER_ONLY != _OWNER_ONLY:
            # Through /proc: fchmod refuses a descriptor that was opened for its path alone.
            os.chmod(f"/proc/self/fd/{handle}", _OWNER_ONLY)  # noqa: PTH101  a descriptor's address
        return os.open(f"/proc/self/fd/{handle}", os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    finally:
        os.close(handle)


def folder_entries(folder: int) -> Iterator[tuple[str, os.stat_result]]:
    """Names in a folder, sorted, with their status; links are not followed. Skips what vanishes meanwhile."""
    for name in sorted(os.listdir(folder)):
        try:
            status = os.stat(name, dir_fd=folder, follow_symlinks=False)
        except OSError:
            continue
        yield name, status
