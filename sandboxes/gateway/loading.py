"""Loading of the Daytona SDK: before a process serves, or with its first gateway.

The SDK, and aiohttp below it, take a second to load and some 50 MiB. In production a process that may open gateways
loads them before it serves. In the local profile it does so when it opens the first one, on a thread: a hub that runs
nothing is spared both.
"""

from __future__ import annotations

import asyncio
import importlib
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from sandboxes.gateway.client import Gateway

_CLIENT: Final = "sandboxes.gateway.client"
_SDK: Final = ("daytona._async.daytona", "daytona._async.process", "daytona.internal.toolbox_api_client_proxy")


class _State:
    is_loaded = False


def load_sdk() -> None:
    """Load what the SDK would load with its first use, and hold an event loop up with for a second or two.

    For processes that will open gateways. Others (beat, migrations, most commands) are spared the time and the memory.
    Raises ImportError.
    """
    for name in (_CLIENT, *_SDK):
        importlib.import_module(name)
    _State.is_loaded = True


@asynccontextmanager
async def open_gateway(*, watching: bool = False) -> AsyncGenerator[Gateway, None]:
    """A gateway for the running event loop. Raises KeyRefused without a key.

    Where the loop lasts, it is one that is kept on it for all callers, and leaving this context closes nothing.

    `watching`: for those who only look. Their calls do not count as activity, so they keep no sandbox awake.
    """
    if not _State.is_loaded:
        await asyncio.to_thread(load_sdk)
    from sandboxes.gateway.client import opened  # noqa: PLC0415 - loaded by now

    async with opened(watching=watching) as gateway:
        yield gateway
