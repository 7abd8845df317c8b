"""Event loops that last, and what is kept open on them.

A web process has the loop of its server. A worker has none, and `async_to_sync` would make one for each call, and with
it a client of Daytona's: its TLS settings alone cost 0.1 s of CPU time and some MiB, and its connections are opened
anew. So the threads of a worker share a loop that runs on a thread of its own. What blocks on it holds up all jobs.
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

_kept: Final[PerLoop[AsyncExitStack]] = PerLoop(lambda: AsyncExitStack())  # noqa: PLW0108 - a generic class is no plain callable to mypy
_starting: Final = threading.Lock()
_loops: Final[dict[int, asyncio.AbstractEventLoop]] = {}
"""By process id: a fork has the loop of its parent, but not the thread that runs it."""


def keep_open() -> AsyncExitStack:
    """What is entered here stays open until `close_kept`. From the first call on the running loop is one that lasts."""
    return _kept.get()


def lasts() -> bool:
    """Whether the running loop is one that lasts."""
    return _kept.is_made()


async def close_kept() -> None:
    """The running loop ends soon."""
    stack = _kept.pop()
    if stack is not None:
        await stack.aclose()


def lend_loop() -> None:
    """From here on `async_to_sync` on this thread runs on the process's loop, as it does on a server's threads.

    What is called back by `sync_to_async` runs on the thread that waits, with its database connection. So a coroutine
    must not leave tasks behind that call back: when they do, nobody waits.
    """
    SyncToAsync.threadlocal.main_event_loop = _loop()
    SyncToAsync.threadlocal.main_event_loop_pid = os.getpid()


def _loop() -> asyncio.AbstractEventLoop:
    with _starting:
        loop = _loops.get(os.getpid())
        if loop is None:
            loop = _loops[os.getpid()] = asyncio.new_event_loop()
            _kept.make_for(loop)
            thread = threading.Thread(target=_run, args=[loop], name="loop", daemon=True)
            thread.start()
            atexit.register(_end, loop, thread)
        return loop


def _run(loop: asyncio.AbstractEventLoop) -> None:
    asyncio.set_event_loop(loop)
    try:
        loop.run_forever()
    finally:
        loop.close()  # from a closed one `async_to_sync` goes back to a loop for each call


def _end(loop: asyncio.AbstractEventLoop, thread: threading.Thread) -> None:
    if _loops.get(os.getpid()) is not loop or loop.is_closed():
        return  # a fork's parent's, or one that a task has ended
    asyncio.run_coroutine_threadsafe(close_kept(), loop).result(CLOSE_S)
    loop.call_soon_threadsafe(loop.stop)
    thread.join(CLOSE_S)
