"""How often in a minute: requests of an account or address, and failed credentials of an address.

Counted in this process, as streams are: a look costs no query and no Redis. N web processes give N times the limit.
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
"""Callers that are remembered; beyond it those that were counted longest ago go first."""


class Limit:
    """At most `most()` in a minute for each caller, whose minute begins with their first; 0 is no limit."""

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
        """How many seconds the caller is to wait; 0 if they need not."""
        most = self._most()
        since, count = self._windows.get(caller, (0.0, 0))
        if not most or count < most:
            return 0.0
        return max(0.0, since + WINDOW_S - time.monotonic())

    def forget(self) -> None:
        self._windows.clear()


failures: Final = Limit(lambda: settings.TASKHUB_FAILED_CREDENTIALS_PER_MINUTE)
"""By address: beyond it, an address is not listened to, right credentials or not, until its minute is over."""
account_requests: Final = Limit(lambda: settings.TASKHUB_REQUESTS_PER_MINUTE)
address_requests: Final = Limit(lambda: settings.TASKHUB_REQUESTS_PER_MINUTE_PER_ADDRESS)


def address_of(request: HttpRequest) -> str:
    """As the server saw it; behind a proxy uvicorn puts the client's there (`--forwarded-allow-ips`)."""
    return str(request.META.get("REMOTE_ADDR", ""))


def network_of(request: HttpRequest) -> str:
    """Whom a limit counts: an address, of IPv6 the network (/64), in which anybody has as many as they like."""
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
