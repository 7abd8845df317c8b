"""One attempt: a signed POST after Standard Webhooks, and what came of it.

`{webhook-id}.{webhook-timestamp}.{body}` is signed with HMAC-SHA256. The status decides, whatever becomes of the rest
of the answer; redirects are not followed, nothing of the environment (proxies) is heeded, no connection is used twice.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from http import HTTPStatus
from typing import Final
from uuid import UUID

import httpcore
from standardwebhooks import Webhook

from taskhub.webhooks.ssrf_guard import AddressRefused, CheckedBackend, Target

TIMEOUT_S: Final = 10.0
"""From the first look at the name to the end of the answer."""
ANSWER_LIMIT: Final = 1024 * 1024
"""Bytes of an answer that are read."""
KEPT_CHARACTERS: Final = 500
RETRY_AFTER_MOST_S: Final = 86_400.0
_ASKS_FOR_REST: Final = frozenset({HTTPStatus.TOO_MANY_REQUESTS, HTTPStatus.SERVICE_UNAVAILABLE})


@dataclass(frozen=True, slots=True)
class Message:
    """What goes out, and where. `secrets` (whsec_…) all sign."""

    id: UUID
    target: Target
    secrets: Sequence[str]
    body: str


@dataclass(frozen=True, slots=True)
class Answer:
    """`status` is None where none came; then `error` says why not. `said` is the beginning of the answer."""

    status: int | None
    error: str = ""
    said: str = ""
    took_ms: int = 0
    retry_after_s: float = 0.0

    @property
    def is_success(self) -> bool:
        return self.status is not None and HTTPStatus.OK <= self.status < HTTPStatus.MULTIPLE_CHOICES

    @property
    def is_gone(self) -> bool:
        """The receiver wants no more of this."""
        return self.status == HTTPStatus.GONE


def open_connections() -> httpcore.AsyncConnectionPool:
    """Each request opens a connection of its own, so that each looks at the receiver's addresses anew."""
    return httpcore.AsyncConnectionPool(
        network_backend=CheckedBackend(), max_connections=None, max_keepalive_connections=0
    )


async def send(connections: httpcore.AsyncConnectionPool, message: Message) -> Answer:
    """Takes `TIMEOUT_S` at most; whatever the receiver does, an answer tells of it."""
    began = time.monotonic()
    answer = await _post(connections, message)
    return Answer(
        answer.status, answer.error, answer.said, round(1000 * (time.monotonic() - began)), answer.retry_after_s
    )


async def _post(connections: httpcore.AsyncConnectionPool, message: Message) -> Answer:
    answer = None
    try:
        async with (
            asyncio.timeout(TIMEOUT_S),
            connections.stream(
                "POST", message.target.url, headers=_headers(message), content=message.body.encode()
            ) as response,
        ):
            answer = Answer(response.status, retry_after_s=_retry_after_s(response))
            said = await _read(response)
            return Answer(response.status, said=said, retry_after_s=answer.retry_after_s)
    except AddressRefused as refusal:
        error = str(refusal)
    except (TimeoutError, httpcore.TimeoutException):
        error = f"It did not answer within {TIMEOUT_S:.0f} s."
    except httpcore.ConnectError as failure:
        error = f"No connection: {failure}"
    except httpcore.ProtocolError as failure:
        error = f"What it answered is not HTTP: {failure}"
    except httpcore.NetworkError:
        error = "It closed the connection without an answer."
    # A status that came counts, though the connection broke or the time was up after it.
    return answer or Answer(None, error=error)


def _headers(message: Message) -> list[tuple[str, str]]:
    now = datetime.now(UTC)
    signatures = [Webhook(secret).sign(str(message.id), now, message.body) for secret in message.secrets]
    return [
        ("Host", message.target.authority),
        ("Content-Type", "application/json"),
        ("Accept-Encoding", "identity"),
        ("User-Agent", "TaskHub-Webhooks"),
        ("webhook-id", str(message.id)),
        ("webhook-timestamp", str(int(now.timestamp()))),
        ("webhook-signature", " ".join(signatures)),
    ]


async def _read(response: httpcore.Response) -> str:
    """The first characters, after having read as much as we take: who is still sending is not cut off early."""
    kept, size = b"", 0
    async for chunk in response.aiter_stream():
        kept += chunk[: 4 * KEPT_CHARACTERS - len(kept)]
        size += len(chunk)
        if size >= ANSWER_LIMIT:
            break
    # No database takes NUL.
    return kept.decode(errors="replace")[:KEPT_CHARACTERS].replace("\0", "\ufffd")


def _retry_after_s(response: httpcore.Response) -> float:
    """What a 429 or 503 asks for, in seconds; 0 for nothing, or nothing that can be read."""
    if response.status not in _ASKS_FOR_REST:
        return 0.0
    text = next((value.decode("latin-1") for name, value in response.headers if name.lower() == b"retry-after"), "")
    try:
        wait_s = float(text) if text.isdecimal() else (parsedate_to_datetime(text) - datetime.now(UTC)).total_seconds()
    except (TypeError, ValueError, OverflowError):
        return 0.0
    return min(max(wait_s, 0.0), RETRY_AFTER_MOST_S)
