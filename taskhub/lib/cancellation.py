"""Ending asyncio tasks for sure."""

from __future__ import annotations

import asyncio
from typing import Any, Final

_PATIENCE_S: Final = 0.3


async def cancel_all(*tasks: asyncio.Task[Any]) -> None:
    """Cancel the tasks and return when they have ended, however they ended.

    One cancellation may not be enough: on Python 3.11 one that meets the end of a connect inside redis-py is swallowed
    there, and one that meets an open websocket turns into a wait of 10 s for the peer's goodbye.
    """
    pending = {task for task in tasks if not task.done()}
    while pending:
        for task in pending:
            task.cancel()
        _, pending = await asyncio.wait(pending, timeout=_PATIENCE_S)
    # Nobody wants their results; without this asyncio would call their errors forgotten.
    await asyncio.gather(*tasks, return_exceptions=True)
