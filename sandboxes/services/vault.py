"""Entries of the sandbox service's vault: made, changed and deleted through the hub, which keeps nothing of them.

Values are only passed on. The audit has who changed which entry, and its hosts.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from typing import Any, Final

from sandboxes.gateway import Document, EntryPage, open_gateway
from taskhub.auth.actor import Actor
from taskhub.services.audit import audit_write
from taskhub.web.thread_pool import with_database_writing

VALUE_LIMIT: Final = 32 * 1024
"""Characters of a value."""
HOSTS_MOST: Final = 50
HOST_PATTERN: Final = r"^(?:\*\.)?(?:[a-z0-9](?:[a-z0-9-]{0,61}[a-z0-9])?\.)*[a-z0-9](?:[a-z0-9-]{0,61}[a-z0-9])?$"


async def secret_page(*, cursor: str | None, limit: int) -> EntryPage:
    """Names, hosts and times of the entries, the newest first. Raises SandboxError."""
    async with open_gateway(watching=True) as gateway:
        return await gateway.vault.page(cursor=cursor, limit=limit)


async def secret_get(*, name: str) -> Document:
    """Raises SandboxMissing."""
    async with open_gateway(watching=True) as gateway:
        return await gateway.vault.find(name)


async def secret_create(
    *, actor: Actor, name: str, value: str, hosts: Sequence[str], description: str = ""
) -> Document:
    """Raises SandboxRefused for a name that is taken, and for a key without the right."""
    async with open_gateway() as gateway:
        made = await gateway.vault.create(name=name, value=value, hosts=hosts, description=description)
    await _audit(actor, "create", name, {"hosts": [None, made["hosts"]]})
    return made


async def secret_update(*, actor: Actor, name: str, **fields: Any) -> Document:
    """Change `value`, `hosts` or `description`: sandboxes that run go on with the entry as it is then.

    Raises SandboxMissing.
    """
    async with open_gateway() as gateway:
        changed = await gateway.vault.update(name, fields)
    hosts = {"hosts": [None, changed["hosts"]]} if "hosts" in fields else {}
    await _audit(actor, "update", name, {"fields": [None, sorted(fields)], **hosts})
    return changed


async def secret_delete(*, actor: Actor, name: str) -> None:
    """Raises SandboxMissing."""
    async with open_gateway() as gateway:
        await gateway.vault.delete(name)
    await _audit(actor, "delete", name, {})


async def _audit(actor: Actor, verb: str, name: str, changes: dict[str, list[Any]]) -> None:
    write = partial(audit_write, actor=actor, action=f"secret:{verb}", subject=f"secret:{name}", changes=changes)
    await with_database_writing(write)
