"""Long-lived event loops, and the resources that stay open on them.

A web process has the loop of its server. A worker has none: `async_to_sync` would create one for each call, and with
it a Daytona client, whose TLS settings alone cost 0.1 s of CPU time and some MiB, and new connections. Therefore a
worker's threads share a loop on its own thread. Code that blocks on it delays all jobs.
"""

from __future__ import annotations

import asyncio
import atexit
import os
import threading
from contextlib import AsyncExitStack
from typing import Final

from asgiref.sync import SyncToAsync

from taskhub.lib.per_loop import PerLoop

CLOSE_S: Final = 5.0

_kept: Final[PerLoop[AsyncExitStack]] = PerLoop(lambda: AsyncExitStack())  # noqa: PLW0108 - mypy does not accept a generic class as a callable
_starting: Final = threading.Lock()
_loops: Final[dict[int, asyncio.AbstractEventLoop]] = {}
"""By process id: a forked child has its parent's loop, but not the thread that runs it."""


def keep_open() -> AsyncExitStack:
    """Contexts entered here stay open until `close_kept`. The first call marks the running loop as long-lived."""
    return _kept.get()


def lasts() -> bool:
    """Whether the running loop is long-lived."""
    return _kept.is_made()


async def close_kept() -> None:
    """Close the resources of the running loop before it ends."""
    stack = _kept.pop()
    if stack is not None:
        await stack.aclose()


def lend_loop() -> None:
    """From now on `async_to_sync` on this thread uses the process's loop, as on a server's threads.

    `sync_to_async` runs its callbacks on the waiting thread, with that thread's database connection. A coroutine must
    not leave tasks behind that call back: when they do, no thread waits.
    """
    SyncToAsync.threadlocal.main_event_loop = _loop()
    SyncToAsync.threadlocal.main_event_loop_pid = os.getpid()


def lent_loop() -> asyncio.AbstractEventLoop | None:
    """The process's loop, where this thread was lent it."""
    if getattr(SyncToAsync.threadlocal, "main_event_loop_pid", None) != os.getpid():
        return None
    loop: asyncio.AbstractEventLoop | None = getattr(SyncToAsync.threadlocal, "main_event_loop", None)
    return loop if loop in _loops.values() else None


def own_loop() -> asyncio.AbstractEventLoop | None:
    """The process's loop, on whatever thread; None if no thread was lent it yet."""
    return _loops.get(os.getpid())


def _loop() -> asyncio.AbstractEventLoop:
    with _starting:
        loop = _loops.get(os.getpid())
        if loop is None:
            loop = _loops[os.getpid()] = _new_loop()
            _kept.make_for(loop)
            thread = threading.Thread(target=_run, args=[loop], name="loop", daemon=True)
            thread.start()
            atexit.register(_end, loop, thread)
        return loop


def _new_loop() -> asyncio.AbstractEventLoop:
    """As the web process has it."""
    try:
        import uvloop  # noqa: PLC0415 - not on every platform
    except ImportError:
        return asyncio.new_event_loop()
    return uvloop.new_event_loop()


def _run(loop: asyncio.AbstractEventLoop) -> None:
    asyncio.set_event_loop(loop)
    try:
        loop.run_forever()
    finally:
        loop.close()  # with a closed one `async_to_sync` creates a loop for each call again


def _end(loop: asyncio.AbstractEventLoop, thread: threading.Thread) -> None:
    if _loops.get(os.getpid()) is not loop or loop.is_closed():
        return  # the loop of a fork's parent, or one that a task has ended
    asyncio.run_coroutine_threadsafe(close_kept(), loop).result(CLOSE_S)
    loop.call_soon_threadsafe(loop.stop)
    thread.join(CLOSE_S)
