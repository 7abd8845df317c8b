"""Pure tests: they may use the database. For them no server is there, not even Redis, and they start no process."""

from __future__ import annotations

import socket
import subprocess
from typing import Any, NoReturn

import pytest


@pytest.fixture(autouse=True)
def nothing_else_runs(monkeypatch: pytest.MonkeyPatch) -> None:
    """No connection is accepted, as on a machine without servers; starting a process fails the test."""

    def refuse(_: socket.socket, address: Any) -> NoReturn:
        raise ConnectionRefusedError(f"{address}: a test that needs a server belongs in tests/integration")

    def start(*_: Any, **__: Any) -> NoReturn:
        pytest.fail("A test that starts a process belongs in tests/integration.")

    monkeypatch.setattr(socket.socket, "connect", refuse)
    monkeypatch.setattr(socket.socket, "connect_ex", refuse)
    monkeypatch.setattr(subprocess.Popen, "__init__", start)
