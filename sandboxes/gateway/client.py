"""The gateway itself: sandboxes as Daytona's own API knows them."""

from __future__ import annotations

import asyncio
import json
import logging
import re
import time
import warnings
from collections.abc import AsyncGenerator, Awaitable
from contextlib import aclosing, asynccontextmanager
from typing import Any, Final
from urllib.request import getproxies

import aiohttp
import daytona
import daytona_api_client_async
from aiohttp.helpers import netrc_from_env
from django.conf import settings

from sandboxes.errors import (
    KeyRefused,
    SandboxBuilding,
    SandboxError,
    SandboxesOff,
    SandboxFailed,
    SandboxMissing,
    SandboxRefused,
    SandboxUnavailable,
)
from sandboxes.gateway.build_logs import BuildLogs, failure
from sandboxes.gateway.refusals import missing_in_words, refused
from sandboxes.gateway.snapshots import Snapshots, snapshot_rights
from sandboxes.gateway.toolbox import Sandbox, Toolbox
from sandboxes.gateway.translation import BoundedResponse, fetch, past_breaker
from sandboxes.gateway.values import LIFECYCLE_S, REQUEST_S, Document, Page
from sandboxes.gateway.vault import Vault
from sandboxes.gateway.volumes import Volumes
from taskhub.lib.event_loops import keep_open, lasts
from taskhub.lib.per_loop import PerLoop
from taskhub.models import SandboxSize

log = logging.getLogger(__name__)

PAGE_LIMIT: Final = 200
_CALLS_AT_ONCE: Final = 100
_KEEPALIVE_S: Final = 4.0
"""Shorter than servers have it (Node's default is 5 s): a POST must not meet a connection that is just being closed."""
_FAILED: Final = frozenset({"error", "destroyed", "destroying"})
_BUILDING: Final = frozenset({"pending_build", "building_snapshot", "pulling_snapshot"})
_ON_ITS_WAY: Final = _BUILDING | {"creating", "starting", "restoring"}
_NOT_TO_START: Final = _ON_ITS_WAY | {"build_failed"}
"""Daytona would refuse to start it, whatever became of it."""
_BUILDING_S: Final = 15.0
"""How long one try waits for an image; then its caller may look whether it is still wanted."""
_POLL_S: Final = 0.1
_POLL_MOST_S: Final = 1.0
_DID_NOT_START: Final = re.compile(r"\bsandbox failed to start\b", re.IGNORECASE)
_NOT_MADE: Final = "The sandbox service refused to make the sandbox; operators read its reason."
_SKIP_ACTIVITY: Final = "X-Daytona-Skip-Last-Activity-Update"


