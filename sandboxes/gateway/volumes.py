"""Daytona's volumes: found by name, and waited for until they are ready."""

from __future__ import annotations

import asyncio
import logging
import time
from typing import Any, Final

from sandboxes.errors import SandboxMissing, SandboxRefused, SandboxUnavailable, VolumeNotReady
from sandboxes.gateway.translation import fetch, past_breaker
from sandboxes.gateway.values import REQUEST_S, Document

log = logging.getLogger(__name__)

WAIT_S: Final = 15.0
"""How long one try waits for a volume; then its caller may look whether it is still wanted."""
_POLL_S: Final = 0.5
_BECOMES_READY: Final = frozenset({"creating", "pending_create"})


class Volumes:
    """Raises SandboxError, as `Gateway` does."""

    def __init__(self, api: Any) -> None:
        self._api = api

    async def ready(self, name: str) -> str:
        """The id of the volume, once it can be mounted. Raises VolumeNotReady; SandboxRefused where it never will."""
        began = time.monotonic()
        while True:
            volume = await self._named(name)
            state = volume.get("state")
            if state == "ready":
                return str(volume["id"])
            _guard_state(name, state)
            if time.monotonic() - began > WAIT_S:
                log.info("the volume %s is not ready", name)
                raise VolumeNotReady
            await asyncio.sleep(_POLL_S)

    async def guard(self, name: str) -> None:
        """One look. Raises SandboxRefused where it is not there, or never will be ready."""
        volume = await self._named(name)
        if (state := volume.get("state")) != "ready":
            _guard_state(name, state)

    async def _named(self, name: str) -> Document:
        request = self._api.get_volume_by_name_without_preload_content(name, _request_timeout=REQUEST_S)
        try:
            with past_breaker():
                found = await fetch("volume", request)
        except SandboxMissing:
            log.warning("the sandbox service has no volume %s", name)
            words = (
                "The sandbox service has no volume of a name that the environment gives; make it there, or change the "
                "environment."
            )
            raise SandboxRefused("volume_not_found", words) from None
        except SandboxRefused as error:
            if error.code != "sandbox_forbidden":
                raise
            words = "The hub's key at the sandbox service lacks the right read:volumes; give it, or use no volumes."
            raise SandboxRefused("volumes_forbidden", words) from None
        if not isinstance(found, dict) or not isinstance(found.get("id"), str):
            raise SandboxUnavailable
        return dict(found)


def _guard_state(name: str, state: Any) -> None:
    if state in _BECOMES_READY:
        return
    # Each reader of an execution sees the sentence; the names are for operators.
    log.warning("the volume %s is in the state %s", name, state)
    words = f"A volume of the environment cannot be used at the sandbox service: its state is {state}."
    raise SandboxRefused("volume_not_usable", words[:300])
