"""Loading of the MCP SDK: before a web process serves, or with its first message.

It takes more than a second, and some 30 MiB. In the local profile a hub without agents is spared both.
"""

from __future__ import annotations

import asyncio
import importlib
import sys
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from taskhub.mcp.server import McpServer

_SERVER: Final = "taskhub.mcp.server"


def load_server() -> None:
    """Holds an event loop up for a second or two."""
    importlib.import_module(_SERVER)


async def running_server() -> McpServer:
    """This process's server, started by the first call."""
    if _SERVER not in sys.modules:
        await asyncio.to_thread(load_server)
    from taskhub.mcp.server import get_server  # noqa: PLC0415 - loaded by now

    return get_server()


async def close_server() -> None:
    """End the server of this process, if it was ever used."""
    if _SERVER in sys.modules:
        from taskhub.mcp.server import close_server  # noqa: PLC0415 - loaded already

        await close_server()