class Gateway:
    """Daytona, in the hub's words. Made by `open_gateway`."""

    def __init__(self, client: daytona.AsyncDaytona) -> None:
        self._client = client

    @property
    def vault(self) -> Vault:
        return Vault(daytona_api_client_async.SecretApi(self._client._api_client))  # noqa: SLF001 - see `_api`

    @property
    def snapshots(self) -> Snapshots:
        api = daytona_api_client_async.SnapshotsApi(self._client._api_client)  # noqa: SLF001 - see `_api`
        return Snapshots(api, BuildLogs(self._client).tail)

    @property
    def volumes(self) -> Volumes:
        return Volumes(daytona_api_client_async.VolumesApi(self._client._api_client))  # noqa: SLF001 - see `_api`

    # What is shown: Daytona's own documents.

    async def document(self, id_or_name: str) -> Document:
        """The sandbox as it is now. Raises SandboxMissing."""
        with past_breaker():
            request = self._api.get_sandbox_without_preload_content(id_or_name, _request_timeout=REQUEST_S)
            return await _fetch_sandbox(request)

    async def page(self, cursor: str | None = None, *, limit: int = PAGE_LIMIT) -> Page:
        """A page of all sandboxes, the most recently active first; up to 200. What it shows may be a little old."""
        with past_breaker():
            request = self._api.list_sandboxes_without_preload_content(
                cursor=cursor, limit=limit, _request_timeout=REQUEST_S
            )
            found = await fetch("sandbox", request)
            if not isinstance(found, dict) or not all(map(_is_sandbox, found.get("items") or [])):
                raise SandboxUnavailable
        return Page(list(found.get("items") or []), found.get("nextCursor") or None)

    async def labelled(self, labels: dict[str, str]) -> Document | None:
        """The sandbox that has these labels, if the list shows one; it may be a little behind."""
        with past_breaker():
            request = self._api.list_sandboxes_without_preload_content(
                labels=json.dumps(labels), limit=1, _request_timeout=REQUEST_S
            )
            found = await fetch("sandbox", request)
        items = found.get("items") if isinstance(found, dict) else None
        return items[0] if items and _is_sandbox(items[0]) else None

    async def create(self, fields: Document) -> Document:
        """Make a sandbox from Daytona's own creation fields. It may still be starting when this returns."""
        with past_breaker():
            request = self._api.create_sandbox_without_preload_content(
                daytona_api_client_async.CreateSandbox.from_dict({"target": settings.DAYTONA_TARGET or None, **fields}),
                _request_timeout=LIFECYCLE_S,
            )
            return await _fetch_sandbox(request)

    async def start(self, id_or_name: str) -> Document:
        """Ask for the start; the document says `starting` or `started`."""
        with past_breaker():
            request = self._api.start_sandbox_without_preload_content(id_or_name, _request_timeout=LIFECYCLE_S)
            return await _fetch_sandbox(request)

    async def stop(self, id_or_name: str) -> Document:
        """Ask for the stop; the document says `stopping` or `stopped`."""
        with past_breaker():
            request = self._api.stop_sandbox_without_preload_content(id_or_name, _request_timeout=LIFECYCLE_S)
            return await _fetch_sandbox(request)

    async def delete(self, id_or_name: str) -> Document:
        """Ask for the end; the document says `destroying`. Raises SandboxMissing."""
        with past_breaker():
            request = self._api.delete_sandbox_without_preload_content(id_or_name, _request_timeout=LIFECYCLE_S)
            return await _fetch_sandbox(request)

    async def keep_as_snapshot(self, id_or_name: str, name: str) -> None:
        """Ask for a snapshot of a stopped sandbox. Raises SandboxMissing; SandboxRefused `snapshots_forbidden`."""
        body = daytona_api_client_async.CreateSandboxSnapshot.from_dict({"name": name})
        request = self._api.create_sandbox_snapshot_without_preload_content(
            id_or_name, body, _request_timeout=LIFECYCLE_S
        )
        with past_breaker(), snapshot_rights("lacks the right write:snapshots"):
            await _fetch_sandbox(request)

    async def close_network(self, id_or_name: str) -> None:
        """Nothing goes in or out any more, but for Daytona's own toolbox. Raises SandboxError."""
        # By `from_dict`: the SDK's constructor drops names as the API has them, without a word.
        body = daytona_api_client_async.UpdateSandboxNetworkSettings.from_dict({"networkBlockAll": True})
        with past_breaker():
            request = self._api.update_network_settings_without_preload_content(
                id_or_name, body, _request_timeout=LIFECYCLE_S
            )
            document = await _fetch_sandbox(request)
        if document.get("networkBlockAll") is not True:
            raise SandboxRefused("network_not_closed", "The sandbox service says that it is still open.")

    async def build_log(self, id_or_name: str, *, follow: bool) -> AsyncGenerator[bytes, None]:
        """The text of the build of the sandbox's image, with `follow` until it has ended. Raises SandboxError."""
        async with aclosing(BuildLogs(self._client).text(self._build_log_of(id_or_name), follow=follow)) as chunks:
            async for chunk in chunks:
                yield chunk

    def _build_log_of(self, id_or_name: str) -> Any:
        return self._api.get_build_logs_url_without_preload_content(id_or_name, _request_timeout=REQUEST_S)

    def toolbox(self, sandbox_id: str, toolbox_url: str) -> Toolbox:
        """The sandbox's toolbox by its known address, without a request."""
        return Toolbox.at(self._client, sandbox_id, toolbox_url)

    def toolbox_of(self, document: Document) -> Toolbox:
        """The toolbox of a sandbox that was read just now."""
        return self.toolbox(str(document["id"]), str(document.get("toolboxProxyUrl", "")))

    # What executions run in: waits until it is so.

    async def sandbox_get(self, id_or_name: str) -> Sandbox:
        """Raises SandboxMissing."""
        return await self._sandbox(await self.document(id_or_name))

    async def sandbox_create(
        self, *, name: str, labels: dict[str, str], ttl_minutes: int, fields: Document | None = None
    ) -> tuple[Sandbox, bool]:
        """A started sandbox of this name, and whether it is new; the one that has the name already, if there is one.

        `fields` are further ones of Daytona's, as `snapshot`. Raises SandboxBuilding while its image is built;
        SandboxFailed for one that did not start, which is deleted: another one may.

        It never stops by itself while a script runs; after `ttl_minutes` Daytona destroys it whatever became of us.
        """
        ours = {"name": name, "labels": labels, "autoStopInterval": 0, "ttlMinutes": ttl_minutes}
        return await self._created({**(fields or {}), **ours})

    async def _discard(self, id_or_name: str) -> None:
        """Delete one that did not start, if it can be."""
        try:
            await self.sandbox_delete(id_or_name)
        except SandboxError as error:
            log.info("sandbox %s, which did not start, is not deleted: %s", id_or_name, error.code)

    async def _created(self, fields: Document) -> tuple[Sandbox, bool]:
        try:
            document = await self.create(fields)
        except SandboxMissing as error:
            raise _not_made_of(fields, error.detail) from None
        except SandboxRefused as error:
            if error.code == "sandbox_conflict":
                return await self._found(str(fields["name"])), False
            if error.code != "sandbox_refused":
                raise
            if _DID_NOT_START.search(error.detail):
                await self._discard(str(fields["name"]))
                raise SandboxFailed().saying(error.detail) from None
            raise SandboxRefused(error.code, _NOT_MADE).saying(error.detail) from None
        try:
            return await self._started(document), True
        except SandboxFailed:
            # By its id: the name may be that of another one by now.
            await self._discard(str(document["id"]))
            raise

    async def _found(self, name: str) -> Sandbox:
        """What an earlier try has made. Raises SandboxRefused for one that Daytona would not start any more: whether
        the script has run in it is not known, so there is no other one."""
        try:
            document = await self.document(name)
        except SandboxMissing as error:
            raise SandboxUnavailable from error  # it has gone meanwhile: the next try makes one
        if document.get("state") == "error":
            words = "The sandbox that was made for this is in an error; operators read its reason."
            raise SandboxRefused("sandbox_failed", words).saying(failure(document))
        return await self._sandbox(document)

    async def sandbox_start(self, sandbox: Sandbox) -> Sandbox:
        """Started when it returns, whatever it was before. Raises SandboxError."""
        if sandbox.is_started:
            return sandbox
        if sandbox.state in _NOT_TO_START:
            return await self._started(await self.document(sandbox.id))
        return await self._started(await self.start(sandbox.id))

    async def _started(self, document: Document) -> Sandbox:
        """Raises SandboxFailed; SandboxUnavailable where it takes too long; SandboxBuilding."""
        sandbox_id, began = document["id"], time.monotonic()
        pause_s = 0.0  # Daytona answers with the state before the start, though it holds the answer until after it
        try:
            async with asyncio.timeout(LIFECYCLE_S):
                while document.get("state") != "started":
                    if document.get("state") == "build_failed":
                        tail = await BuildLogs(self._client).tail(self._build_log_of(sandbox_id))
                        log.warning("the image of sandbox %s is not built: %s", sandbox_id, failure(document))
                        raise refused("sandbox_build_failed").saying(failure(document, tail))
                    if document.get("state") in _BUILDING and time.monotonic() - began > _BUILDING_S:
                        raise SandboxBuilding
                    if document.get("state") in _FAILED:
                        log.warning("sandbox %s does not start: %s", sandbox_id, failure(document))
                        raise SandboxFailed().saying(failure(document))
                    await asyncio.sleep(pause_s)
                    document = await self.document(sandbox_id)
                    pause_s = min(pause_s + _POLL_S, _POLL_MOST_S)
        except TimeoutError:
            raise SandboxUnavailable from None
        return await self._sandbox(document)

    async def _sandbox(self, document: Document) -> Sandbox:
        sandbox_id, url = str(document["id"]), document.get("toolboxProxyUrl")
        if not url:
            with past_breaker():
                request = self._api.get_toolbox_proxy_url_without_preload_content(
                    sandbox_id, _request_timeout=REQUEST_S
                )
                found = await fetch("sandbox", request)
                url = found.get("url") if isinstance(found, dict) else None
                if not isinstance(url, str):
                    raise SandboxUnavailable
        reason, name = str(document.get("errorReason") or ""), str(document.get("name") or "")
        toolbox, size = self.toolbox(sandbox_id, str(url)), SandboxSize.read(document)
        return Sandbox(sandbox_id, str(document.get("state")), str(url), toolbox, reason, size, name)

    async def sandbox_delete(self, id_or_name: str) -> None:
        """What is gone already is no error. Raises SandboxUnavailable while its state changes, as in a build."""
        try:
            await self.delete(id_or_name)
        except SandboxMissing:
            return
        except SandboxRefused as error:
            if error.code == "sandbox_conflict":
                raise SandboxUnavailable from None
            raise

    @property
    def _api(self) -> Any:
        """The SDK's generated client of Daytona's API: it hands out answers as they are, before its models."""
        return self._client._sandbox_api  # noqa: SLF001 - the SDK has no public way to Daytona's own JSON


