"""Database calls of coroutines that no thread waits for."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextvars import ContextVar, copy_context
from functools import partial
from typing import Final, ParamSpec, TypeVar

from asgiref.sync import sync_to_async
from django.db import close_old_connections

P = ParamSpec("P")
T = TypeVar("T")

THREADS: Final = 4
"""Each keeps a connection. A call takes milliseconds."""

own_threads: Final[ContextVar[bool]] = ContextVar("own_threads", default=False)
"""Whether no thread waits for the running task. Else calls run on the thread that waits, with its connection."""

_pool: Final = ThreadPoolExecutor(THREADS, thread_name_prefix="executions")


async def in_database(function: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
    """Call `function` where it may block and use the database."""
    call = partial(function, *args, **kwargs)
    if not own_threads.get():
        return await sync_to_async(call)()
    return await asyncio.get_running_loop().run_in_executor(_pool, copy_context().run, _fresh, call)


def _fresh(call: Callable[[], T]) -> T:
    """As a request does: a connection that has broken, or is too old, is replaced."""
    close_old_connections()
    try:
        return call()
    finally:
        close_old_connections()
