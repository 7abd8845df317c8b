"""Thread pool of a process for what may block; each thread keeps its database connections.

A web process has one for its requests, a worker one for the executions that it follows on its event loop.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Coroutine
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager
from contextvars import ContextVar
from functools import cache, partial
from typing import Any, Final, ParamSpec, TypeVar
from weakref import WeakValueDictionary

from asgiref.sync import async_to_sync, sync_to_async
from django.conf import settings
from django.db import close_old_connections

from taskhub.errors import Unavailable
from taskhub.lib.database_errors import LOCKED, RETRY_S
from taskhub.lib.per_loop import PerLoop

P = ParamSpec("P")
T = TypeVar("T")


WORKER_THREADS: Final = 4
"""Of a worker: a call takes milliseconds, and its jobs have threads of their own."""
_is_worker = False


def make_worker_pool() -> None:
    """This process is a worker; before anything runs on the pool."""
    global _is_worker  # noqa: PLW0603 - one process, one pool
    _is_worker = True


@cache
def _pool() -> ThreadPoolExecutor:
    if _is_worker:
        return ThreadPoolExecutor(WORKER_THREADS, thread_name_prefix="executions")
    return ThreadPoolExecutor(settings.TASKHUB_WEB_THREADS, thread_name_prefix="web")


async def on_web_thread(function: Callable[..., T], *arguments: object) -> T:
    """The result of the function, run on one of `TASKHUB_WEB_THREADS` permanent threads."""
    return await sync_to_async(function, thread_sensitive=False, executor=_pool())(*arguments)


_FREE_FOR_READERS: Final = 2
_writers: Final = PerLoop(lambda: asyncio.Semaphore(max(1, settings.TASKHUB_WEB_THREADS - _FREE_FOR_READERS)))


_PER_ROW: Final = 2
"""Threads of a process that may write the same row at once: the database lets one go on, the other is ready."""


class _RowTurns:
    """The writers of each row that this process knows of at the moment."""

    def __init__(self) -> None:
        self._turns: WeakValueDictionary[str, asyncio.Semaphore] = WeakValueDictionary()

    def of(self, row: str) -> asyncio.Semaphore:
        """Its turns, known for as long as the result is held."""
        return self._turns.setdefault(row, asyncio.Semaphore(_PER_ROW))


_rows: Final = PerLoop(_RowTurns)


@asynccontextmanager
async def thread_slot(*, writes: bool, row: str = "") -> AsyncIterator[None]:
    """Around work on a web thread: work that may write waits on the loop for one of all threads but two.

    A lock in the database that every writer waits for then keeps no reader waiting. `row`: the id of what is written,
    if known; a lock on it then takes no more than two threads from those who write something else. Raises `Unavailable`
    after as long a wait for its turn as a connection waits for a lock.
    """
    if not writes:
        yield
        return
    async with _row_turn(row), _writers.get():
        yield


@asynccontextmanager
async def _row_turn(row: str) -> AsyncIterator[None]:
    if not row:
        yield
        return
    turns = _rows.get().of(row)
    try:
        async with asyncio.timeout(settings.TASKHUB_ROW_WAIT_S or None):
            await turns.acquire()
    except TimeoutError:
        raise Unavailable(LOCKED, code="database_unavailable", details={"retry_after_s": RETRY_S}) from None
    try:
        yield
    finally:
        turns.release()


def is_on_loop() -> bool:
    """Whether this is the thread of an event loop, and not one that may wait."""
    try:
        asyncio.get_running_loop()
    except RuntimeError:
        return False
    return True


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


def waits_here() -> bool:
    """Whether the running coroutine is one that a thread waits for, whose connection it uses."""
    return _thread_waits.get()


async def with_database(function: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
    """Call a function that uses the database, outside of a Django request: connections are checked around it.

    On a thread of the pool; on the thread that waits, within `wait_here`.
    """
    call = partial(function, *args, **kwargs)
    if _thread_waits.get():
        return await sync_to_async(call)()
    return await on_web_thread(_looked_after, call)


async def with_database_writing(function: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
    """Likewise for a function that writes: it waits for a slot first."""
    async with thread_slot(writes=True):
        return await with_database(function, *args, **kwargs)


def _looked_after(call: Callable[[], T]) -> T:
    close_old_connections()
    try:
        return call()
    finally:
        close_old_connections()
