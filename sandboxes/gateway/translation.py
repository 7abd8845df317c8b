"""What Daytona and its SDK answer, as documents and as errors of ours."""

from __future__ import annotations

import json
import logging
import math
from collections.abc import AsyncGenerator, Awaitable, Callable, Iterator, Mapping
from contextlib import contextmanager
from http import HTTPStatus
from typing import Any, Final

import aiohttp
import daytona

from sandboxes.circuit_breaker import breaker
from sandboxes.errors import (
    KeyRefused,
    SandboxError,
    SandboxMissing,
    SandboxRefused,
    SandboxThrottled,
    SandboxUnavailable,
)
from sandboxes.gateway.refusals import plain_message, refusal_in_words
from sandboxes.gateway.values import NO_ANSWER
from taskhub.models import MetricName
from taskhub.observability.metrics_store import meter

log = logging.getLogger(__name__)

ANSWER_LIMIT_BYTES: Final = 16 * 1024 * 1024
"""Of Daytona's API and of a toolbox; a page of 200 sandboxes has less than 1 MiB."""
DEPTH_LIMIT: Final = 100

_CHUNK_BYTES: Final = 64 * 1024

_GONE: Final = frozenset({HTTPStatus.NOT_FOUND, HTTPStatus.GONE})
_REFUSED: Final = frozenset({HTTPStatus.BAD_REQUEST, HTTPStatus.UNPROCESSABLE_ENTITY})

Refuse = Callable[[str, int | None, Mapping[str, str], str], SandboxError]
"""As `refusal`."""


class AnswerTooLong(aiohttp.ClientPayloadError):
    """An answer above `ANSWER_LIMIT_BYTES`; its connection is closed."""


@contextmanager
def past_breaker() -> Iterator[None]:
    """Nothing goes out while Daytona is left alone; how a request ends is what the breaker learns from."""
    breaker.check()
    try:
        yield
    except SandboxUnavailable as error:
        breaker.failed(error)
        raise
    except SandboxError:
        breaker.succeeded()
        raise
    else:
        breaker.succeeded()


@contextmanager
def translated(what: str, refuse: Refuse | None = None) -> Iterator[None]:
    """A request that the SDK makes, its errors as ours; `what` is what a 404 or 409 is about.

    `refuse` says what an error of who answers means; by default Daytona's API does (`refusal`).
    """
    with _transported(what, refuse):
        yield
    _count(HTTPStatus.OK)


@contextmanager
def _transported(what: str, refuse: Refuse | None = None) -> Iterator[None]:
    """Likewise for a request whose answer is still to be looked at."""
    try:
        yield
    except daytona.DaytonaError as error:
        # A refused websocket upgrade carries its status and headers only in its cause.
        status = error.status_code or getattr(error.__cause__, "status", None)
        headers = error.headers or getattr(error.__cause__, "headers", None) or {}
        log.info("Daytona answered %s (%s)", status, type(error).__name__)
        if isinstance(error, daytona.DaytonaNotFoundError):
            status = HTTPStatus.NOT_FOUND
        elif isinstance(error, daytona.DaytonaConflictError):
            status = HTTPStatus.CONFLICT
        _count(status)
        said = error.message if hasattr(error, "message") else str(error)
        raise (refuse or refusal)(what, status, headers, said) from error
    except (TimeoutError, OSError, aiohttp.ClientError, RecursionError) as error:
        _count(None)
        log.info("Daytona does not answer: %s", type(error).__name__)
        raise SandboxUnavailable from error


@contextmanager
def upgraded(what: str, refuse: Refuse | None = None) -> Iterator[None]:
    """A websocket that is opened past the SDK's own methods, its errors as ours."""
    try:
        with _transported(what, refuse):
            yield
    except SandboxUnavailable as error:
        cause = error.__cause__
        if isinstance(cause, aiohttp.WSServerHandshakeError):
            log.info("Daytona answered %d", cause.status)
            raise (refuse or refusal)(what, cause.status, cause.headers or {}, "") from cause
        raise
    _count(HTTPStatus.OK)


class BoundedResponse(aiohttp.ClientResponse):
    """An answer whose `read` ends at `ANSWER_LIMIT_BYTES`, for the SDK's own reading as well. Streaming from `content`
    has no limit."""

    async def read(self) -> bytes:
        if self._body is None:
            try:
                self._body = await self._read_bounded()
            except BaseException:
                self.close()
                raise
        return self._body

    async def _read_bounded(self) -> bytes:
        if (self.content_length or 0) > ANSWER_LIMIT_BYTES:
            raise AnswerTooLong(f"an answer of {self.content_length} bytes")
        body = bytearray()
        async for chunk in self.content.iter_any():
            body += chunk
            if len(body) > ANSWER_LIMIT_BYTES:
                raise AnswerTooLong(f"an answer of more than {ANSWER_LIMIT_BYTES} bytes")
        await self._wait_released()
        return bytes(body)


