"""The event gateway: socket.io at /api/socket.io/, where state changes are announced as they happen."""

import asyncio
import hmac
from typing import Any

import socketio
from aiohttp import web

from sandboxes.local.sandboxes import StateChange

_PATH = "api/socket.io"


class Gateway:
    """Clients connect with the auth payload {"token": <API key>} and get every event. There is no replay after a gap.

    sandbox.created: the sandbox. sandbox.state.updated: {"sandbox", "oldState", "newState"}.
    sandbox.desired-state.updated: {"sandbox", "oldDesiredState", "newDesiredState"}.
    """

    def __init__(self, key: str) -> None:
        self._key = key
        self._server = socketio.AsyncServer(async_mode="aiohttp", logger=False, engineio_logger=False)
        self._server.on("connect", self._connect)
        self._server.on("disconnect", self._disconnect)
        # Where each client reached us: its events carry addresses that work for it.
        self._base_urls: dict[str, str] = {}
        self._changes: asyncio.Queue[tuple[str, dict[str, dict[str, Any]]]] = asyncio.Queue()

    def attach(self, app: web.Application) -> None:
        self._server.attach(app, socketio_path=_PATH)

    def announce(self, change: StateChange) -> None:
        """Queue an event for those who are connected now, with the sandbox as it is now."""
        payloads = {sid: _payload(change, base_url) for sid, base_url in self._base_urls.items()}
        name = "sandbox.created" if change.what == "created" else f"sandbox.{change.what}.updated"
        self._changes.put_nowait((name, payloads))

    async def run(self) -> None:
        """Send what is announced, in its order. Runs as long as the server."""
        while True:
            name, payloads = await self._changes.get()
            for sid, payload in payloads.items():
                await self._server.emit(name, payload, to=sid)

    async def close(self) -> None:
        await self._server.shutdown()

    async def _connect(self, sid: str, environ: dict[str, Any], auth: object = None) -> None:
        token = auth.get("token") if isinstance(auth, dict) else None
        if not isinstance(token, str) or not hmac.compare_digest(token.encode(), self._key.encode()):
            raise socketio.exceptions.ConnectionRefusedError("Invalid credentials")
        self._base_urls[sid] = f"http://{environ.get('HTTP_HOST', 'localhost')}"

    async def _disconnect(self, sid: str, *_: object) -> None:
        self._base_urls.pop(sid, None)


def _payload(change: StateChange, base_url: str) -> dict[str, Any]:
    sandbox = change.row.document(base_url)
    if change.what == "created":
        return sandbox
    suffix = "State" if change.what == "state" else "DesiredState"
    return {"sandbox": sandbox, f"old{suffix}": change.old, f"new{suffix}": change.new}
