"""Thread pool of a web process; each thread keeps its database connections."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from functools import cache
from typing import TypeVar

from asgiref.sync import sync_to_async
from django.conf import settings
from django.db import close_old_connections

T = TypeVar("T")


@cache
def _pool() -> ThreadPoolExecutor:
    return ThreadPoolExecutor(settings.TASKHUB_WEB_THREADS, thread_name_prefix="web")


async def on_web_thread(function: Callable[..., T], *arguments: object) -> T:
    """The result of the function, run on one of `TASKHUB_WEB_THREADS` permanent threads."""
    return await sync_to_async(function, thread_sensitive=False, executor=_pool())(*arguments)


async def with_database(function: Callable[..., T], *arguments: object) -> T:
    """The same outside of a Django request: connections are checked before and after, as around one."""
    return await on_web_thread(_looked_after, function, arguments)


def _looked_after(function: Callable[..., T], arguments: tuple[object, ...]) -> T:
    close_old_connections()
    try:
        return function(*arguments)
    finally:
        close_old_connections()
