"""Permissions by role. By default reading requires a viewer and everything else an operator."""

from __future__ import annotations

from typing import Any

from rest_framework.permissions import SAFE_METHODS, BasePermission
from rest_framework.request import Request

from taskhub.roles import Role, role_of


class RoleAllows(BasePermission):
    """A view sets `roles = {"POST": Role.AGENT}` for methods that require another role than the default.

    `for_accounts = True` excludes a view from open reading in the local profile: it is about the caller's own account.
    """

    def has_permission(self, request: Request, view: Any) -> bool:
        method = str(request.method)
        open_to_all = method in SAFE_METHODS and not getattr(view, "for_accounts", False)
        if not open_to_all and not request.user.is_authenticated:
            return False
        needed = role_needed(view, method)
        role = role_of(request.user)
        self.message = f"Requires the role {needed.group}; yours is {role.group}."
        return role >= needed


def role_needed(view: Any, method: str) -> Role:
    default = Role.VIEWER if method in SAFE_METHODS else Role.OPERATOR
    needed: Role = getattr(view, "roles", {}).get(method, default)
    return needed


AGENTS_WRITE = dict.fromkeys(("POST", "PUT", "PATCH", "DELETE"), Role.AGENT)
"""For views whose changes are an agent's daily work."""
