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

log = logging.getLogger(__name__)

FILES_MOST: Final = 100
RESULTS: Final = "out/"
"""The folder of results: what is below it is kept before all else."""
COPY_S: Final = 60.0
"""The time for all copies of an execution."""
PATH_SHOWN: Final = 990
"""Characters of a path to which a number is added: an artifact's path has room for 1,000."""
_MEMORY_BYTES: Final = 1024 * 1024


class Copy(NamedTuple):
    path: str
    size: int
    stored_as: str
    sha256: str = ""


@dataclass(frozen=True, slots=True)
class Kept:
    """The copies, and how many files have none: skipped, too large, too many, gone, or not read in time.

    `changes` are the last changes, which were read with the list. `evidence_left_out`: results without a copy, without
    which the work cannot be verified; 1 where it is not known which there were.
    """

    copies: list[Copy]
    left_out: int = 0
    evidence_left_out: int = 0
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

    Raises ExecutorError where asking again may help, and may be called again.
    """
    try:
        produced = await executor.produced_files(place, after=after)
    except ExecutorError as error:
        if error.may_pass:
            raise
        log.warning("the files of execution %s cannot be had: %s", place.execution_id, error.code)
        return Kept([], evidence_left_out=1)
    copies: list[Copy] = []
    evidence_kept = 0
    room = settings.TASKHUB_ARTIFACTS_LIMIT_BYTES
    until = asyncio.get_running_loop().time() + COPY_S
    for n, file in enumerate(_wanted(produced.files), start=1):
        limit = min(room, settings.TASKHUB_ARTIFACT_LIMIT_BYTES)
        if file.size > limit:
            continue
        with tempfile.SpooledTemporaryFile(max_size=_MEMORY_BYTES) as spool:
            try:
                async with asyncio.timeout_at(until):
                    fetched = await _fetch(executor, place, file, spool, limit)
            except TimeoutError:
                log.warning("not all files of execution %s could be copied in %.0f s", place.execution_id, COPY_S)
                break
            if fetched is not None:
                # The storage may be slow, and others work on this loop.
                name = await on_storage_thread(_store, f"artifacts/{place.execution_id}/{n}", spool)
                copies.append(Copy(_shown(file.path, place, copies), fetched.size, name, fetched.sha256))
                evidence_kept += _is_evidence(file)
                room -= fetched.size
    change_sets = sum(file.is_change_set for file in produced.files)
    return Kept(
        copies,
        left_out=produced.count + change_sets - len(copies),
        evidence_left_out=1 if produced.is_lost else _evidence_left_out(produced, evidence_kept),
        changes=produced.changes,
    )


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
