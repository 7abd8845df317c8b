"""What the runner wrote down about an execution's files (`runner.py`), fetched and read.

A script can write there too, so nothing in it is taken at its word: a line that is none is passed over, and a path that
leads out of the working folder is no path.
"""

from __future__ import annotations

import asyncio
import logging
import re
from collections import OrderedDict
from collections.abc import AsyncGenerator, Iterator, Mapping
from contextlib import aclosing
from typing import TYPE_CHECKING, Final, Literal, cast

from sandboxes.errors import KeyRefused, SandboxError, SandboxMissing
from sandboxes.execute.script_runner import ARTIFACTS_KEPT, CHANGES_KEPT, Folders
from taskhub.executions.executor import CHANGE_SETS, FileChange, FileChanges, Place, Produced, ProducedFile
from taskhub.executions.file_paths import PATH_BYTES, is_inside
from taskhub.lib.cancellation import cancel_all

if TYPE_CHECKING:
    from sandboxes.gateway import Gateway, Toolbox

log = logging.getLogger(__name__)

LOOK_S: Final = 2.0
"""The longest a look may take. It is one request for a small file."""
_PARALLEL: Final = 32
_CHANGES_BYTES: Final = CHANGES_KEPT * (PATH_BYTES + 50)
_LINE: Final = re.compile(r"(\d{1,9}) (created|modified|deleted) (\d{1,18}|-) (.*)", re.ASCII)
_ARTIFACTS_BYTES: Final = 2 * ARTIFACTS_KEPT * (PATH_BYTES + 60) + _CHANGES_BYTES
_COUNT: Final = re.compile(r"\s*\d{1,9}", re.ASCII)
_SIZES: Final = re.compile(r"\d+ \d+ (\d{1,18}) (\d{1,18})", re.ASCII)
_FILE: Final = re.compile(r"\d{1,18}\.\d{1,18} (\d{1,18}) (.*)", re.ASCII)
_KNOWN_MOST: Final = 1000

Change = Literal["created", "modified", "deleted"]


class ToolboxAddresses:
    """The addresses of sandboxes' toolboxes that this process knows. They stay what they are while a sandbox lives."""

    def __init__(self) -> None:
        self._known: OrderedDict[str, str] = OrderedDict()

    async def find(self, gateway: Gateway, sandbox_id: str) -> Toolbox:
        """The toolbox; its address is asked for (one request) the first time. Raises SandboxError."""
        url = self._known.get(sandbox_id)
        if url is None:
            url = str((await gateway.document(sandbox_id)).get("toolboxProxyUrl", ""))
            self.remember(sandbox_id, url)
        return gateway.toolbox(sandbox_id, url)

    def remember(self, sandbox_id: str, url: str) -> None:
        self._known[sandbox_id] = url
        while len(self._known) > _KNOWN_MOST:
            self._known.popitem(last=False)

    def forget(self, sandbox_id: str) -> None:
        self._known.pop(sandbox_id, None)


toolboxes: Final = ToolboxAddresses()


async def look_at_changes(
    gateway: Gateway, seen: Mapping[Place, int]
) -> AsyncGenerator[tuple[Place, FileChanges | None], None]:
    """One look at each place, in the order of their answers; see `Executor.changed_files`."""
    limit = asyncio.Semaphore(_PARALLEL)
    looks = [asyncio.create_task(_look(gateway, place, after, limit)) for place, after in seen.items()]
    try:
        for look in asyncio.as_completed(looks):
            place, changes = await look
            if changes is None or changes.upto > seen[place]:
                yield place, changes
    finally:
        await cancel_all(*looks)


