"""`/mcp` endpoint: Django's middleware and this view authenticate requests, the SDK's server answers them.

It is an ordinary view, so hosts, origins, TLS redirects, security headers, body limits and database connections work
as for all other addresses. Its response is an `Exchange`.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import Mapping
from http import HTTPStatus
from typing import Any, Final

from django.contrib.auth.models import AnonymousUser
from django.core.exceptions import RequestDataTooBig
from django.http import HttpRequest, JsonResponse
from django.http.response import HttpResponseBase
from django.views.decorators.csrf import csrf_exempt
from rest_framework.exceptions import APIException, AuthenticationFailed, Throttled

from taskhub.api.callers import caller_key
from taskhub.api.errors import answer
from taskhub.auth.rate_limits import Limit, account_requests, address_requests, network_of
from taskhub.errors import HubError, error_body
from taskhub.events.stream import EventStream
from taskhub.lib.cancellation import cancel_all
from taskhub.mcp.errors import rpc_error
from taskhub.mcp.loading import running_server
from taskhub.mcp.principal import LISTENING, REQUESTER, Requester
from taskhub.mcp.tools import TOOLS
from taskhub.models import ApiToken
from taskhub.oauth.access_tokens import McpAuthentication
from taskhub.oauth.resource import metadata_address
from taskhub.roles import Caller, Role
from taskhub.web.detached_response import DetachedResponse, Receive, Send, raw_headers
from taskhub.web.origin_check import guard_origin

_READ_BYTES = 2 * 1024 * 1024
"""A script and what is beside it."""
_SCOPE: Final = "viewer agent"
"""What a client asks for unless it is told otherwise: agents work."""
_FOR_ACCOUNTS: Final = frozenset({"tasks/cancel", "tasks/update"})
_SDKS_OWN = frozenset({b"content-type", b"content-length"})


@csrf_exempt  # it uses no cookies
def mcp(request: HttpRequest) -> HttpResponseBase:
    """Errors before the exchange have REST's status and headers; their body is a JSON-RPC error."""
    if request.method != "POST":
        # Stateless: there is no session for which GET could open a stream, or which DELETE could end.
        body = error_body("method_not_allowed", "Send one JSON-RPC message by POST.")
        return JsonResponse(body, status=405, headers={"Allow": "POST"})
    try:
        guard_origin(request)
        requester = _requester(request)
        requester.guard(Role.VIEWER, account=False)
        if not requester.user.is_authenticated:
            _guard_account(request, requester)
        _guard_rate(request, requester)
    except (HubError, APIException) as error:
        return _refusal(request, error)
    return Exchange(request, requester)


def _requester(request: HttpRequest) -> Requester:
    """Authenticated by token only, never by session. Raises AuthenticationFailed, Throttled."""
    found: tuple[Caller, ApiToken | None] = McpAuthentication().authenticate(request) or (AnonymousUser(), None)
    user, token = found
    return Requester(user, token, caller_key(request, user), request.build_absolute_uri("/"))


def _guard_account(request: HttpRequest, requester: Requester) -> None:
    """A message that needs an account is an HTTP 401 where reading is open, too: that is how a client's sign-in begins.

    Raises NotAuthenticated.
    """
    message = _message_of(request)
    method = message.get("method")
    if isinstance(method, str) and method in _FOR_ACCOUNTS:
        requester.guard(Role.VIEWER, account=True)
    params = message.get("params")
    name = params.get("name") if isinstance(params, dict) else None
    tool = TOOLS.get(name) if method == "tools/call" and isinstance(name, str) else None
    if tool is not None:
        requester.guard(tool.role, account=tool.needs_account)


def _guard_rate(request: HttpRequest, requester: Requester) -> None:
    """REST's throttles. Raises Throttled."""
    _count(address_requests, network_of(request))
    if requester.user.is_authenticated:
        _count(account_requests, str(requester.user.pk))


def _count(limit: Limit, caller: str) -> None:
    wait_s = limit.wait_s(caller)
    if wait_s > 0:
        raise Throttled(wait_s)
    limit.count(caller)


