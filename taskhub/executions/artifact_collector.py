"""Copies of the files that a script left in its working folder, made when it has ended and before its sandbox goes.

A copy is stored through Django's storage API under a name of ours: what a script calls its files does not matter to the
file system. A try that was interrupted is made again from the start, over what it left.
"""

from __future__ import annotations

import asyncio
import hashlib
import itertools
import logging
import tempfile
from contextlib import aclosing
from dataclasses import dataclass
from typing import IO, Final, NamedTuple

from django.conf import settings
from django.core.files import File
from django.core.files.storage import default_storage

from taskhub.executions.executor import (
    Executor,
    ExecutorError,
    FileChanges,
    Place,
    Produced,
    ProducedFile,
)
from taskhub.lib.storage_threads import on_storage_thread
from taskhub.models import LeftOutReason

log = logging.getLogger(__name__)

FILES_MOST: Final = 100
LEFT_OUT_NAMED: Final = 50
"""Files without a copy whose names are kept; all of them are counted."""
RESULTS: Final = "out/"
"""The folder of results: what is below it is kept before all else."""
COPY_S: Final = 60.0
"""The time for all copies of an execution."""
PATH_SHOWN: Final = 990
"""Characters of a path to which a number is added: an artifact's path has room for 1,000."""
_MEMORY_BYTES: Final = 1024 * 1024


class LeftOut(NamedTuple):
    """A file without a copy. `path` is as long as the list of files has it, without secret values."""

    path: str
    size: int
    reason: LeftOutReason


class Copy(NamedTuple):
    path: str
    size: int
    stored_as: str
    sha256: str = ""
    path_is_masked: bool = False


@dataclass(frozen=True, slots=True)
class Kept:
    """The copies, and how many files have none: skipped, too large, too many, gone, or not read in time.

    `named` are those of them that the list of files has, at most `LEFT_OUT_NAMED`. `changes` are the last changes,
    which were read with the list. `evidence_left_out`: results without a copy, or with one under another name than
    their own, without which the work cannot be verified; 1 where it is not known which there were.
    """

    copies: list[Copy]
    left_out: int = 0
    evidence_left_out: int = 0
    named: tuple[LeftOut, ...] = ()
    changes: FileChanges | None = None


async def changes_after(executor: Executor, place: Place, after: int) -> FileChanges | None:
    """What a script that runs has changed since the change of number `after`; None: nothing, or no answer."""
    async with aclosing(executor.changed_files({place: after})) as looks:
        async for _, changes in looks:
            return changes
    return None


async def keep(executor: Executor, place: Place, *, after: int = 0) -> Kept:
    """Copy the files at the place within the limits: results, then the rest in the executor's order.

    `after` is the last reported change.

    Raises ExecutorError where the list cannot be had, or asking again for a file may help; may be called again.
    """
    produced = await executor.produced_files(place, after=after)
    copies: list[Copy] = []
    left: dict[ProducedFile, LeftOutReason] = {}
    evidence_kept = 0
    room = settings.TASKHUB_ARTIFACTS_LIMIT_BYTES
    until = asyncio.get_running_loop().time() + COPY_S
    wanted = _wanted(produced.files)
    for n, file in enumerate(wanted, start=1):
        limit = min(room, settings.TASKHUB_ARTIFACT_LIMIT_BYTES)
        if file.size > limit:
            is_too_large = file.size > settings.TASKHUB_ARTIFACT_LIMIT_BYTES
            left[file] = LeftOutReason.TOO_LARGE if is_too_large else LeftOutReason.NO_ROOM
            continue
        with tempfile.SpooledTemporaryFile(max_size=_MEMORY_BYTES) as spool:
            try:
                async with asyncio.timeout_at(until):
                    fetched = await _fetch(executor, place, file, spool, limit)
            except TimeoutError:
                log.warning("not all files of execution %s could be copied in %.0f s", place.execution_id, COPY_S)
                left.update(dict.fromkeys(wanted[n - 1 :], LeftOutReason.LATE))
                break
            if fetched is None:
                left[file] = LeftOutReason.UNREADABLE
            else:
                # The storage may be slow, and others work on this loop.
                name = await on_storage_thread(_store, f"artifacts/{place.execution_id}/{n}", spool)
                shown = _shown(file.path, place, copies)
                copies.append(Copy(shown, fetched.size, name, fetched.sha256, path_is_masked=shown != file.path))
                evidence_kept += _is_evidence(file) and shown == file.path
                room -= fetched.size
    change_sets = sum(file.is_change_set for file in produced.files)
    return Kept(
        copies,
        left_out=produced.count + change_sets - len(copies),
        evidence_left_out=1 if produced.is_lost else _evidence_left_out(produced, evidence_kept),
        named=_named(produced.files, wanted, left, place),
        changes=produced.changes,
    )