def _not_made_of(fields: Document, said: str) -> SandboxRefused:
    """For a 404 of a creation: what is missing is named in words alone."""
    if (missing := missing_in_words(said)) is not None:
        return missing
    if fields.get("snapshot"):
        return refused("snapshot_not_found").saying(said)
    return SandboxRefused("sandbox_refused", _NOT_MADE).saying(said)


async def _fetch_sandbox(request: Awaitable[aiohttp.ClientResponse]) -> Document:
    """Raises SandboxError; SandboxUnavailable for what is no sandbox, so that one odd answer spoils no other."""
    found = await fetch("sandbox", request)
    if not _is_sandbox(found):
        raise SandboxUnavailable
    sandbox: Document = found
    return sandbox


def _is_sandbox(found: Any) -> bool:
    return isinstance(found, dict) and isinstance(found.get("id"), str)


@asynccontextmanager
async def opened(*, watching: bool) -> AsyncGenerator[Gateway, None]:
    """As `open_gateway`, where the SDK is loaded."""
    if lasts():
        yield await _kept_gateway(watching=watching)
    else:
        async with _opened(watching=watching) as gateway:
            yield gateway


_kept: Final[PerLoop[dict[bool, Gateway]]] = PerLoop(dict)


async def _kept_gateway(*, watching: bool) -> Gateway:
    kept = _kept.get()
    if watching not in kept:
        # Nothing waits until the gateway stands, so no other caller opens a second one meanwhile.
        kept[watching] = await keep_open().enter_async_context(_opened(watching=watching))
        keep_open().callback(kept.pop, watching)
    return kept[watching]


