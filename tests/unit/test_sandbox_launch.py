"""Starts that the sandbox service refuses: what is left in a sandbox, and what is done about a snapshot."""

from __future__ import annotations

from contextlib import asynccontextmanager
from types import SimpleNamespace
from typing import Any
from uuid import UUID

import pytest

from sandboxes.errors import SandboxRefused, SnapshotNotReady
from sandboxes.execute import executor as module
from sandboxes.execute.executor import SandboxExecutor
from taskhub.executions.checkout import Checkout, Credential
from taskhub.executions.executor import Launch
from taskhub.models import EnvironmentSpec


class Inside:
    """A toolbox whose session has ended before the command."""

    def __init__(self) -> None:
        self.files: dict[str, bytes] = {}
        self.commands: list[str] = []

    async def session_create(self, _: str) -> None: ...

    async def upload(self, files: dict[str, bytes]) -> None:
        self.files = files

    async def command_run(self, *_: str) -> str:
        raise SandboxRefused("session_ended", "The session has ended.")

    async def shell(self, command: str) -> tuple[int, str]:
        self.commands.append(command)
        return 0, ""


async def test_a_start_that_is_refused_takes_its_credential_along(monkeypatch: pytest.MonkeyPatch) -> None:
    inside = Inside()
    sandbox = SimpleNamespace(id="s", toolbox_url="http://127.0.0.1:9", toolbox=inside)

    @asynccontextmanager
    async def no_gateway() -> Any:
        yield None

    async def made(*_: Any) -> Any:
        return sandbox, True

    monkeypatch.setattr(module, "open_gateway", no_gateway)
    monkeypatch.setattr(SandboxExecutor, "_sandbox", made)
    checkout = Checkout("https://git.example.com/app", credential=Credential("bot", "token", ("git.example.com",)))
    launch = Launch(UUID(int=1), "taskhub-1", "true", 60, "0" * 64, checkout=checkout)
    with pytest.raises(SandboxRefused, match="session has ended"):
        await SandboxExecutor().launch(launch)
    (credential,) = [path for path in inside.files if path.endswith("/credential")]
    assert inside.commands == [f"rm -rf {credential.removesuffix('/credential')}"]


async def test_a_snapshot_that_is_not_active_is_woken(monkeypatch: pytest.MonkeyPatch) -> None:
    async def refuses(**_: Any) -> Any:
        raise SandboxRefused("snapshot_not_active", "It is inactive.")

    async def wake(name: str) -> None:
        assert name == "of-the-team"
        raise SnapshotNotReady

    @asynccontextmanager
    async def gateway() -> Any:
        yield SimpleNamespace(sandbox_create=refuses, snapshots=SimpleNamespace(wake=wake))

    monkeypatch.setattr(module, "open_gateway", gateway)
    spec = EnvironmentSpec.read({"snapshot": "of-the-team"})
    with pytest.raises(SnapshotNotReady):
        await SandboxExecutor().launch(Launch(UUID(int=1), "taskhub-1", "true", 60, "0" * 64, environment=spec))
