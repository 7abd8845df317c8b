"""Who may, by role. Unless a view says less, reading takes a viewer and anything else an operator."""

from __future__ import annotations

from typing import Any

from rest_framework.permissions import SAFE_METHODS, BasePermission
from rest_framework.request import Request

from taskhub.roles import Role, role_of


class RoleAllows(BasePermission):
    """A view says `roles = {"POST": Role.AGENT}` for the methods that need another role than the default.

    Where reading is open, that is not for the views that are about an account's own: `for_accounts = True`.
    """

    def has_permission(self, request: Request, view: Any) -> bool:
        method = str(request.method)
        open_to_all = method in SAFE_METHODS and not getattr(view, "for_accounts", False)
        if not open_to_all and not request.user.is_authenticated:
            return False
        needed = role_needed(view, method)
        role = role_of(request.user)
        self.message = f"This takes the role {needed.group}; yours is {role.group}."
        return role >= needed


def role_needed(view: Any, method: str) -> Role:
    default = Role.VIEWER if method in SAFE_METHODS else Role.OPERATOR
    needed: Role = getattr(view, "roles", {}).get(method, default)
    return needed


AGENTS_WRITE = dict.fromkeys(("POST", "PUT", "PATCH", "DELETE"), Role.AGENT)
"""Of views whose every change is an agent's daily work."""
