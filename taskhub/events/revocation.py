"""Revocation: checks whether the credentials of open streams are still valid.

A stream may be open for hours: its token or session may be revoked or expire, its account may be deactivated or get
another role. Each web process checks all of its streams together, in one query (a second one if some were opened with
sessions), every time its hub checks the event table.
"""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass
from datetime import datetime
from typing import Final, NamedTuple
from uuid import UUID

from django.contrib.auth.models import User
from django.contrib.sessions.models import Session
from django.db.models import FilteredRelation, Q
from django.utils import timezone

from taskhub.roles import Role, limit_role, role_from

NO_TOKEN: Final = UUID(int=0)


@dataclass(frozen=True, slots=True)
class StreamCredential:
    """An account at the time when the stream opened, and the token or session of the request, if any.

    It has both where the session is a token's (`auth/token_session.py`). `password` is its hash in the database:
    sessions end when it changes.
    """

    user_id: int
    username: str
    role: Role
    token_id: UUID | None = None
    session_key: str = ""
    password: str = ""


class _Token(NamedTuple):
    expiry: datetime | None
    role: str


class _Account(NamedTuple):
    username: str
    password: str
    role: Role
    tokens: dict[UUID, _Token]


def read_revoked(credentials: Collection[StreamCredential]) -> set[StreamCredential]:
    """Credentials that are no longer valid. Raises DatabaseError."""
    if not credentials:
        return set()
    accounts = _accounts(credentials)
    sessions = _living_sessions({credential.session_key for credential in credentials if credential.session_key})
    now = timezone.now()
    return {credential for credential in credentials if not _holds(credential, accounts, sessions, now)}


def _holds(credential: StreamCredential, accounts: dict[int, _Account], sessions: set[str], now: datetime) -> bool:
    account = accounts.get(credential.user_id)
    if account is None:
        return False
    # A deleted token counts as expired.
    token = account.tokens.get(credential.token_id or NO_TOKEN, _Token(now, ""))
    role = limit_role(account.role, token.role)
    if (account.username, role) != (credential.username, credential.role):
        return False
    if credential.session_key and not (credential.session_key in sessions and account.password == credential.password):
        return False
    if credential.token_id is None:
        return True
    return token.expiry is None or token.expiry > now


def _accounts(credentials: Collection[StreamCredential]) -> dict[int, _Account]:
    """One row per account, group and requested token."""
    # Never empty: Django would drop the accounts together with a condition that cannot be true.
    tokens = {credential.token_id for credential in credentials if credential.token_id is not None} or {NO_TOKEN}
    rows = (
        User.objects.filter(pk__in={credential.user_id for credential in credentials})
        .annotate(shown=FilteredRelation("auth_token_set", condition=Q(auth_token_set__public_id__in=tokens)))
        .values_list(
            *("pk", "username", "password", "is_active", "is_superuser"),
            *("groups__name", "shown__public_id", "shown__expiry", "shown__role"),
        )
    )
    found: dict[int, _Account] = {}
    for pk, username, password, is_active, is_superuser, group, token_id, expiry, token_role in rows:
        role = role_from([group], is_active=is_active, is_superuser=is_superuser)
        known = found.get(pk)
        known_tokens = known.tokens if known else {}
        if token_id is not None and is_active:
            known_tokens[token_id] = _Token(expiry, token_role)
        if is_active:
            found[pk] = _Account(username, password, max(role, known.role if known else role), known_tokens)
    return found


def _living_sessions(keys: set[str]) -> set[str]:
    if not keys:
        return set()
    living = Session.objects.filter(session_key__in=keys, expire_date__gt=timezone.now())
    return set(living.values_list("session_key", flat=True))
