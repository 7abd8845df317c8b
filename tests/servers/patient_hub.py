"""The hub with limits that no test reaches: what waits for a sandbox or a log waits until the test lets it go on.

For uvicorn, in the place of `config.asgi`.
"""

from __future__ import annotations

from types import ModuleType
from typing import Final

from config.asgi import application
from sandboxes.gateway import client
from taskhub.executions import log_stream

__all__ = ["application"]

FOR_EVER_S: Final = 900.0


def _prolong(module: ModuleType, *names: str) -> None:
    for name in names:
        assert isinstance(getattr(module, name), float), name
        setattr(module, name, FOR_EVER_S)


_prolong(log_stream, "_READ_S", "_CONNECT_S", "_PAUSE_S")
_prolong(client, "REQUEST_S")
