"""HTTP client for webhooks: one signed POST according to Standard Webhooks, and its result.

The signature is an HMAC-SHA256 of `{webhook-id}.{webhook-timestamp}.{body}`. The status decides, even if the rest of
the response fails; redirects are not followed, proxy variables are ignored, connections are not reused.
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
"""From the start of name resolution to the end of the response."""
ANSWER_LIMIT: Final = 1024 * 1024
"""Bytes of a response that are read."""
KEPT_CHARACTERS: Final = 500
RETRY_AFTER_MOST_S: Final = 86_400.0
_ASKS_FOR_REST: Final = frozenset({HTTPStatus.TOO_MANY_REQUESTS, HTTPStatus.SERVICE_UNAVAILABLE})


@dataclass(frozen=True, slots=True)
class Message:
    """A request and its target. All `secrets` (whsec_…) sign it."""

    id: UUID
    target: Target
    secrets: Sequence[str]
    body: str


@dataclass(frozen=True, slots=True)
class Answer:
    """`status` is None without a response; then `error` has the reason. `said` is the beginning of the body."""

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
        """The receiver wants no more deliveries."""
        return self.status == HTTPStatus.GONE


def open_connections(*, public_only: bool = False) -> httpcore.AsyncConnectionPool:
    """Each request opens its own connection, so that the receiver's addresses are checked every time."""
    return httpcore.AsyncConnectionPool(
        network_backend=CheckedBackend(public_only=public_only), max_connections=None, max_keepalive_connections=0
    )


async def send(connections: httpcore.AsyncConnectionPool, message: Message) -> Answer:
    """Takes at most `TIMEOUT_S`; every failure of the receiver is returned as an Answer."""
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
        error = f"No response within {TIMEOUT_S:.0f} s."
    except httpcore.ConnectError as failure:
        error = f"No connection: {failure}"
    except httpcore.ProtocolError as failure:
        error = f"The response is not HTTP: {failure}"
    except httpcore.NetworkError:
        error = "The connection was closed without a response."
    # A received status counts, even if the connection failed or the time ran out after it.
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
    """The first characters of the body, after reading up to the limit, so that a sending receiver is not cut off."""
    kept, size = b"", 0
    async for chunk in response.aiter_stream():
        kept += chunk[: 4 * KEPT_CHARACTERS - len(kept)]
        size += len(chunk)
        if size >= ANSWER_LIMIT:
            break
    # PostgreSQL stores no NUL.
    return kept.decode(errors="replace")[:KEPT_CHARACTERS].replace("\0", "\ufffd")


def _retry_after_s(response: httpcore.Response) -> float:
    """The `Retry-After` of a 429 or 503 in seconds; 0 if it is missing or unreadable."""
    if response.status not in _ASKS_FOR_REST:
        return 0.0
    text = next((value.decode("latin-1") for name, value in response.headers if name.lower() == b"retry-after"), "")
    try:
        wait_s = float(text) if text.isdecimal() else (parsedate_to_datetime(text) - datetime.now(UTC)).total_seconds()
    except (TypeError, ValueError, OverflowError):
        return 0.0
    return min(max(wait_s, 0.0), RETRY_AFTER_MOST_S)
