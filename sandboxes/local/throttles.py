"""Rate-limit headers as Daytona sends them. Nothing is limited here: tests inject a 429 where they need one."""

import time
from collections import Counter

from aiohttp import web

_WINDOW_S = 60
# Per minute, as for an organization of Daytona's first tier.
_LIMITS = {"authenticated": 10_000, "sandbox-create": 300, "sandbox-lifecycle": 10_000}
_LIFECYCLE = ("/start", "/stop")


class Throttles:
    """Counts requests per throttler and minute."""

    def __init__(self) -> None:
        self._window = 0
        self._seen: Counter[str] = Counter()

    def add_headers(self, request: web.Request, response: web.StreamResponse) -> None:
        """X-RateLimit-{Limit,Remaining,Reset}-{throttler}; Reset in seconds."""
        now = int(time.time())
        if now // _WINDOW_S != self._window:
            self._window = now // _WINDOW_S
            self._seen.clear()
        throttler = _throttler(request)
        self._seen[throttler] += 1
        limit = _LIMITS[throttler]
        response.headers[f"X-RateLimit-Limit-{throttler}"] = str(limit)
        response.headers[f"X-RateLimit-Remaining-{throttler}"] = str(max(0, limit - self._seen[throttler]))
        response.headers[f"X-RateLimit-Reset-{throttler}"] = str(_WINDOW_S - now % _WINDOW_S)


def _throttler(request: web.Request) -> str:
    if request.method == "POST" and request.path == "/api/sandbox":
        return "sandbox-create"
    if request.method == "DELETE" or request.path.endswith(_LIFECYCLE):
        return "sandbox-lifecycle"
    return "authenticated"
