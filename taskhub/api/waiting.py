"""Long polling: `wait_s` answers when something has changed, or at the limit with `timed_out: true`.

While it waits a request holds no thread and no database connection: it looks once, and the event loop waits for an
event of the hub's own feed before the next look. REST's views and the tools over MCP share this.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any, Final, Protocol

from asgiref.sync import async_to_sync
from django.contrib.auth.models import User
from django.http import HttpRequest, HttpResponse
from rest_framework import serializers
from rest_framework.request import Request
from rest_framework.response import Response

from taskhub.api.authentication import has_expired
from taskhub.api.awaited import AwaitedResponse
from taskhub.api.callers import caller_key
from taskhub.api.query import QuerySerializer
from taskhub.api.stream_view import running_hub
from taskhub.auth.backends import account_get
from taskhub.errors import HOW_TO_AUTHENTICATE, HubError, NotAuthenticated
from taskhub.events.channels import TASKS
from taskhub.events.filters import Filters
from taskhub.events.open_streams import Slot, registry
from taskhub.events.stream import ClientGone
from taskhub.lib.cancellation import cancel_all
from taskhub.models import ApiToken
from taskhub.roles import Caller
from taskhub.web.detached_response import Receive, Send
from taskhub.web.thread_pool import with_database, with_database_writing

LONGEST_S: Final = 50
_SLICE_S: Final = 1.0
"""How soon a process that ends answers those who wait."""
TOGETHER_S: Final = 0.1
"""Events that come together are one look."""


class WaitQuerySerializer(QuerySerializer):
    wait_s = serializers.IntegerField(
        min_value=0,
        max_value=LONGEST_S,
        default=0,
        help_text="Answer only when there is something new, after at most so many seconds: then with the present "
        "state and `timed_out: true`.",
    )


@dataclass(frozen=True, slots=True)
class Seen:
    """The present state: what is answered, and the `mark` by which a change shows. `about` is the row of it."""

    data: Mapping[str, Any]
    mark: Any
    headers: dict[str, str] = field(default_factory=dict)
    about: Any = None


Look = Callable[[Caller], Seen]
Changed = Callable[[Any, Any], bool]


@dataclass(frozen=True, slots=True)
class Waiter:
    """Who waits: the account and token of the request, and the key by which its streams are counted."""

    user: Caller
    token: ApiToken | None
    key: str

    def now(self) -> Caller:
        """The caller as the account is now: a wait outlives no credentials. Raises NotAuthenticated."""
        if not isinstance(self.user, User) or not self.user.pk:
            return self.user
        token_role = ""
        if self.token is not None:
            kept = ApiToken.objects.filter(digest=self.token.digest).first()
            if kept is None or has_expired(kept):
                raise NotAuthenticated(HOW_TO_AUTHENTICATE)
            token_role = kept.role
        found = account_get(self.user.pk, token_role=token_role)
        if found is None:
            raise NotAuthenticated(HOW_TO_AUTHENTICATE)
        return found


# --- Signals: when it is worth looking again ----------------------------------------------------------------


class Signals(Protocol):
    """`next` returns when it is worth looking again. From its making on it misses nothing."""

    async def next(self) -> None: ...

    async def close(self) -> None: ...


class FeedSignals:
    """The events of the hub's feed that `events` selects. Events that come together are one signal."""

    def __init__(self, cursor: int, events: Filters, *, together_s: float = TOGETHER_S) -> None:
        self._cursor = cursor
        self._filters = events
        self._together_s = together_s
        self._following: AsyncGenerator[bytes, None] | None = None

    async def next(self) -> None:
        if self._following is None:
            feed = await running_hub().feed(TASKS)
            self._following = feed.follow(self._cursor, self._filters)
        await anext(self._following)
        await asyncio.sleep(self._together_s)

    async def close(self) -> None:
        if self._following is not None:
            await self._following.aclose()


def feed_signals(events: Filters, together_s: float = TOGETHER_S) -> Callable[[], Awaitable[Signals]]:
    """The signals of a wait, as `waiting` takes them: events of the feed from now on.

    Made before the first look, so that no event falls between.
    """

    async def joined() -> Signals:
        head = (await running_hub().feed(TASKS)).head
        return FeedSignals(head, events, together_s=together_s)

    return joined


