"""Whether a sandbox that a request names is there."""

from __future__ import annotations

import asyncio
import logging
from typing import Final

from taskhub.executions import get_executor
from taskhub.executions.executor import ExecutorError

log = logging.getLogger(__name__)

ANSWER_S: Final = 5.0


async def sandbox_is_missing(sandbox_id: str) -> bool:
    """True only where the sandbox service says within 5 s that it has no sandbox of this id.

    Without an answer the execution is queued, and its start will say. "" names none.
    """
    if not sandbox_id:
        return False
    try:
        async with asyncio.timeout(ANSWER_S):
            return not await get_executor().has_sandbox(sandbox_id)
    except (ExecutorError, TimeoutError) as error:
        log.info("it is not known whether sandbox %s exists: %s", sandbox_id, type(error).__name__)
        return False
