"""Throttles: requests per minute of an account, and of an address."""

from __future__ import annotations

from typing import Any

from rest_framework.request import Request
from rest_framework.throttling import BaseThrottle

from taskhub.auth.rate_limits import Limit, account_requests, address_requests, network_of


class _LimitThrottle(BaseThrottle):
    def _allow(self, limit: Limit, caller: str) -> bool:
        self._wait_s = limit.wait_s(caller)
        if self._wait_s > 0:
            return False
        limit.count(caller)
        return True

    def wait(self) -> float:
        return self._wait_s


class AccountThrottle(_LimitThrottle):
    def allow_request(self, request: Request, view: Any) -> bool:  # noqa: ARG002 - DRF's interface
        return not request.user.is_authenticated or self._allow(account_requests, str(request.user.pk))


class AddressThrottle(_LimitThrottle):
    def allow_request(self, request: Request, view: Any) -> bool:  # noqa: ARG002 - likewise
        return self._allow(address_requests, network_of(request))
