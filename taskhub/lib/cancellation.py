"""Cancellation of asyncio tasks that is certain to end them."""

from __future__ import annotations

import asyncio
from typing import Any, Final

_PATIENCE_S: Final = 0.3


async def cancel_all(*tasks: asyncio.Task[Any]) -> None:
    """Cancel the tasks and return when all have ended.

    One cancellation may not be enough: on Python 3.11 a cancellation at the end of a connect inside redis-py is
    swallowed, and one during an open websocket turns into a wait of 10 s for the peer's close frame.
    """
    pending = {task for task in tasks if not task.done()}
    while pending:
        for task in pending:
            task.cancel()
        _, pending = await asyncio.wait(pending, timeout=_PATIENCE_S)
    # Retrieve the results to avoid "exception was never retrieved".
    await asyncio.gather(*tasks, return_exceptions=True)


def raise_if_cancelled() -> None:
    """Raise CancelledError where a cancellation of the running task was swallowed by a library that it awaited."""
    task = asyncio.current_task()
    if task is not None and task.cancelling():
        raise asyncio.CancelledError
