"""Who may: in the local profile anybody on this machine reads; writing always needs an account."""

from __future__ import annotations

from typing import Any

from django.conf import settings
from rest_framework.permissions import SAFE_METHODS, BasePermission
from rest_framework.request import Request


class ReadOpenlyOrAuthenticated(BasePermission):
    def has_permission(self, request: Request, view: Any) -> bool:  # noqa: ARG002 - DRF's interface
        if settings.TASKHUB_OPEN_READING and request.method in SAFE_METHODS:
            return True
        return request.user.is_authenticated
