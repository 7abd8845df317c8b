"""Copies of the files that a script left in its working folder, made when it has ended and before its sandbox goes.

A copy is stored through Django's storage API under a name of ours: what a script calls its files does not matter to the
file system. A try that was interrupted is made again from the start, over what it left.
"""

from __future__ import annotations

import asyncio
import logging
import tempfile
from contextlib import aclosing
from dataclasses import dataclass
from typing import Final, NamedTuple

from django.conf import settings
from django.core.files import File
from django.core.files.storage import default_storage

from taskhub.executors.base import Executor, ExecutorError, Place

log = logging.getLogger(__name__)

FILES_MOST: Final = 100
COPY_S: Final = 60.0
"""The time for all copies of an execution."""
_MEMORY_BYTES: Final = 1024 * 1024


class Copy(NamedTuple):
    path: str
    size: int
    stored_as: str


@dataclass(frozen=True, slots=True)
class Kept:
    """The copies, and how many files have none: too large, too many, gone, or not read in time."""

    copies: list[Copy]
    left_out: int = 0


async def keep(executor: Executor, place: Place) -> Kept:
    """Copy the files at the place, the latest first, within the limits.

    Raises ExecutorError where asking again may help, and may be called again.
    """
    try:
        produced = await executor.produced_files(place)
    except ExecutorError as error:
        if not error.permanent:
            raise
        log.warning("the files of execution %s cannot be had: %s", place.execution_id, error.code)
        return Kept([])
    copies: list[Copy] = []
    room = settings.TASKHUB_ARTIFACTS_LIMIT_BYTES
    try:
        async with asyncio.timeout(COPY_S):
            for n, file in enumerate(produced.files[:FILES_MOST], start=1):
                limit = min(room, settings.TASKHUB_ARTIFACT_LIMIT_BYTES)
                if file.size > limit:
                    continue
                copy = await _copy(executor, place, file.path, f"artifacts/{place.execution_id}/{n}", limit)
                if copy is not None:
                    copies.append(copy)
                    room -= copy.size
    except TimeoutError:
        log.warning("not all files of execution %s could be copied in %.0f s", place.execution_id, COPY_S)
    return Kept(copies, produced.count - len(copies))


async def _copy(executor: Executor, place: Place, path: str, name: str, limit: int) -> Copy | None:
    """None for a file that is gone, cannot be read, or is longer than was said."""
    size = 0
    with tempfile.SpooledTemporaryFile(max_size=_MEMORY_BYTES) as spool:
        try:
            async with aclosing(executor.read_file(place, path)) as chunks:
                async for chunk in chunks:
                    size += len(chunk)
                    if size > limit:
                        return None
                    spool.write(chunk)
        except ExecutorError as error:
            if not error.permanent:
                raise
            log.info("a file of execution %s is not copied: %s", place.execution_id, error.code)
            return None
        spool.seek(0)
        default_storage.delete(name)
        return Copy(path, size, default_storage.save(name, File(spool)))