def _named(
    files: list[ProducedFile], wanted: list[ProducedFile], left: dict[ProducedFile, LeftOutReason], place: Place
) -> tuple[LeftOut, ...]:
    """Files without a copy, in the order of the list."""
    known = set(wanted)
    reasons = ((file, left.get(file, None if file in known else LeftOutReason.TOO_MANY)) for file in files)
    found = (
        LeftOut(file.path if place.mask is None else place.mask.apply(file.path), file.size, reason)
        for file, reason in reasons
        if reason is not None
    )
    return tuple(itertools.islice(found, LEFT_OUT_NAMED))


def _is_evidence(file: ProducedFile) -> bool:
    return file.is_change_set or file.path.startswith(RESULTS)


def _evidence_left_out(produced: Produced, kept: int) -> int:
    """Of change sets and results. These come first in a list that may be cut: what it does not name is a result only if
    all that it names are."""
    sets = sum(file.is_change_set for file in produced.files)
    evidence = sum(_is_evidence(file) for file in produced.files)
    unnamed = produced.count + sets - len(produced.files) if evidence == len(produced.files) else 0
    return max(0, evidence + unnamed - kept)


def _wanted(files: list[ProducedFile]) -> list[ProducedFile]:
    """What the script has changed of a checkout, then results, then as many others as there is room for."""
    first = [file for file in files if file.is_change_set]
    results = [file for file in files if not file.is_change_set and file.path.startswith(RESULTS)]
    others = [file for file in files if not _is_evidence(file)]
    return [*first, *results, *others[:FILES_MOST]]


def _shown(path: str, place: Place, copies: list[Copy]) -> str:
    """The path without secret values. Two that differ in these alone stay two."""
    if place.mask is None:
        return path
    shown = place.mask.apply(path)
    taken = {copy.path for copy in copies}
    names = (shown if n == 1 else f"{shown[:PATH_SHOWN]} ({n})" for n in itertools.count(1))
    return next(name for name in names if name not in taken)


class _Fetched(NamedTuple):
    size: int
    sha256: str


async def _fetch(executor: Executor, place: Place, file: ProducedFile, spool: IO[bytes], limit: int) -> _Fetched | None:
    """The file's bytes into `spool`; None if it is gone, cannot be read, or is longer than was said."""
    size, digest = 0, hashlib.sha256()
    try:
        more = {"is_change_set": True} if file.is_change_set else {}
        async with aclosing(executor.read_file(place, file.path, **more)) as chunks:
            async for chunk in chunks:
                size += len(chunk)
                if size > limit:
                    return None
                spool.write(chunk)
                digest.update(chunk)
    except ExecutorError as error:
        if error.may_pass:
            raise
        log.info("a file of execution %s is not copied: %s", place.execution_id, error.code)
        return None
    return _Fetched(size, digest.hexdigest())


def _store(name: str, spool: IO[bytes]) -> str:
    """The name under which the storage has it."""
    spool.seek(0)
    default_storage.delete(name)
    return default_storage.save(name, File(spool))
