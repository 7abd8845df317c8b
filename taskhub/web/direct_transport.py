"""uvicorn's transport: writes parts of a response without a task and without ASGI's `send`.

The only module that knows names inside of uvicorn: `tests/integration/test_direct_transport.py` holds them. Where they
are not found (daphne, another server, a middleware that wraps `send`) a stream is sent by `send` alone.

A response begins and ends with `send`, which keeps the state of uvicorn's request: only whole parts of a body in
between are written here, and they are the bytes that `send` would write.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from taskhub.web.detached_response import Send

_CYCLES: Final = {
    ("uvicorn.protocols.http.httptools_impl", "RequestResponseCycle"),
    ("uvicorn.protocols.http.h11_impl", "RequestResponseCycle"),
}
"""Both send a response without a length in chunks; h11 to a client of HTTP/1.1 alone."""


def encode_chunk(body: bytes) -> bytes:
    """A part of a body as a chunk of HTTP/1.1; it must not be empty, which would be the end of the response."""
    return b"%x\r\n%b\r\n" % (len(body), body)


class DirectTransport:
    """The transport of a response that is sent in chunks."""

    __slots__ = ("_cycle", "_flow", "_transport")

    def __init__(self, cycle: Any) -> None:
        self._cycle = cycle
        self._flow = cycle.flow
        self._transport = cycle.transport

    @property
    def has_room(self) -> bool:
        """Whether the transport's buffer is below its limit: then `send` does not wait, and `write` writes."""
        return not self._flow.write_paused

    @property
    def is_open(self) -> bool:
        """Whether the client is still there, as far as it is known."""
        return not (self._cycle.disconnected or self._transport.is_closing())

    def write(self, chunk: bytes) -> bool:
        """Write what `encode_chunk` made. False, and nothing written, where there is no room or no connection."""
        if self._flow.write_paused:
            return False
        try:
            self._transport.write(chunk)
        except RuntimeError:  # uvloop's, of a transport that is closed
            return False
        return True

    def wake(self) -> None:
        """Have a waiting `receive` return, with an empty part of the request's body."""
        self._cycle.message_event.set()


def direct_transport(send: Send) -> DirectTransport | None:
    """The transport behind uvicorn's `send`; None for another server, and where the response is not sent in chunks."""
    cycle = getattr(send, "__self__", None)
    kind = type(cycle)
    if cycle is None or (kind.__module__, kind.__name__) not in _CYCLES or not _takes_chunks(cycle.scope):
        return None
    return DirectTransport(cycle)


def _takes_chunks(scope: Mapping[str, Any]) -> bool:
    return bool(scope["method"] == "GET" and scope["http_version"] == "1.1")
