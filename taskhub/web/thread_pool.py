"""Thread pool of a web process; each thread keeps its database connections."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Coroutine
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager
from contextvars import ContextVar
from functools import cache
from typing import Any, Final, TypeVar

from asgiref.sync import async_to_sync, sync_to_async
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


_thread_waits: Final = ContextVar("thread_waits", default=False)


def wait_here(work: Callable[[], Coroutine[Any, Any, T]]) -> T:
    """The result of a coroutine, for a thread that may wait for it: a job's, a command's, a test's.

    The coroutine's `with_database` uses this thread and its connection, so also its open transaction.
    """
    token = _thread_waits.set(True)
    try:
        return async_to_sync(work)()
    finally:
        _thread_waits.reset(token)


async def with_database(function: Callable[..., T], *arguments: object) -> T:
    """`on_web_thread` outside of a Django request: connections are checked before and after, as around one."""
    if _thread_waits.get():
        return await sync_to_async(function)(*arguments)
    return await on_web_thread(_looked_after, function, arguments)


async def with_database_writing(function: Callable[..., T], *arguments: object) -> T:
    """Likewise for a function that writes: it waits for a slot first."""
    async with thread_slot(writes=True):
        return await with_database(function, *arguments)


def _looked_after(function: Callable[..., T], arguments: tuple[object, ...]) -> T:
    close_old_connections()
    try:
        return function(*arguments)
    finally:
        close_old_connections()
