"""Tokens of clients that open streams, looked up together.

When a process restarts, all its clients come back at once. Each look into the database takes all tokens that came
since the last one began: one turn of a thread, and a query for each token, however many streams it opens. Between two
looks there is a rest, so that there are some; a token after a time without any does not wait.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Collection
from typing import Final

from django.contrib.auth.models import User
from django.http import HttpRequest

from taskhub.api.authentication import has_expired, token_find
from taskhub.auth.token_use import tokens_note_use
from taskhub.lib.per_loop import PerLoop
from taskhub.models import ApiToken
from taskhub.observability.log_context import task_for_all
from taskhub.web.thread_pool import waits_here, with_database

REST_S: Final = 0.01
MOST: Final = 200
"""Tokens of a look: some 30 ms."""
log = logging.getLogger(__name__)
Shown = tuple[User, ApiToken]
_BEARER: Final = (b"bearer", 2)


def bearer_token(request: HttpRequest) -> bytes:
    """The token in `Authorization: Bearer …`; empty where the header is missing, or not in this form."""
    words = request.META.get("HTTP_AUTHORIZATION", "").encode("latin-1", "replace").split()
    return words[1] if (words and words[0].lower(), len(words)) == _BEARER else b""


class TokenLookups:
    """The lookups of a loop."""

    def __init__(self) -> None:
        self._turn = asyncio.Lock()
        self._next: _Lookup | None = None
        self._rests_until = 0.0
        self._notes: set[asyncio.Task[None]] = set()

    async def find(self, token: bytes) -> Shown | None:
        """Account and token as a query finds them that begins after this call; None if it opens nothing.

        Raises DatabaseError."""
        if not token:
            return None
        if waits_here():  # the connection of the thread that waits is not shared
            return (await with_database(_find_all, [token]))[token]
        lookup = self._next
        if lookup is None or len(lookup.tokens) >= MOST:
            lookup = self._next = _Lookup()
            lookup.task = task_for_all(self._look(lookup), name="token-lookup")
        lookup.tokens.add(token)
        # Each may be cancelled meanwhile.
        return (await asyncio.shield(lookup.task))[token]

    async def _look(self, lookup: _Lookup) -> dict[bytes, Shown | None]:
        loop = asyncio.get_running_loop()
        async with self._turn:
            await asyncio.sleep(self._rests_until - loop.time())
            if self._next is lookup:
                self._next = None
            try:
                found = await with_database(_find_all, lookup.tokens)
            finally:
                self._rests_until = loop.time() + REST_S
        # No stream waits for it: a row that is locked, or a database that takes no writes, delays none.
        used = [shown[1] for shown in found.values() if shown is not None]
        self._notes.add(note := task_for_all(with_database(tokens_note_use, used), name="token-use"))
        note.add_done_callback(self._noted)
        return found

    def _noted(self, note: asyncio.Task[None]) -> None:
        self._notes.discard(note)
        if not note.cancelled() and (error := note.exception()) is not None:
            log.warning("the last use of tokens was not written: %s", error)


class _Lookup:
    task: asyncio.Task[dict[bytes, Shown | None]]

    def __init__(self) -> None:
        self.tokens: set[bytes] = set()


def _find_all(tokens: Collection[bytes]) -> dict[bytes, Shown | None]:
    return {token: _find(token) for token in tokens}


def _find(token: bytes) -> Shown | None:
    """Why a token opens nothing is told to who asks alone, who is counted then."""
    if not token.isalnum():
        return None
    shown = token_find(token.decode("ascii"))
    return None if shown is None or has_expired(shown[1]) else shown


token_lookups: Final = PerLoop(TokenLookups)
