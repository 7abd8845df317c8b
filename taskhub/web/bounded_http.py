"""HTTP protocol for uvicorn with limits for headers: size, and time until they are complete.

`make run` has no proxy before it. uvicorn closes connections that are idle after a request, but waits without end for
the first one, and reads headers of any size into memory. In production nginx has these limits.
"""

from __future__ import annotations

import asyncio
from typing import Any, Final

from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

HEADER_S: Final = 15.0
HEADER_BYTES: Final = 64 * 1024
_TOO_LATE: Final = b"408 Request Timeout"
_TOO_LARGE: Final = b"431 Request Header Fields Too Large"


class BoundedHttp(HttpToolsProtocol):
    """For `uvicorn --http taskhub.web.bounded_http:BoundedHttp`."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._timer: asyncio.TimerHandle | None = None
        self._in_header = False
        self._header_bytes = 0

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]  # as uvicorn has it
        super().connection_made(transport)
        self._wait_for_header()

    def connection_lost(self, exc: Exception | None) -> None:
        self._header_is_there()
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        super().data_received(data)
        if self.transport.is_closing():
            return
        if self._in_header:
            self._header_bytes += len(data)
            if self._header_bytes > HEADER_BYTES:
                self._refuse(_TOO_LARGE)
        elif self._is_between_requests():
            self._wait_for_header()  # line ends between two requests are none

    def on_message_begin(self) -> None:
        super().on_message_begin()
        self._in_header, self._header_bytes = True, 0
        self._wait_for_header()

    def on_headers_complete(self) -> None:
        self._header_is_there()
        super().on_headers_complete()

    def _wait_for_header(self) -> None:
        if self._timer is None:
            self._timer = self.loop.call_later(HEADER_S, self._refuse, _TOO_LATE)

    def _header_is_there(self) -> None:
        self._in_header = False
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _is_between_requests(self) -> bool:
        cycle: Any = self.cycle  # None before the first one, which uvicorn's types leave out
        return cycle is None or cycle.response_complete

    def _refuse(self, status: bytes) -> None:
        """A connection that has sent nothing is closed without a word; so is one whose earlier answer is under way."""
        is_silent = not self._in_header or not self._is_between_requests()
        self._header_is_there()
        if not self.transport.is_closing():
            if not is_silent:
                self.transport.write(b"HTTP/1.1 %s\r\nconnection: close\r\ncontent-length: 0\r\n\r\n" % status)
            self.transport.close()
