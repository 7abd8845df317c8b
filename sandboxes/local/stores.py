"""The control API beside sandboxes: the vault, volumes and snapshots."""

from aiohttp import web

from sandboxes.local.control import base_url, json_body
from sandboxes.local.errors import ControlError
from sandboxes.local.sandboxes import Registry

_LARGEST_PAGE = 200


class StoresApi:
    """Handlers. They translate; the stores decide and raise ControlError."""

    def __init__(self, registry: Registry) -> None:
        self._registry = registry
        self._vault = registry.vault
        self._volumes = registry.volumes
        self._snapshots = registry.snapshots

    def routes(self) -> list[web.RouteDef]:
        return [
            web.get("/api/secret", self.secrets),
            web.post("/api/secret", self.create_secret),
            web.get("/api/secret/paginated", self.secret_page),
            web.get("/api/secret/{id}", self.secret),
            web.patch("/api/secret/{id}", self.update_secret),
            web.delete("/api/secret/{id}", self.delete_secret),
            web.get("/api/volumes", self.index_volumes),
            web.post("/api/volumes", self.create_volume),
            web.get("/api/volumes/by-name/{id}", self.volume),
            web.get("/api/volumes/{id}", self.volume),
            web.delete("/api/volumes/{id}", self.delete_volume),
            web.post("/api/sandbox/{sandboxIdOrName}/snapshot", self.create_snapshot),
            web.get("/api/snapshots", self.index_snapshots),
            web.get("/api/snapshots/{id}", self.snapshot),
            web.post("/api/snapshots/{id}/activate", self.snapshot),
            web.delete("/api/snapshots/{id}", self.delete_snapshot),
        ]

    async def secrets(self, _: web.Request) -> web.StreamResponse:
        return web.json_response(self._vault.entries())

    async def secret_page(self, request: web.Request) -> web.StreamResponse:
        """The cursor is the id of the page's last entry."""
        found = self._vault.entries(request.query.get("name", ""))
        start = next((n + 1 for n, entry in enumerate(found) if entry["id"] == request.query.get("cursor")), 0)
        end = start + _limit(request)
        following = found[end - 1]["id"] if end < len(found) else None
        return web.json_response({"items": found[start:end], "total": len(found), "nextCursor": following})

    async def create_secret(self, request: web.Request) -> web.StreamResponse:
        return web.json_response(self._vault.create(await json_body(request)), status=201)

    async def secret(self, request: web.Request) -> web.StreamResponse:
        return web.json_response(self._vault.get(request.match_info["id"]))

    async def update_secret(self, request: web.Request) -> web.StreamResponse:
        return web.json_response(self._vault.update(request.match_info["id"], await json_body(request)))

    async def delete_secret(self, request: web.Request) -> web.StreamResponse:
        self._vault.delete(request.match_info["id"])
        return web.Response(status=204)

    async def index_volumes(self, _: web.Request) -> web.StreamResponse:
        return web.json_response(self._volumes.index())

    async def create_volume(self, request: web.Request) -> web.StreamResponse:
        return web.json_response(self._volumes.create(await json_body(request)))

    async def volume(self, request: web.Request) -> web.StreamResponse:
        return web.json_response(self._volumes.get(request.match_info["id"]))

    async def delete_volume(self, request: web.Request) -> web.StreamResponse:
        in_use = [volume["volumeId"] for row in self._registry.rows() for volume in row.fields.get("volumes", [])]
        self._volumes.delete(request.match_info["id"], in_use)
        return web.Response(status=200)

    async def create_snapshot(self, request: web.Request) -> web.StreamResponse:
        body = await json_body(request)
        name = body.get("name") if isinstance(body, dict) else None
        sandbox = self._registry.snapshot(request.match_info["sandboxIdOrName"], name)
        return web.json_response(sandbox.row.document(base_url(request)))

    async def index_snapshots(self, request: web.Request) -> web.StreamResponse:
        found = self._snapshots.index(request.query.get("name", ""))
        return web.json_response({"items": found, "total": len(found), "page": 1, "totalPages": 1})

    async def snapshot(self, request: web.Request) -> web.StreamResponse:
        return web.json_response(self._snapshots.get(request.match_info["id"]))

    async def delete_snapshot(self, request: web.Request) -> web.StreamResponse:
        self._snapshots.delete(request.match_info["id"])
        return web.Response(status=200)


def _limit(request: web.Request) -> int:
    text = request.query.get("limit", "100")
    if not text.isdecimal() or not 1 <= int(text) <= _LARGEST_PAGE:
        raise ControlError(400, f"limit must be between 1 and {_LARGEST_PAGE}")
    return int(text)
