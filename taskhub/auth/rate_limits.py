"""Rate limits: requests per account or address, failed credentials per address.

Counted in each process, like streams: a check costs no query and no Redis. N web processes give N times the limit.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from ipaddress import IPv6Address, IPv6Network, ip_address
from typing import Any, Final

from django.conf import settings
from django.contrib.auth.signals import user_login_failed
from django.dispatch import receiver
from django.http import HttpRequest

WINDOW_S: Final = 60.0
_KEPT: Final = 10_000
"""Number of callers that are remembered; beyond it the least recently counted ones are dropped."""


class Limit:
    """At most `most()` a minute for each caller, whose minute starts at the first count; 0 is no limit."""

    def __init__(self, most: Callable[[], int]) -> None:
        self._most = most
        self._windows: dict[str, tuple[float, int]] = {}
        self._lock = threading.Lock()

    def count(self, caller: str) -> None:
        now = time.monotonic()
        with self._lock:
            since, count = self._windows.pop(caller, (now, 0))
            if now - since >= WINDOW_S:
                since, count = now, 0
            self._windows[caller] = (since, count + 1)
            while len(self._windows) > _KEPT:
                del self._windows[next(iter(self._windows))]

    def wait_s(self, caller: str) -> float:
        """Seconds until the caller may continue; 0 if it may now."""
        most = self._most()
        since, count = self._windows.get(caller, (0.0, 0))
        if not most or count < most:
            return 0.0
        return max(0.0, since + WINDOW_S - time.monotonic())

    def forget(self) -> None:
        self._windows.clear()


failures: Final = Limit(lambda: settings.TASKHUB_FAILED_CREDENTIALS_PER_MINUTE)
"""Per address: beyond it, wrong credentials from the address are refused as 429 until the minute is over, and passwords
from browsers that have not signed in to the account before; a right token, ticket or link always passes."""
account_requests: Final = Limit(lambda: settings.TASKHUB_REQUESTS_PER_MINUTE)
address_requests: Final = Limit(lambda: settings.TASKHUB_REQUESTS_PER_MINUTE_PER_ADDRESS)


def whose_address() -> str:
    """Whom a limit per address counts, for a sentence to a client that reached one."""
    if settings.TASKHUB_IN_CONTAINER:
        return "all clients of this container together, because they come from one address"
    return "your address"


def address_of(request: HttpRequest) -> str:
    """The client address as the server saw it; behind a proxy uvicorn sets the client's (`--forwarded-allow-ips`)."""
    return str(request.META.get("REMOTE_ADDR", ""))


def network_of(request: HttpRequest) -> str:
    """The key of a limit: the address, or the /64 network of an IPv6 address, which is usually one client's."""
    text = address_of(request)
    try:
        address = ip_address(text)
    except ValueError:
        return text
    if isinstance(address, IPv6Address) and address.ipv4_mapped is None:
        return str(IPv6Network((address.packed[:8] + bytes(8), 64)))
    return text


@receiver(user_login_failed)
def _count_failed_login(request: HttpRequest | None = None, **_: Any) -> None:
    if request is not None:
        failures.count(network_of(request))