# --- A wait on the event loop -------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Wait:
    """A caller that waits, with its place among the streams. `gone` is set when its client has gone away.

    `writes`: a look may change something, as that of a claim does.
    """

    who: Waiter
    signals: Signals
    wait_s: int
    gone: asyncio.Event | None = None
    writes: bool = False

    async def until(self, look: Look, changed: Callable[[Any], bool]) -> tuple[Seen, bool]:
        """The state when something has changed, or at the limit; and whether it is the limit.

        A look is never interrupted by the limit: what it changed would be lost. Raises what `look` raises,
        NotAuthenticated, and ClientGone.
        """
        limit = asyncio.get_running_loop().time() + self.wait_s
        while await self._is_signalled(limit):
            seen = await self._look(look)
            if changed(seen.mark):
                return seen, False
        seen = await self._look(look)
        return seen, not changed(seen.mark)

    async def _look(self, look: Look) -> Seen:
        on_thread = with_database_writing if self.writes else with_database
        return await on_thread(lambda: look(self.who.now()))

    async def _is_signalled(self, limit: float) -> bool:
        """True when it is worth looking again; False at the limit, and when the process ends. Raises ClientGone."""
        loop = asyncio.get_running_loop()
        coming = asyncio.ensure_future(self.signals.next())
        watched = {coming}
        if self.gone is not None:
            watched.add(asyncio.ensure_future(_set(self.gone)))
        try:
            while not registry.leaving and (left_s := limit - loop.time()) > 0:
                await asyncio.wait(watched, timeout=min(left_s, _SLICE_S), return_when=asyncio.FIRST_COMPLETED)
                if self.gone is not None and self.gone.is_set():
                    raise ClientGone
                if coming.done():
                    await coming
                    return True
            return False
        finally:
            await cancel_all(*watched)


async def _set(event: asyncio.Event) -> None:
    await event.wait()


@asynccontextmanager
async def waiting(
    who: Waiter,
    wait_s: int,
    signals: Callable[[], Awaitable[Signals]],
    *,
    gone: asyncio.Event | None = None,
    writes: bool = False,
) -> AsyncIterator[Wait]:
    """A wait that has a place among the streams, and misses nothing that happens from now on.

    Raises Unavailable (503) and TooManyStreams (429).
    """
    slot = registry.admit(who.key)
    try:
        joined = await signals()
        try:
            yield Wait(who, joined, wait_s, gone=gone, writes=writes)
        finally:
            await joined.close()
    finally:
        slot.release()


def seen_data(seen: Seen, *, timed_out: bool) -> dict[str, Any]:
    return {**seen.data, "timed_out": timed_out}


# --- REST ---------------------------------------------------------------------------------------------------


def wait_for_change(
    request: Request,
    look: Look,
    *,
    changed: Changed,
    events: Filters,
    wait_s: int,
    together_s: float = TOGETHER_S,
) -> HttpResponse:
    """Answer at once if `changed(first mark, present mark)` holds already or nothing is to be waited for.

    `events` says after which events it is worth looking again. Raises what `look` raises; and, since a wait counts as a
    stream, Unavailable (503) and TooManyStreams (429).
    """
    if not wait_s:
        seen = look(request.user)
        return Response(seen.data, headers=seen.headers)
    signals = feed_signals(events, together_s)
    return wait_for_signals(request, look, changed=changed, signals=signals, wait_s=wait_s)


def wait_for_signals(
    request: Request,
    look: Look,
    *,
    changed: Changed,
    signals: Callable[[], Awaitable[Signals]],
    wait_s: int,
    writes: bool = False,
) -> HttpResponse:
    """Likewise, whatever says when it is worth looking again. An error in `about` at the end is the answer."""
    # Before the first look, so that nothing falls between. Both are for the loop, which alone touches them.
    joined = async_to_sync(signals)()
    try:
        first = look(request.user)
        if changed(first.mark, first.mark):
            async_to_sync(joined.close)()
            return _answer(first, timed_out=False)
        django_request = request._request  # noqa: SLF001 - DRF's name for Django's request
        token = request.auth if isinstance(request.auth, ApiToken) else None
        who = Waiter(request.user, token, caller_key(django_request, request.user))
        slot = async_to_sync(_admit)(who.key)
    except BaseException:
        async_to_sync(joined.close)()
        raise
    wait = Wait(who, joined, wait_s, gone=asyncio.Event(), writes=writes)
    return WaitingResponse(django_request, wait, look, lambda mark: changed(first.mark, mark), slot)


def _answer(seen: Seen, *, timed_out: bool) -> Response:
    if isinstance(seen.about, HubError):
        raise seen.about
    return Response(seen_data(seen, timed_out=timed_out), headers=seen.headers)


async def _admit(key: str) -> Slot:
    return registry.admit(key)


class WaitingResponse(AwaitedResponse):
    """Its places in the line and among the streams are free when it has been sent, or its client has gone."""

    measures_itself = False  # how long a client wanted to wait says nothing about us

    def __init__(
        self, request: HttpRequest, wait: Wait, look: Look, changed: Callable[[Any], bool], slot: Slot
    ) -> None:
        super().__init__(request, self._waited)
        self._wait, self._look, self._changed, self._slot = wait, look, changed, slot

    async def _waited(self) -> Response:
        try:
            seen, timed_out = await self._wait.until(self._look, self._changed)
        except ClientGone:
            return Response({})  # it is not sent
        return _answer(seen, timed_out=timed_out)

    async def run(self, receive: Receive, send: Send) -> None:
        async def watched() -> Mapping[str, Any]:
            message = await receive()
            if message["type"] == "http.disconnect" and self._wait.gone is not None:
                self._wait.gone.set()
            return message

        try:
            await super().run(watched, send)
        finally:
            self._slot.release()
            await self._wait.signals.close()
