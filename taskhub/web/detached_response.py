"""An answer that Django does not send: its middleware sees an ordinary response, which the loop sends afterwards."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from typing import Any

from django.http import HttpResponse

Receive = Callable[[], Awaitable[Mapping[str, Any]]]
Send = Callable[[Mapping[str, Any]], Awaitable[None]]


class DetachedResponse(HttpResponse):
    """While `run` sends it, it holds neither a thread nor a database connection of the request's."""

    # To middleware it is what it is: nothing may count its bytes or look into them.
    streaming = True

    async def run(self, receive: Receive, send: Send) -> None:
        """Send all of it; `receive` has no body any more, and tells when the client goes."""
        raise NotImplementedError

    def raw_headers(self) -> list[tuple[bytes, bytes]]:
        """What the view and the middleware have set, as ASGI wants it."""
        headers = [(name.lower().encode("latin-1"), value.encode("latin-1")) for name, value in self.items()]
        cookies = [cookie.OutputString().encode("latin-1") for cookie in self.cookies.values()]
        return headers + [(b"set-cookie", cookie) for cookie in cookies]
