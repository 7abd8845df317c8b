"""The control API: /api/sandbox and what the SDK asks beside it."""

import json
from typing import Any

from aiohttp import web

from sandboxes.local.errors import ControlError
from sandboxes.local.listing import page
from sandboxes.local.options import Options
from sandboxes.local.rows import checked_map
from sandboxes.local.sandbox import Sandbox
from sandboxes.local.sandboxes import Registry

# Daytona holds a create or start request until the sandbox is started, but no longer than this.
_HOLD_S = 30.0

# The path's last part, and the field it sets.
_INTERVALS = {
    "autostop": "autoStopInterval",
    "autopause": "autoPauseInterval",
    "autoarchive": "autoArchiveInterval",
    "autodelete": "autoDeleteInterval",
}


class ControlApi:
    """Handlers. They translate; the registry decides and raises ControlError."""

    def __init__(self, registry: Registry, options: Options) -> None:
        self._registry = registry
        self._options = options

    def routes(self) -> list[web.RouteDef]:
        sandbox = "/api/sandbox/{sandboxIdOrName}"
        return [
            web.get("/api/config", self.config),
            web.get("/api/sandbox", self.index),
            web.post("/api/sandbox", self.create),
            web.get(sandbox, self.get),
            web.delete(sandbox, self.delete),
            web.post(f"{sandbox}/start", self.start),
            web.post(f"{sandbox}/stop", self.stop),
            web.put(f"{sandbox}/labels", self.replace_labels),
            web.post(f"{sandbox}/last-activity", self.last_activity),
            web.get(f"{sandbox}/toolbox-proxy-url", self.toolbox_proxy_url),
            web.get(f"{sandbox}/build-logs-url", self.build_log_url),
            web.get(f"{sandbox}/build-logs", self.build_log),
            web.post(f"{sandbox}/public/{{isPublic}}", self.set_public),
            web.post(f"{sandbox}/network-settings", self.set_network),
            web.post(f"{sandbox}/ttl/{{interval}}", self.set_ttl),
            web.post(sandbox + "/{setting:autostop|autopause|autoarchive|autodelete}/{interval}", self.set_interval),
        ]

    async def config(self, request: web.Request) -> web.StreamResponse:
        return web.json_response({"version": "0.190.0", "proxyToolboxUrl": f"{base_url(request)}/toolbox"})

    async def index(self, request: web.Request) -> web.StreamResponse:
        rows, cursor = page(self._registry.rows(), request.query)
        base = base_url(request)
        items = [row.document(base, details=False) for row in rows]
        return web.json_response({"items": items, "nextCursor": cursor})

    async def create(self, request: web.Request) -> web.StreamResponse:
        row = await self._registry.create(await json_body(request))
        # Daytona answers with the sandbox as first made, though by then it is started.
        answer = row.document(base_url(request))
        if row.state != "pending_build":
            await self._registry.settled(self._registry.get(row.id), _HOLD_S)
        return web.json_response(answer)

    async def get(self, request: web.Request) -> web.StreamResponse:
        return _answer(request, self._registry.get(_name(request)))

    async def start(self, request: web.Request) -> web.StreamResponse:
        sandbox = await self._registry.start(_name(request))
        await self._registry.settled(sandbox, _HOLD_S)
        return _answer(request, sandbox)

    async def stop(self, request: web.Request) -> web.StreamResponse:
        force = _boolean(request.query.get("force", "false"), "force")
        return _answer(request, await self._registry.stop(_name(request), force=force))

    async def delete(self, request: web.Request) -> web.StreamResponse:
        return _answer(request, await self._registry.destroy(_name(request)))

    async def replace_labels(self, request: web.Request) -> web.StreamResponse:
        body = await json_body(request)
        labels = checked_map("labels", body.get("labels") if isinstance(body, dict) else None)
        self._registry.change(_name(request), labels=labels)
        return web.json_response({"labels": labels})

    async def last_activity(self, request: web.Request) -> web.StreamResponse:
        self._registry.get(_name(request)).touch()
        return web.Response(status=201)

    async def toolbox_proxy_url(self, request: web.Request) -> web.StreamResponse:
        self._registry.get(_name(request))
        return web.json_response({"url": f"{base_url(request)}/toolbox"})

    async def build_log_url(self, request: web.Request) -> web.StreamResponse:
        sandbox = self._registry.get(_name(request))
        return web.json_response({"url": f"{base_url(request)}/api/sandbox/{sandbox.row.id}/build-logs"})

    async def build_log(self, request: web.Request) -> web.StreamResponse:
        """Text, as far as it is; with `follow=true` as it comes."""
        build = self._registry.builds.get(self._registry.get(_name(request)).row.id)
        if build is None:
            raise ControlError(404, "Build logs not found")
        response = web.StreamResponse(headers={"Content-Type": "text/plain; charset=utf-8"})
        await response.prepare(request)
        if request.query.get("follow") == "true":
            async for line in build.follow():
                await response.write(f"{line}\n".encode())
        else:
            await response.write("".join(f"{line}\n" for line in build.lines).encode())
        return response

    async def set_public(self, request: web.Request) -> web.StreamResponse:
        public = _boolean(request.match_info["isPublic"], "isPublic")
        return _answer(request, self._registry.change(_name(request), public=public))

    async def set_network(self, request: web.Request) -> web.StreamResponse:
        """The namespace of processes that run cannot be changed, so this is never done in part, or only said."""
        sandbox = self._registry.get(_name(request))
        body = await json_body(request)
        if not isinstance(body, dict) or body.get("networkBlockAll") is not sandbox.row.fields.get("networkBlockAll"):
            raise ControlError(400, "This local sandbox server has no network to close later")
        return _answer(request, sandbox)

    async def set_interval(self, request: web.Request) -> web.StreamResponse:
        setting = request.match_info["setting"]
        # Only auto-delete knows a negative number: never.
        interval = _interval(request, least=-1 if setting == "autodelete" else 0)
        return _answer(request, self._registry.change(_name(request), **{_INTERVALS[setting]: interval}))

    async def set_ttl(self, request: web.Request) -> web.StreamResponse:
        sandbox = self._registry.get(_name(request))
        sandbox.row.set_ttl(_interval(request, least=0), minute_s=self._options.minute_s)
        self._registry.updated(sandbox)
        return _answer(request, sandbox)


async def json_body(request: web.Request) -> Any:
    """The decoded body. Raises ControlError 400."""
    try:
        return json.loads(await request.read())
    except ValueError:
        raise ControlError(400, "The body is not valid JSON") from None


def base_url(request: web.Request) -> str:
    """Where the client reached us: so any port works, and any forwarding."""
    return f"{request.scheme}://{request.host}"


def _name(request: web.Request) -> str:
    return request.match_info["sandboxIdOrName"]


def _answer(request: web.Request, sandbox: Sandbox) -> web.StreamResponse:
    return web.json_response(sandbox.row.document(base_url(request)))


def _boolean(text: str, name: str) -> bool:
    if text not in ("true", "false"):
        raise ControlError(400, f"{name} must be true or false")
    return text == "true"


def _interval(request: web.Request, *, least: int) -> int:
    try:
        interval = int(request.match_info["interval"])
    except ValueError:
        raise ControlError(400, "The interval must be an integer number of minutes") from None
    if interval < least:
        raise ControlError(400, f"The interval must be at least {least} minutes")
    return interval
