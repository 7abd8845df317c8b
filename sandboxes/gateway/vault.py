"""Daytona's vault: entries whose values a sandbox can use and not read. Values are only written."""

from __future__ import annotations

from collections.abc import Awaitable, Collection, Iterator
from contextlib import contextmanager
from typing import Any, Final

import aiohttp
import daytona_api_client_async

from sandboxes.errors import SandboxMissing, SandboxRefused, SandboxUnavailable
from sandboxes.gateway.translation import fetch, past_breaker
from sandboxes.gateway.values import REQUEST_S, Document, EntryPage

PAGE_LIMIT: Final = 200
_PAGES_MOST: Final = 50
_SHOWN: Final = ("name", "description", "hosts", "createdAt", "updatedAt")


class Vault:
    """Entries are found by their names. A key without the right is a SandboxRefused that names it."""

    def __init__(self, api: Any) -> None:
        self._api = api

    async def page(self, *, cursor: str | None = None, limit: int = PAGE_LIMIT, name: str | None = None) -> EntryPage:
        """Entries, the newest first; `name` is a part of theirs. Raises SandboxError."""
        request = self._api.list_secrets_paginated_without_preload_content(
            cursor=cursor, limit=limit, name=name, _request_timeout=REQUEST_S
        )
        found = await _ask(request)
        items = found.get("items") if isinstance(found, dict) else None
        if not isinstance(items, list) or not all(map(_is_entry, items)):
            raise SandboxUnavailable
        return EntryPage([_shown(item) for item in items], found.get("nextCursor") or None)

    async def find(self, name: str) -> Document:
        """The entry of this name. Raises SandboxMissing."""
        return _shown(await self._entry(name))

    async def find_all(self, names: Collection[str]) -> dict[str, Document]:
        """Those of these names that are there."""
        part = next(iter(names)) if len(names) == 1 else None
        found: dict[str, Document] = {}
        cursor: str | None = None
        for _ in range(_PAGES_MOST):
            page = await self.page(cursor=cursor, name=part)
            found |= {entry["name"]: entry for entry in page.items if entry["name"] in names}
            cursor = page.next_cursor
            if cursor is None or len(found) == len(names):
                break
        return found

    async def create(self, *, name: str, value: str, hosts: Collection[str], description: str = "") -> Document:
        """Raises SandboxRefused `secret_exists`."""
        fields = {"name": name, "value": value, "hosts": list(hosts), "description": description}
        body = daytona_api_client_async.CreateSecret.from_dict(fields)
        try:
            request = self._api.create_secret_without_preload_content(body, _request_timeout=REQUEST_S)
            return _shown(_checked(await _ask(request)))
        except SandboxRefused as error:
            if error.code != "secret_conflict":
                raise
            words = "The vault has an entry of this name already: change that one, or choose another name."
            raise SandboxRefused("secret_exists", words) from None

    async def update(self, name: str, fields: Document) -> Document:
        """Change `value`, `hosts` or `description`. Raises SandboxMissing."""
        body = daytona_api_client_async.UpdateSecret.from_dict(fields)
        entry = await self._entry(name)
        request = self._api.update_secret_without_preload_content(entry["id"], body, _request_timeout=REQUEST_S)
        return _shown(_checked(await _ask(request)))

    async def delete(self, name: str) -> None:
        """Raises SandboxMissing."""
        entry = await self._entry(name)
        await _ask(self._api.delete_secret_without_preload_content(entry["id"], _request_timeout=REQUEST_S))

    async def _entry(self, name: str) -> Document:
        """Daytona's own document: it finds by a part of the name, so this looks for the whole one."""
        cursor: str | None = None
        for _ in range(_PAGES_MOST):
            request = self._api.list_secrets_paginated_without_preload_content(
                cursor=cursor, limit=PAGE_LIMIT, name=name, _request_timeout=REQUEST_S
            )
            found = await _ask(request)
            if not isinstance(found, dict):
                raise SandboxUnavailable
            for item in found.get("items") or []:
                if _is_entry(item) and item["name"] == name:
                    return dict(item)
            cursor = found.get("nextCursor")
            if not cursor:
                break
        raise SandboxMissing("secret")


async def _ask(request: Awaitable[aiohttp.ClientResponse]) -> Any:
    with past_breaker(), _rights():
        return await fetch("secret", request)


@contextmanager
def _rights() -> Iterator[None]:
    try:
        yield
    except SandboxRefused as error:
        if error.code != "sandbox_forbidden":
            raise
        words = "The hub's key at the sandbox service lacks the right manage:secrets; give it, or use no secrets."
        raise SandboxRefused("secrets_forbidden", words) from None


def _checked(found: Any) -> Document:
    if not _is_entry(found):
        raise SandboxUnavailable
    return dict(found)


def _shown(entry: Document) -> Document:
    """Without the placeholder, which scripts find in their environment, and without all that is not known."""
    return {name: entry.get(name) for name in _SHOWN}


def _is_entry(found: Any) -> bool:
    return isinstance(found, dict) and isinstance(found.get("id"), str) and isinstance(found.get("name"), str)