async def fetch(what: str, request: Awaitable[aiohttp.ClientResponse], refuse: Refuse | None = None) -> Any:
    """The answer's JSON, as Daytona wrote it. Raises SandboxError, as `translated` does."""
    with _transported(what, refuse):
        response = await request
        body = await response.read()
    return _checked(what, response, body, refuse)


async def fetch_limited(
    what: str, request: Awaitable[aiohttp.ClientResponse], limit_bytes: int, refuse: Refuse | None = None
) -> Any:
    """Likewise; None, and no more memory than that, for an answer of more than `limit_bytes`."""
    body = bytearray()
    with _transported(what, refuse):
        async with await request as response:
            async for chunk in response.content.iter_any():
                body += chunk
                if len(body) > limit_bytes:
                    response.close()
                    return None
    return _checked(what, response, bytes(body), refuse)


async def fetch_bytes(
    what: str, request: Awaitable[aiohttp.ClientResponse], limit_bytes: int, refuse: Refuse | None = None
) -> bytes:
    """The answer's body as it is, as far as `limit_bytes`. Raises SandboxError."""
    with _transported(what, refuse):
        async with await request as response:
            _refuse_errors(what, response, refuse=refuse)
            body = bytearray()
            async for chunk in response.content.iter_any():
                body += chunk
                if len(body) >= limit_bytes:
                    break
    return bytes(body[:limit_bytes])


async def fetch_chunks(
    what: str, request: Awaitable[aiohttp.ClientResponse], refuse: Refuse | None = None
) -> AsyncGenerator[bytes, None]:
    """The answer's body piece by piece. Raises SandboxError."""
    with _transported(what, refuse):
        async with await request as response:
            _refuse_errors(what, response, refuse=refuse)
            async for chunk in response.content.iter_chunked(_CHUNK_BYTES):
                yield chunk


def _refuse_errors(what: str, response: aiohttp.ClientResponse, body: bytes = b"", *, refuse: Refuse | None) -> None:
    _count(response.status)
    if response.status >= HTTPStatus.BAD_REQUEST:
        log.info("Daytona answered %d", response.status)
        raise (refuse or refusal)(what, response.status, response.headers, body.decode(errors="replace"))


def _checked(what: str, response: aiohttp.ClientResponse, body: bytes, refuse: Refuse | None) -> Any:
    _refuse_errors(what, response, body, refuse=refuse)
    try:
        return _read_json(body) if body else {}
    except (ValueError, RecursionError) as error:
        log.warning("Daytona answered %d with something that is not JSON, or is nested too deeply", response.status)
        raise SandboxUnavailable from error


def _read_json(body: bytes) -> Any:
    """Raises ValueError, RecursionError."""
    found = json.loads(body)
    if body.count(b"[") + body.count(b"{") > DEPTH_LIMIT:
        _guard_depth(found)
    return found


def _guard_depth(found: Any) -> None:
    """Raises RecursionError: what Python just reads, it cannot write again from deeper in its own stack."""
    level, depth = [found], 0
    while level:
        depth += 1
        if depth > DEPTH_LIMIT:
            raise RecursionError
        inside = [each.values() if isinstance(each, dict) else each for each in level if isinstance(each, dict | list)]
        level = [value for values in inside for value in values if isinstance(value, dict | list)]


def refusal(what: str, status: int | None, headers: Mapping[str, str], text: str = "") -> SandboxError:
    """The error for an HTTP status of Daytona's; `text` is what it said, if that was read."""
    if status in _GONE:
        return SandboxMissing(what).saying(plain_message(text))
    if status == HTTPStatus.CONFLICT:
        return SandboxRefused(f"{what}_conflict", f"The {what} exists already, or is changing its state.")
    if status == HTTPStatus.UNAUTHORIZED:
        return KeyRefused()
    if status == HTTPStatus.FORBIDDEN or status in _REFUSED:
        return refusal_in_words(status, text)
    if status == HTTPStatus.TOO_MANY_REQUESTS:
        return SandboxThrottled(_retry_after(headers))
    return SandboxUnavailable(_retry_after(headers))


def _count(status: int | None) -> None:
    """The SDK does not say with what status it was answered well."""
    is_well = status is not None and status < HTTPStatus.BAD_REQUEST
    meter.count(MetricName.UPSTREAM_REQUESTS, "2xx" if is_well else str(int(status)) if status else NO_ANSWER)


def _retry_after(headers: Mapping[str, str]) -> float | None:
    """Seconds from `Retry-After-<throttler>` or `Retry-After`; header names keep the server's casing."""
    for name, value in headers.items():
        if name.lower().startswith("retry-after"):
            try:
                seconds = float(value)
            except ValueError:
                return None
            # Python reads "nan" and "inf" as numbers, too.
            return seconds if math.isfinite(seconds) and seconds >= 0 else None
    return None