@asynccontextmanager
async def _opened(*, watching: bool) -> AsyncGenerator[Gateway, None]:
    """A gateway of its own. Raises KeyRefused without a key, SandboxesOff where there is a reason to have none."""
    if not settings.DAYTONA_API_KEY:
        raise SandboxesOff(settings.TASKHUB_SANDBOXES_OFF) if settings.TASKHUB_SANDBOXES_OFF else KeyRefused
    config = daytona.DaytonaConfig(
        api_key=settings.DAYTONA_API_KEY,
        api_url=settings.DAYTONA_API_URL,
        target=settings.DAYTONA_TARGET or None,
        use_deprecated_polling=True,
        connection_pool_maxsize=_connections(),
    )
    with warnings.catch_warnings():
        # The SDK calls it deprecated to go without its socket.io connection; the hub's own polls are its truth.
        warnings.filterwarnings("ignore", message="Polling-only mode", category=DeprecationWarning)
        client = daytona.AsyncDaytona(config)
    if watching:
        # reference: the proxy in front of a sandbox takes every request, and every open websocket, for activity.
        client._toolbox_api_client.default_headers[_SKIP_ACTIVITY] = "true"  # noqa: SLF001 - the SDK has no option for it
    async with client:
        client._shared_session._adopt(_session(client))  # noqa: SLF001 - as above
        yield Gateway(client)


def _session(client: daytona.AsyncDaytona) -> aiohttp.ClientSession:
    """As the SDK makes it, but for cookies (one that a sandbox sets must not go to all others behind the same host),
    and for the length of answers."""
    connector = aiohttp.TCPConnector(
        limit=_connections(),
        keepalive_timeout=_KEEPALIVE_S,
        ssl=client._api_client.rest_client.ssl_context,  # noqa: SLF001 - as above
    )
    return aiohttp.ClientSession(
        connector=connector,
        cookie_jar=aiohttp.DummyCookieJar(),
        trust_env=_environment_counts(),
        response_class=BoundedResponse,
    )


def _environment_counts() -> bool:
    """Whether there is a proxy, or a netrc file, to honour: aiohttp would look for both on every request."""
    return bool(getproxies()) or netrc_from_env() is not None


def _connections() -> int:
    """Every log that is followed holds one, and there are no more of them than streams; the rest is for short calls."""
    return int(settings.TASKHUB_STREAM_LIMIT) + _CALLS_AT_ONCE
