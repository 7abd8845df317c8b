"""Thread pool of a web process; each thread keeps its database connections."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager
from functools import cache
from typing import Final, TypeVar

from asgiref.sync import sync_to_async
from django.conf import settings
from django.db import close_old_connections

from taskhub.lib.per_loop import PerLoop

T = TypeVar("T")


@cache
def _pool() -> ThreadPoolExecutor:
    return ThreadPoolExecutor(settings.TASKHUB_WEB_THREADS, thread_name_prefix="web")


async def on_web_thread(function: Callable[..., T], *arguments: object) -> T:
    """The result of the function, run on one of `TASKHUB_WEB_THREADS` permanent threads."""
    return await sync_to_async(function, thread_sensitive=False, executor=_pool())(*arguments)


_FREE_FOR_READERS: Final = 2
_writers: Final = PerLoop(lambda: asyncio.Semaphore(max(1, settings.TASKHUB_WEB_THREADS - _FREE_FOR_READERS)))


@asynccontextmanager
async def thread_slot(*, writes: bool) -> AsyncIterator[None]:
    """Around work on a web thread: work that may write waits on the loop for one of all threads but two.

    A lock in the database that every writer waits for then keeps no reader waiting.
    """
    if not writes:
        yield
        return
    async with _writers.get():
        yield


async def with_database(function: Callable[..., T], *arguments: object) -> T:
    """The same outside of a Django request: connections are checked before and after, as around one."""
    return await on_web_thread(_looked_after, function, arguments)


def _looked_after(function: Callable[..., T], arguments: tuple[object, ...]) -> T:
    close_old_connections()
    try:
        return function(*arguments)
    finally:
        close_old_connections()
