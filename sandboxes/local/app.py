"""The server's parts, put together: routes, and what every request passes on its way."""

import hmac
import logging
from asyncio import CancelledError, create_task, gather
from collections.abc import AsyncIterator
from typing import Protocol

from aiohttp import web
from aiohttp.typedefs import Handler

from sandboxes.local.control import ControlApi
from sandboxes.local.errors import ControlError, ProxyError, SandboxServerError, ToolboxError
from sandboxes.local.faults import Faults
from sandboxes.local.files import FilesApi
from sandboxes.local.gateway import Gateway
from sandboxes.local.idle import keep_disk_limits, keep_idle_rules
from sandboxes.local.options import Options
from sandboxes.local.processes import ProcessApi
from sandboxes.local.sandboxes import Registry
from sandboxes.local.searching import SearchingApi
from sandboxes.local.stores import StoresApi
from sandboxes.local.throttles import Throttles
from sandboxes.local.toolbox import ToolboxProxy
from sandboxes.local.transfers import TransfersApi

_logger = logging.getLogger(__name__)
_STARTED = web.RequestKey("started", web.StreamResponse)
_SOCKET_IO = "/api/socket.io/"
# A command's text, a creation request, a list of paths. Uploads are streamed and have no limit.
_LARGEST_BODY_BYTES = 16 << 20


class Api(Protocol):
    """A group of handlers."""

    def routes(self) -> list[web.RouteDef]: ...


def build_app(options: Options, registry: Registry) -> web.Application:
    """Request -> error bodies -> faults (if on) -> key -> sandbox (toolbox only) -> handler."""
    middleware = Middleware(options)
    faults = Faults()
    gateway = Gateway(options.key)
    registry.announce = gateway.announce
    middlewares = [middleware.errors, *([faults.middleware] if options.faults else []), middleware.key]
    app = web.Application(
        middlewares=[*middlewares, ToolboxProxy(registry).middleware], client_max_size=_LARGEST_BODY_BYTES
    )
    apis: tuple[Api, ...] = (
        ControlApi(registry, options),
        StoresApi(registry),
        ProcessApi(options, faults),
        FilesApi(),
        TransfersApi(),
        SearchingApi(),
    )
    for api in apis:
        app.add_routes(api.routes())
    if options.faults:
        app.add_routes(faults.routes())
    app.on_response_prepare.append(middleware.response_started)
    gateway.attach(app)

    async def in_background(_: web.Application) -> AsyncIterator[None]:
        kept = (keep_idle_rules(registry, options), keep_disk_limits(registry, options))
        tasks = [create_task(gateway.run()), *map(create_task, kept)]
        yield
        for task in tasks:
            task.cancel()
        await gather(*tasks, return_exceptions=True)
        await gateway.close()

    app.cleanup_ctx.append(in_background)
    return app


class Middleware:
    """What every request passes, whatever it is for."""

    def __init__(self, options: Options) -> None:
        self._dialect = options.dialect
        self._authorization = f"Bearer {options.key}".encode()
        self._throttles = Throttles()

    @web.middleware
    async def errors(self, request: web.Request, handler: Handler) -> web.StreamResponse:
        """Give every error the body that Daytona gives it."""
        try:
            return await handler(request)
        except SandboxServerError as error:
            return self._cut_off(request, error) or error.response(request, self._dialect)
        except web.HTTPException as error:
            if request.path.startswith(_SOCKET_IO):
                raise
            return self._shaped(request, error.status, error.text or error.reason)
        except (CancelledError, ConnectionError):
            # The client went away.
            raise
        except Exception as error:
            cut_off = self._cut_off(request, error)
            if cut_off is not None:
                return cut_off
            _logger.exception("%s %s failed", request.method, request.path)
            return self._shaped(request, 500, "Internal server error")

    @web.middleware
    async def key(self, request: web.Request, handler: Handler) -> web.StreamResponse:
        """Compare the API key in constant time. The gateway has its own check, in its CONNECT packet."""
        if request.path.startswith(_SOCKET_IO):
            return await handler(request)
        given = request.headers.get("Authorization", "").encode(errors="surrogateescape")
        if hmac.compare_digest(given, self._authorization):
            return await handler(request)
        if request.path.startswith("/toolbox/"):
            raise ProxyError(401, "authentication failed: invalid API key")
        raise ControlError(401, "Invalid credentials")

    def _cut_off(self, request: web.Request, error: Exception) -> web.StreamResponse | None:
        """Close the connection if a part of the response is sent already: the client would wait for the rest."""
        started: web.StreamResponse | None = request.get(_STARTED)
        if started is None:
            return None
        _logger.warning("%s %s was cut off: %s", request.method, request.path, error)
        if request.transport is not None:
            request.transport.close()
        return started

    async def response_started(self, request: web.Request, response: web.StreamResponse) -> None:
        """Remember that headers are sent; add those of the rate limits."""
        request[_STARTED] = response
        self._rate_limit_headers(request, response)

    def _rate_limit_headers(self, request: web.Request, response: web.StreamResponse) -> None:
        if request.path.startswith("/api/") and not request.path.startswith(_SOCKET_IO):
            self._throttles.add_headers(request, response)

    def _shaped(self, request: web.Request, status: int, message: str) -> web.StreamResponse:
        if not request.path.startswith("/toolbox/"):
            return ControlError(status, message).response(request, self._dialect)
        return ToolboxError(status, message).response(request, self._dialect)
