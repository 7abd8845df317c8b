"""What an environment names at the sandbox service: looked up again at each start."""

from __future__ import annotations

import asyncio

from sandboxes.errors import SandboxRefused
from sandboxes.gateway import Gateway
from taskhub.models import EnvironmentSpec


async def guard_secrets(gateway: Gateway, spec: EnvironmentSpec) -> None:
    """Raises SandboxRefused for an entry that the vault has not, or that may be sent to any host and must not."""
    names = sorted(set(spec.secrets.values()))
    found = await gateway.vault.find_all(names) if names else {}
    for name in names:
        entry = found.get(name)
        if entry is None:
            words = f"The vault of the sandbox service has no entry {name}; make it, or change the environment."
            raise SandboxRefused("secret_not_found", words)
        if not entry.get("hosts") and name not in spec.any_host:
            words = (
                f"The entry {name} of the vault may be sent to any host: give it hosts, or name it in any_host of the "
                "environment."
            )
            raise SandboxRefused("secret_without_hosts", words)


async def volume_ids(gateway: Gateway, spec: EnvironmentSpec) -> dict[str, str]:
    """The ids of its volumes, by name, once each can be mounted. Raises VolumeNotReady, SandboxRefused."""
    names = sorted({volume.name for volume in spec.volumes})
    ids = await asyncio.gather(*(gateway.volumes.ready(name) for name in names))
    return dict(zip(names, ids, strict=True))
