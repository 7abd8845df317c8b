"""Daytona's snapshots: one that was not used for weeks is inactive, and is activated before a sandbox is made of it."""

from __future__ import annotations

import logging
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from typing import Any, Final, NoReturn

from sandboxes.errors import SandboxMissing, SandboxRefused, SnapshotNotReady
from sandboxes.gateway.build_logs import failure
from sandboxes.gateway.refusals import refused
from sandboxes.gateway.translation import fetch, past_breaker
from sandboxes.gateway.values import LIFECYCLE_S, REQUEST_S, Document
from taskhub.models import SandboxSize

log = logging.getLogger(__name__)

_NOT_READ: Final = "may not read snapshots"
_FAILED: Final = frozenset({"error", "build_failed", "removing"})
_PASSES: Final = frozenset({"sandbox_refused", "snapshot_conflict", "snapshot_not_active"})
"""Codes of refused activations: another start was faster, or Daytona still deactivates it, which takes minutes."""


class Snapshots:
    """Raises SandboxError, as `Gateway` does. Nothing is remembered: states change by other hands."""

    def __init__(self, api: Any, read_log: Callable[[Any], Awaitable[str]] | None = None) -> None:
        """`read_log`: the last lines of the log whose address a request of `api` asks for."""
        self._api = api
        self._read_log = read_log

    async def wake(self, name: str) -> NoReturn:
        """Of a snapshot that was refused since it is not active: activate it where that helps.

        Raises SnapshotNotReady where it becomes active, by this or by itself; SandboxRefused where it never will.
        """
        try:
            found = await self._named(name)
            state = found.get("state")
            if state == "inactive":
                log.info("the snapshot %s is inactive and is activated", name)
                request = self._api.activate_snapshot_without_preload_content(
                    str(found["id"]), _request_timeout=REQUEST_S
                )
                with past_breaker():
                    await fetch("snapshot", request)
        except SandboxMissing:
            raise refused("snapshot_not_found") from None
        except SandboxRefused as error:
            if error.code in _PASSES:
                raise SnapshotNotReady from None
            if error.code != "sandbox_forbidden":
                raise
            words = (
                "The environment's snapshot is inactive, and the hub's key at the sandbox service lacks the right "
                "write:snapshots; activate it there, or give the key the right."
            )
            raise SandboxRefused("snapshots_forbidden", words) from None
        await self._guard_state(name, found)
        raise SnapshotNotReady

    async def guard(self, name: str) -> SandboxSize | None:
        """One look; the size of its sandboxes. An inactive one is activated at a start.

        Raises SandboxRefused where it never will be there.
        """
        found = await self.find(name)
        if found is None:
            raise refused("snapshot_not_found")
        await self._guard_state(name, found)
        return SandboxSize.read({**found, "memory": found.get("mem")})

    async def find(self, name: str) -> Document | None:
        """The snapshot of this name, in whatever state. Raises SandboxRefused `snapshots_forbidden`."""
        try:
            with snapshot_rights(_NOT_READ):
                return await self._named(name)
        except SandboxMissing:
            return None

    async def drop(self, snapshot_id: str) -> None:
        """Raises SandboxMissing; SandboxRefused `snapshot_conflict` while its state changes, `snapshots_forbidden`."""
        request = self._api.remove_snapshot_without_preload_content(snapshot_id, _request_timeout=LIFECYCLE_S)
        with past_breaker(), snapshot_rights("lacks the right delete:snapshots"):
            await fetch("snapshot", request)

    async def _guard_state(self, name: str, found: Document) -> None:
        if (state := found.get("state")) not in _FAILED:
            return
        said = await self.failure(found)
        # Its own text may hold hosts and addresses: it is for operators.
        log.warning("the snapshot %s is in the state %s: %s", name, state, said)
        words = f"The environment's snapshot cannot be used: its state at the sandbox service is {state}."
        raise SandboxRefused("snapshot_failed", words).saying(said)

    async def failure(self, found: Document) -> str:
        """Why it is not there, in Daytona's words; with the last lines of its build, if that is what failed."""
        tail = ""
        if found.get("state") == "build_failed" and self._read_log is not None:
            tail = await self._read_log(
                self._api.get_snapshot_build_logs_url_without_preload_content(
                    str(found["id"]), _request_timeout=REQUEST_S
                )
            )
        return failure(found, tail)

    async def _named(self, name: str) -> Document:
        with past_breaker():
            request = self._api.get_snapshot_without_preload_content(name, _request_timeout=REQUEST_S)
            found = await fetch("snapshot", request)
        return dict(found) if isinstance(found, dict) else {}


@contextmanager
def snapshot_rights(lack: str) -> Iterator[None]:
    """A 403 says what the hub's key lacks."""
    try:
        yield
    except SandboxRefused as error:
        if error.code != "sandbox_forbidden":
            raise
        words = f"The hub's key at the sandbox service {lack}."
        raise SandboxRefused("snapshots_forbidden", words) from None