def _refusal(request: HttpRequest, error: Exception) -> JsonResponse:
    """Of a refusal, SDKs show their caller the JSON-RPC message alone: it says what is wrong and what to do next."""
    response = answer(error, {})
    if response is None:
        raise error  # not an expected error
    headers = dict(response.headers)
    headers.pop("Content-Type", None)
    if response.status_code == HTTPStatus.UNAUTHORIZED:
        headers["WWW-Authenticate"] = _challenge(request, error)
    body = rpc_error(_id_of(request), error, headers.get("Retry-After"))
    return JsonResponse(body, status=response.status_code, headers=headers)


def _challenge(request: HttpRequest, error: Exception) -> str:
    """Where a client learns how to sign in (RFC 9728, section 5.1), and what for.

    RFC 6750, section 3: without credentials the challenge has no error.
    """
    told = {}
    if isinstance(error, AuthenticationFailed):
        words = str(error.detail).replace('"', "'").encode("ascii", "replace").decode()
        told = {"error": "invalid_token", "error_description": words}
    told |= {"resource_metadata": metadata_address(request), "scope": _SCOPE}
    return "Bearer " + ", ".join(f'{name}="{value}"' for name, value in told.items())


def _id_of(request: HttpRequest) -> str | int | None:
    """The id of the message; null where it has none, or cannot be read. Callers that are refused cost little."""
    found = _message_of(request).get("id")
    return found if isinstance(found, str | int) and not isinstance(found, bool) else None


def _message_of(request: HttpRequest) -> dict[str, Any]:
    """The message of a caller without an account; empty where it is too long for that, or is no message."""
    try:
        message = json.loads(request.body) if len(request.body) <= _READ_BYTES else None
    except (ValueError, RecursionError, RequestDataTooBig):
        return {}
    return message if isinstance(message, dict) else {}


class Exchange(DetachedResponse):
    """A request and the SDK's response to it, or a stream in its place; with the headers of Django's middleware."""

    def __init__(self, request: HttpRequest, requester: Requester) -> None:
        super().__init__(
            content_type="application/json"
        )  # the type of the SDK's responses, and of their security policy
        scope: dict[str, Any] = request.scope  # type: ignore[attr-defined]  # all requests come by ASGI
        self._streams: list[EventStream] = []
        # Servers may keep spaces around header values, which the SDK would compare with the message.
        headers = [(name, value.strip(b" \t")) for name, value in scope["headers"]]
        self._scope = {**scope, "headers": headers, REQUESTER: requester, LISTENING: self._streams}
        self._body: bytes | None = request.body
        self._gone = requester.gone

    async def run(self, receive: Receive, send: Send) -> None:
        # The SDK does not look whether the client of a JSON response is still there; a tool that waits must know.
        watch = asyncio.ensure_future(self._until_gone(receive))
        try:
            await self._run(send)
        finally:
            await cancel_all(watch)

    async def _until_gone(self, receive: Receive) -> None:
        while (await receive())["type"] != "http.disconnect":
            pass
        self._gone.set()

    async def _run(self, send: Send) -> None:
        async def receive_again() -> Mapping[str, Any]:
            body, self._body = self._body, None
            if body is None:
                await self._gone.wait()
                return {"type": "http.disconnect"}
            return {"type": "http.request", "body": body, "more_body": False}

        async def send_on(message: Mapping[str, Any]) -> None:
            if self._streams:
                return  # a stream is sent instead
            if message["type"] == "http.response.start":
                self.status_code = message["status"]
                ours = [header for header in raw_headers(self) if header[0] not in _SDKS_OWN]
                message = {**message, "headers": [*message.get("headers", []), *ours]}
            await send(message)

        server = await running_server()
        await server.handle(self._scope, receive_again, send_on)
        for stream in self._streams:
            for name, value in self.items():
                stream.headers.setdefault(name, value)
            await stream.sending(receive_again, send)
