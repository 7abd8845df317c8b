"""A response sent by the ASGI handler after Django has released the request."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from typing import Any

from django.http import HttpResponse

Receive = Callable[[], Awaitable[Mapping[str, Any]]]
Send = Callable[[Mapping[str, Any]], Awaitable[None]]


class DetachedResponse(HttpResponse):
    """While `run` sends it, it uses no thread and no database connection of the request."""

    # Middleware must not count or read its bytes.
    streaming = True
    measures_itself = False
    """Whether `run` counts the request in the metrics: only then are its status and its duration known."""

    async def run(self, receive: Receive, send: Send) -> None:
        """Send the whole response; `receive` yields no body, only the client's disconnect."""
        raise NotImplementedError

    def raw_headers(self) -> list[tuple[bytes, bytes]]:
        """The headers of the view and the middleware, in ASGI's format."""
        headers = [(name.lower().encode("latin-1"), value.encode("latin-1")) for name, value in self.items()]
        cookies = [cookie.OutputString().encode("latin-1") for cookie in self.cookies.values()]
        return headers + [(b"set-cookie", cookie) for cookie in cookies]
