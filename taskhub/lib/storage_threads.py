"""Thread pool for the storage of logs and artifacts, which may be slow or hang.

Asyncio's default pool also looks up names: with a few reads of a storage that hangs in it, no new connection would be
opened, to a sandbox as to a webhook.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextvars import copy_context
from functools import partial
from typing import Final, ParamSpec, TypeVar

P = ParamSpec("P")
T = TypeVar("T")

THREADS: Final = 8
"""More reads wait for these."""

_pool: Final = ThreadPoolExecutor(THREADS, thread_name_prefix="storage")


async def on_storage_thread(function: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
    """The result of a function that reads or writes the storage."""
    call = partial(function, *args, **kwargs)
    return await asyncio.get_running_loop().run_in_executor(_pool, copy_context().run, call)
