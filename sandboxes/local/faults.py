"""Faults on demand, and counts of requests: how clients are tested against a Daytona that is ill. Off by default."""

import asyncio
import re
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field, fields
from typing import Any

from aiohttp import web
from aiohttp.typedefs import Handler

from sandboxes.local.control import json_body
from sandboxes.local.errors import ControlError

_PATHS = ("/faults", "/requests")
_CLOSE_CODES = (1000, 1001, 1006, 1011)


@dataclass(frozen=True)
class Cut:
    """End a log stream with `code`, after `after_bytes` bytes of it."""

    code: int
    after_bytes: int


@dataclass
class Fault:
    """`match` is a regular expression over "METHOD /path"; the fault is used up after `times` requests (None: never).

    Exactly one effect: `status` (with `headers` and `body`, or `text` as often as `repeat` says) in place of the real
    answer; `hang_s`, seconds to wait before the real answer; `ws_close_code` with `after_bytes` (1000 is an end that
    comes too early); `snapshot_drop_lines`, lines that the end of a snapshot lacks.
    """

    match: str
    times: int | None = None
    status: int | None = None
    headers: dict[str, str] = field(default_factory=dict)
    body: Any = None
    text: str | None = None
    repeat: int = 1
    hang_s: float | None = None
    ws_close_code: int | None = None
    after_bytes: int = 0
    snapshot_drop_lines: int | None = None

    @classmethod
    def from_json(cls, body: object) -> "Fault":
        """Raises ControlError 400."""
        if not isinstance(body, dict) or not isinstance(body.get("match"), str):
            raise ControlError(400, 'A fault needs "match", a regular expression over "METHOD /path"')
        unknown = body.keys() - {each.name for each in fields(cls)}
        if unknown:
            raise ControlError(400, f"Unknown in a fault: {', '.join(sorted(unknown))}")
        fault = cls(**body)
        effects = (fault.status, fault.hang_s, fault.ws_close_code, fault.snapshot_drop_lines)
        if sum(effect is not None for effect in effects) != 1:
            raise ControlError(400, "A fault has one of status, hang_s, ws_close_code, snapshot_drop_lines")
        if fault.ws_close_code is not None and fault.ws_close_code not in _CLOSE_CODES:
            raise ControlError(400, f"ws_close_code must be one of {_CLOSE_CODES}")
        try:
            re.compile(fault.match)
        except re.error as error:
            raise ControlError(400, f"match: {error}") from None
        return fault

    def applies(self, request: web.Request) -> bool:
        return self.times != 0 and re.search(self.match, f"{request.method} {request.path_qs}") is not None

    def use(self) -> None:
        if self.times is not None:
            self.times -= 1


class Faults:
    """The faults that are set, and the requests seen since the start by "METHOD /route/{template}"."""

    def __init__(self) -> None:
        self._faults: list[Fault] = []
        self._seen: Counter[str] = Counter()

    def routes(self) -> list[web.RouteDef]:
        return [
            web.post("/faults", self.add),
            web.delete("/faults", self.clear),
            web.get("/requests", self.requests),
        ]

    async def add(self, request: web.Request) -> web.StreamResponse:
        self._faults.append(Fault.from_json(await json_body(request)))
        return web.Response(status=201)

    async def clear(self, _: web.Request) -> web.StreamResponse:
        self._faults.clear()
        return web.Response(status=204)

    async def requests(self, _: web.Request) -> web.StreamResponse:
        return web.json_response(dict(self._seen))

    @web.middleware
    async def middleware(self, request: web.Request, handler: Handler) -> web.StreamResponse:
        """Count, then fail or wait if a fault says so. A fault's own routes are not counted and never fail."""
        if request.path in _PATHS:
            return await handler(request)
        resource = request.match_info.route.resource
        self._seen[f"{request.method} {request.path if resource is None else resource.canonical}"] += 1
        for fault in self._applying(request):
            if fault.status is not None:
                fault.use()
                if fault.text is not None:
                    return await _long_answer(request, fault, fault.text)
                return web.json_response(fault.body or {}, status=fault.status, headers=fault.headers)
            if fault.hang_s is not None:
                fault.use()
                await asyncio.sleep(fault.hang_s)
        return await handler(request)

    def cut(self, request: web.Request) -> Cut | None:
        """How this log stream is to end early, if it is."""
        for fault in self._applying(request):
            if fault.ws_close_code is not None:
                fault.use()
                return Cut(fault.ws_close_code, fault.after_bytes)
        return None

    def dropped_lines(self, request: web.Request) -> int:
        """How many lines this snapshot is to lack."""
        for fault in self._applying(request):
            if fault.snapshot_drop_lines is not None:
                fault.use()
                return fault.snapshot_drop_lines
        return 0

    def _applying(self, request: web.Request) -> Iterator[Fault]:
        return (fault for fault in list(self._faults) if fault.applies(request))


async def _long_answer(request: web.Request, fault: Fault, text: str) -> web.StreamResponse:
    """Piece by piece, so that it may be longer than memory."""
    answer = web.StreamResponse(
        status=fault.status or 200, headers={"Content-Type": "application/json", **fault.headers}
    )
    await answer.prepare(request)
    for _ in range(fault.repeat):
        await answer.write(text.encode())
    await answer.write_eof()
    return answer
