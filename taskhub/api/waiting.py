"""Long polling: `?wait_s=` answers when something has changed, or at the limit with `timed_out: true`.

While it waits a request holds no thread and no database connection: the view looks once, and the event loop waits for
an event of the hub's own feed before the next look.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping
from contextlib import aclosing
from dataclasses import dataclass, field
from typing import Any, Final

from asgiref.sync import async_to_sync
from django.contrib.auth.models import User
from django.http import HttpResponse
from rest_framework import serializers
from rest_framework.request import Request
from rest_framework.response import Response

from taskhub.api.authentication import has_expired
from taskhub.api.awaited import AwaitedResponse
from taskhub.api.callers import caller_key
from taskhub.api.query import QuerySerializer
from taskhub.api.stream_view import running_hub
from taskhub.auth.backends import account_get
from taskhub.errors import HOW_TO_AUTHENTICATE, NotAuthenticated
from taskhub.events.channels import TASKS
from taskhub.events.filters import Filters
from taskhub.events.stream import Slot, registry
from taskhub.lib.cancellation import cancel_all
from taskhub.models import ApiToken
from taskhub.roles import Caller
from taskhub.web.detached_response import Receive, Send
from taskhub.web.thread_pool import with_database

LONGEST_S: Final = 50
_SLICE_S: Final = 1.0
"""How soon a process that ends answers those who wait."""
_TOGETHER_S: Final = 0.1
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
    """The present state: what is answered, and the `mark` by which a change shows."""

    data: Mapping[str, Any]
    mark: Any
    headers: dict[str, str] = field(default_factory=dict)


Look = Callable[[Caller], Seen]
Changed = Callable[[Any, Any], bool]


def wait_for_change(request: Request, look: Look, *, changed: Changed, events: Filters, wait_s: int) -> HttpResponse:
    """Answer at once if `changed(first mark, present mark)` holds already or nothing is to be waited for.

    `events` says after which events it is worth looking again. Raises what `look` raises; and, since a wait counts as a
    stream, Unavailable (503) and TooManyStreams (429).
    """
    if not wait_s:
        seen = look(request.user)
        return Response(seen.data, headers=seen.headers)
    # Before the first look, so that no event falls between.
    cursor = async_to_sync(_head)()
    first = look(request.user)
    if changed(first.mark, first.mark):
        return Response(seen_data(first, timed_out=False), headers=first.headers)
    key = caller_key(request._request, request.user)  # noqa: SLF001 - DRF's name for Django's request
    slot = async_to_sync(_admit)(key)
    wait = _Wait(request, look, lambda mark: changed(first.mark, mark), events, cursor, wait_s)
    return WaitingResponse(wait, slot.release)


async def _head() -> int:
    return (await running_hub().feed(TASKS)).head


async def _admit(key: str) -> Slot:
    """On the loop, which alone touches the registry."""
    return registry.admit(key)


def seen_data(seen: Seen, *, timed_out: bool) -> dict[str, Any]:
    return {**seen.data, "timed_out": timed_out}


@dataclass(frozen=True, slots=True)
class _Wait:
    request: Request
    look: Look
    changed: Callable[[Any], bool]
    events: Filters
    cursor: int
    wait_s: int

    async def result(self) -> Response:
        """The answer, or the error, for when something has changed or the time is over."""
        try:
            async with asyncio.timeout(self.wait_s):
                return await self._until_changed()
        except TimeoutError:
            return await self._present()
        except _Leaving:
            return await self._present()

    async def _present(self) -> Response:
        response: Response = await with_database(self._look, False)
        return response

    async def _until_changed(self) -> Response:
        feed = await running_hub().feed(TASKS)
        async with aclosing(feed.follow(self.cursor, self.events)) as events:
            coming = asyncio.ensure_future(anext(events))
            try:
                while True:
                    done, _ = await asyncio.wait({coming}, timeout=_SLICE_S)
                    if registry.leaving:
                        raise _Leaving
                    if not done:
                        continue
                    coming = asyncio.ensure_future(anext(events))
                    await asyncio.sleep(_TOGETHER_S)
                    response: Response | None = await with_database(self._look, True)
                    if response is not None:
                        return response
            finally:
                await cancel_all(coming)

    def _look(self, only_changed: bool) -> Any:
        """With the caller as the account is now: a wait outlives no credentials."""
        seen = self.look(_caller_now(self.request))
        changed = self.changed(seen.mark)
        if only_changed and not changed:
            return None
        return Response(seen_data(seen, timed_out=not changed), headers=seen.headers)


class _Leaving(Exception):
    """The process ends."""


def _caller_now(request: Request) -> Caller:
    """Raises NotAuthenticated if the token or the account is no longer what it was."""
    user: Caller = request.user
    if not isinstance(user, User) or not user.pk:
        return user
    token = request.auth
    token_role = ""
    if isinstance(token, ApiToken):
        kept = ApiToken.objects.filter(digest=token.digest).first()
        if kept is None or has_expired(kept):
            raise NotAuthenticated(HOW_TO_AUTHENTICATE)
        token_role = kept.role
    found = account_get(user.pk, token_role=token_role)
    if found is None:
        raise NotAuthenticated(HOW_TO_AUTHENTICATE)
    return found


class WaitingResponse(AwaitedResponse):
    """Its place among the streams is free again when it has been sent, or its client has gone."""

    measures_itself = False  # how long a client wanted to wait says nothing about us

    def __init__(self, wait: _Wait, release: Callable[[], None]) -> None:
        super().__init__(wait.request._request, wait.result)  # noqa: SLF001 - as above
        self._release = release

    async def run(self, receive: Receive, send: Send) -> None:
        try:
            await super().run(receive, send)
        finally:
            self._release()
