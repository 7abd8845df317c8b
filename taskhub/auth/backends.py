"""Authentication backend: loads an account with its role, in one query."""

from __future__ import annotations

from typing import Any

from django.conf import settings
from django.contrib.auth.backends import BaseBackend, ModelBackend
from django.contrib.auth.models import AnonymousUser, User
from django.db.models import F
from django.http import HttpRequest

from taskhub.auth.sign_in_limits import attempt_begin, attempt_succeeded
from taskhub.models import BreakGlassAccount
from taskhub.observability.log_context import bind_caller
from taskhub.roles import Role, know_role, role_of


def account_get(user_id: int, *, token_role: str = "") -> User | None:
    """The account with its role, in one query; None if it does not exist or may not sign in.

    `token_role` is the role of the token that stands for it, if one does.
    """
    rows = list(User.objects.filter(pk=user_id, is_active=True).annotate(group=F("groups__name")))
    return know_role(rows[0], [row.group for row in rows], token_role) if rows else None


class AccountBackend(ModelBackend):
    """Django's backend; operators have all permissions in the admin, and password guessing is rate-limited."""

    def authenticate(
        self, request: HttpRequest | None, username: str | None = None, password: str | None = None, **kwargs: Any
    ) -> User | None:
        """Raises TooManyAttempts at a limit; then the password is not looked at."""
        attempt = attempt_begin(request, username) if request is not None and username is not None else None
        user = super().authenticate(request, username, password, **kwargs)
        if not isinstance(user, User) or not _may_use_password(user):
            return None
        if attempt is not None:
            attempt_succeeded(attempt)
        return user

    def get_user(self, user_id: int) -> User | None:
        """The account of a session."""
        user = account_get(user_id)
        if user is not None:
            bind_caller(user)
        return user

    def has_perm(self, user_obj: Any, perm: str, obj: Any = None) -> bool:
        return is_operator(user_obj) or super().has_perm(user_obj, perm, obj)

    def has_module_perms(self, user_obj: Any, app_label: str) -> bool:
        return is_operator(user_obj) or super().has_module_perms(user_obj, app_label)


def _may_use_password(user: User) -> bool:
    """Where people sign in with the provider, passwords may be off, except for break-glass accounts."""
    return settings.TASKHUB_PASSWORD_SIGN_IN or BreakGlassAccount.objects.filter(user=user).exists()


class TokenSessionBackend(BaseBackend):
    """Of sessions that were begun with a token (`token_session.py`).

    A session names its backend, and Django knows no account by one that the settings do not name: a release without
    token sessions, as it runs during an upgrade, takes such a session for no sign-in, and not for all of the account.
    """

    def get_user(self, user_id: int) -> User | None:
        return AccountBackend().get_user(user_id)


def is_operator(user: User | AnonymousUser) -> bool:
    return bool(user.is_active) and role_of(user) >= Role.OPERATOR
