"""What an environment names at the sandbox service: looked up when it is saved, and again at each start."""

from __future__ import annotations

import asyncio
import logging
from typing import TYPE_CHECKING

from sandboxes.errors import SandboxRefused
from taskhub.executions.executor import Reference
from taskhub.models import EnvironmentSpec, SandboxSize

if TYPE_CHECKING:
    from sandboxes.gateway import Gateway

log = logging.getLogger(__name__)


async def guard_secrets(gateway: Gateway, spec: EnvironmentSpec) -> None:
    """Raises SandboxRefused for an entry that the vault has not, or that may be sent to any host and must not.

    Each reader of the execution sees the sentence: it has the variable's name, and the log that of the entry.
    """
    names = sorted(set(spec.secrets.values()))
    found = await gateway.vault.find_all(names) if names else {}
    for variable, name in sorted(spec.secrets.items()):
        entry = found.get(name)
        if entry is None:
            log.warning("the vault has no entry %s", name)
            words = f"The vault has no entry for the variable {variable[:100]}; make it, or change the environment."
            raise SandboxRefused("secret_not_found", words)
        if not entry.get("hosts") and name not in spec.any_host:
            log.warning("the entry %s of the vault has no hosts", name)
            words = (
                f"The vault's entry for the variable {variable[:100]} may be sent to any host: give it hosts, or name "
                "it in any_host of the environment."
            )
            raise SandboxRefused("secret_without_hosts", words)


async def volume_ids(gateway: Gateway, spec: EnvironmentSpec) -> dict[str, str]:
    """The ids of its volumes, by name, once each can be mounted. Raises VolumeNotReady, SandboxRefused."""
    names = sorted({volume.name for volume in spec.volumes})
    ids = await asyncio.gather(*(gateway.volumes.ready(name) for name in names))
    return dict(zip(names, ids, strict=True))


async def guard_reference(gateway: Gateway, spec: EnvironmentSpec, field: Reference) -> SandboxSize | None:
    """Whether what the field names is there, and a snapshot's size. Nothing is waited for or woken.

    Raises SandboxError.
    """
    if field == "snapshot":
        return await gateway.snapshots.guard(spec.snapshot)
    if field == "secrets":
        await guard_secrets(gateway, spec)
    else:
        await _guard_volumes(gateway, sorted({volume.name for volume in spec.volumes}))
    return None


async def _guard_volumes(gateway: Gateway, names: list[str]) -> None:
    """Only operators read this sentence, so it has the volume's name."""
    found = await asyncio.gather(*map(gateway.volumes.guard, names), return_exceptions=True)
    for name, error in zip(names, found, strict=True):
        if isinstance(error, SandboxRefused):
            raise SandboxRefused(error.code, f"{name}: {error.message}")
        if error is not None:
            raise error
