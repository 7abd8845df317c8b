"""A response sent by the ASGI handler after Django has released the request."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Coroutine, Mapping
from typing import Any

from django.http import HttpResponse
from django.http.response import HttpResponseBase

Receive = Callable[[], Awaitable[Mapping[str, Any]]]
Send = Callable[[Mapping[str, Any]], Awaitable[None]]


class DetachedResponse(HttpResponse):
    """While it is sent, it uses no thread and no database connection of the request."""

    # Middleware must not count or read its bytes.
    streaming = True
    measures_itself = False
    """Whether the request is counted in the metrics while it is sent: only then are status and duration known."""

    def sending(self, receive: Receive, send: Send) -> Coroutine[Any, Any, int]:
        """Sends the whole response, and returns its status; `receive` yields no body, only the client's disconnect.

        The handler holds the coroutine alone: what that does not need of the response is freed while it is sent.
        """
        return self._run_and_tell(receive, send)

    async def _run_and_tell(self, receive: Receive, send: Send) -> int:
        await self.run(receive, send)
        return self.status_code

    async def run(self, receive: Receive, send: Send) -> None:
        """What `sending` does, of a response that is needed to the end."""
        raise NotImplementedError


def raw_headers(response: HttpResponseBase) -> list[tuple[bytes, bytes]]:
    """The headers of the view and the middleware, in ASGI's format."""
    headers = [(name.lower().encode("latin-1"), value.encode("latin-1")) for name, value in response.items()]
    cookies = [cookie.OutputString().encode("latin-1") for cookie in response.cookies.values()]
    return headers + [(b"set-cookie", cookie) for cookie in cookies]