async def _look(
    gateway: Gateway, place: Place, after: int, limit: asyncio.Semaphore
) -> tuple[Place, FileChanges | None]:
    try:
        # The time runs once it is asked, not while it waits for its turn.
        async with limit, asyncio.timeout(LOOK_S):
            toolbox = await toolboxes.find(gateway, place.sandbox_id)
            path = f"{Folders(place.session_name).own}/changes"
            text = await toolbox.file(path, limit_bytes=_CHANGES_BYTES)
    except (SandboxError, TimeoutError) as error:
        if isinstance(error, KeyRefused | SandboxMissing):
            toolboxes.forget(place.sandbox_id)
        log.info("the files of execution %s cannot be looked at now: %s", place.execution_id, type(error).__name__)
        return place, None
    return place, read_changes(text, after)


async def produced(gateway: Gateway, place: Place, after: int) -> Produced:
    """What the runner listed at the end. Raises SandboxError, but not for a list that is not there."""
    toolbox = await toolboxes.find(gateway, place.sandbox_id)
    path = f"{Folders(place.session_name).own}/artifacts"
    try:
        return read_artifacts(await toolbox.file(path, limit_bytes=_ARTIFACTS_BYTES), after)
    except SandboxMissing:
        # The runner itself was killed, or the folder is deleted.
        return Produced([], 0, FileChanges(after, []), is_lost=True)


async def read_produced(
    gateway: Gateway, place: Place, path: str, *, is_change_set: bool = False
) -> AsyncGenerator[bytes, None]:
    """The content of a file of the working folder, or of a change set. Raises SandboxError."""
    toolbox = await toolboxes.find(gateway, place.sandbox_id)
    folders = Folders(place.session_name)
    whole = f"{folders.own if is_change_set else folders.working}/{path}"
    async with aclosing(toolbox.file_chunks(whole)) as chunks:
        async for chunk in chunks:
            yield chunk


def read_artifacts(text: bytes, after: int = 0) -> Produced:
    """A list as the runner writes it: counts; the files, the most wanted last; an empty line; the last changes."""
    files, _, changes = text.decode(errors="replace").partition("\n\n")
    first, *lines = files.split("\n")
    sizes: dict[str, int] = {}
    for line in reversed(lines):
        found = _FILE.fullmatch(line)
        if found is not None and is_inside(found[2]):
            sizes.setdefault(found[2], int(found[1]))
    counted = _COUNT.match(first)
    count = int(counted[0]) if counted else 0
    change_sets: list[ProducedFile] = []
    if (sized := _SIZES.fullmatch(first)) is not None:
        # Of a checkout these names are the runner's, also where it has written none: own files of them are not kept.
        count -= sum(sizes.pop(path, None) is not None for path in CHANGE_SETS)
        given = zip(CHANGE_SETS, map(int, sized.groups()), strict=True)
        change_sets = [ProducedFile(path, size, is_change_set=True) for path, size in given if size]
    return Produced(
        [*change_sets, *(ProducedFile(path, size) for path, size in sizes.items())],
        max(count, len(sizes)),
        read_changes(changes.encode(), after),
    )


def read_changes(text: bytes, after: int) -> FileChanges:
    """What the lines above number `after` come to; `upto` is `after` where there is none."""
    files: dict[str, FileChange | None] = {}
    upto = after
    named = 0
    for n, change, path, size in _lines(text):
        if n <= upto:
            continue
        upto = n
        if is_inside(path):
            named += 1
            files[path] = _together(files.get(path), FileChange(change, path, size), first=path not in files)
    return FileChanges(upto, [change for change in files.values() if change is not None], upto - after - named)


def _lines(text: bytes) -> Iterator[tuple[int, Change, str, int | None]]:
    for line in text.decode(errors="replace").split("\n"):
        found = _LINE.fullmatch(line)
        if found is not None:
            size = None if found[3] == "-" else int(found[3])
            yield int(found[1]), cast("Change", found[2]), found[4], size


def _together(before: FileChange | None, now: FileChange, *, first: bool) -> FileChange | None:
    """Two changes of a file as one; None for a file that came and went."""
    if first or (before is not None and before.change == "modified"):
        return now
    if before is None or before.change == "created":
        return None if now.change == "deleted" else now._replace(change="created")
    # It was deleted: what is there now is another one in its place.
    return now if now.change == "deleted" else now._replace(change="modified")
