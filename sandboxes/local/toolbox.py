"""The proxy's part of every toolbox request: is there such a sandbox, is it started, and is this activity?"""

from aiohttp import web
from aiohttp.typedefs import Handler

from sandboxes.local.sandbox import Sandbox
from sandboxes.local.sandboxes import Registry

_PREFIX = "/toolbox/"
_SKIP_ACTIVITY = "X-Daytona-Skip-Last-Activity-Update"
_SANDBOX = web.RequestKey("sandbox", Sandbox)


def sandbox_of(request: web.Request) -> Sandbox:
    """The started sandbox that the request is for."""
    return request[_SANDBOX]


class ToolboxProxy:
    """Opens the sandbox for the handlers behind it.

    Every request resets the auto-stop timer, and an open one keeps it from running, also a websocket; unless the header
    X-Daytona-Skip-Last-Activity-Update is true.
    """

    def __init__(self, registry: Registry) -> None:
        self._registry = registry

    @web.middleware
    async def middleware(self, request: web.Request, handler: Handler) -> web.StreamResponse:
        if not request.path.startswith(_PREFIX):
            return await handler(request)
        sandbox_id = request.path.removeprefix(_PREFIX).partition("/")[0]
        sandbox = self._registry.for_toolbox(sandbox_id)
        request[_SANDBOX] = sandbox
        if request.headers.get(_SKIP_ACTIVITY, "").lower() == "true":
            return await handler(request)
        sandbox.touch()
        sandbox.open_requests += 1
        try:
            return await handler(request)
        finally:
            sandbox.open_requests -= 1
            sandbox.touch()
