"""API tokens: create and revoke. The table stores a digest; only the owner has the token."""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import Final
from uuid import UUID

from django.contrib.auth.models import User
from django.db import transaction
from django.utils import timezone

from taskhub.auth.actor import Actor
from taskhub.errors import Invalid, NotFound
from taskhub.lib.one_line import ONE_LINE, is_one_line
from taskhub.lib.timestamps import iso
from taskhub.models import ApiToken, EndedToken
from taskhub.roles import ROLES, Role
from taskhub.services.audit import audit_write

ENDED_TOKENS_KEEP: Final = timedelta(days=90)
"""So long the bearer of a token that ended is told whether it was revoked or expired."""
TOKENS_PER_ACCOUNT: Final = 100


@transaction.atomic
def token_create(
    *, actor: Actor, user: User, name: str, expiry: datetime | None, role: Role | None = None
) -> tuple[ApiToken, str]:
    """A token of this account and its text, which cannot be read again. Without `expiry` it is valid until revoked.

    `role` is the most that it may do, and never more than the account may; None: what the account may. A token that is
    created with a token expires no later than that one and has at most its role. Raises Invalid beyond 100 tokens, for
    an expiry in the past, or for a name that is not one line (agents that give no name are called by it).
    """
    if not is_one_line(name):
        raise Invalid("The token's name must be one line.", details={"name": [ONE_LINE]})
    role = _least(role, ROLES.get(actor.token.role) if actor.token else None)
    expiry = _earliest(expiry, actor.token.expiry if actor.token else None)
    if expiry is not None and expiry <= timezone.now():
        raise Invalid("expires_at must be in the future.", details={"expires_at": ["Must be in the future."]})
    if user.auth_token_set.filter(client__isnull=True).count() >= TOKENS_PER_ACCOUNT:
        raise Invalid("The account has the maximum number of tokens; revoke one first.", code="too_many_tokens")
    token, text = ApiToken.objects.create(
        user=user, name=name, expiry=expiry and expiry - timezone.now(), role=role.group if role else ""
    )
    changes = {"account": [None, user.get_username()], "name": [None, name]}
    changes |= {"role": [None, role.group]} if role else {}
    changes["expires_at"] = [None, iso(token.expiry) if token.expiry else None]
    audit_write(actor=actor, action="token:create", subject=f"token:{token.public_id}", changes=changes)
    return token, text


@transaction.atomic
def token_revoke(*, actor: Actor, public_id: UUID, owner: User | None = None) -> None:
    """Revoke a token; streams that were opened with it close within 5 s.

    With `owner` only a token of that account is found. Raises NotFound.
    """
    tokens = ApiToken.objects.select_for_update(of=("self",)).select_related("user").filter(public_id=public_id)
    token = (tokens.filter(user=owner) if owner is not None else tokens).first()
    if token is None:
        raise NotFound("Token not found.", code="token_not_found")
    changes = {"account": [token.user.get_username(), None], "name": [token.name, None]}
    token.delete()
    audit_write(actor=actor, action="token:revoke", subject=f"token:{public_id}", changes=changes)


def tokens_expire() -> None:
    """Delete the tokens that have expired; no request is refused that was not refused before, so nothing is audited.

    Also what is kept of tokens that ended long ago.
    """
    ApiToken.objects.filter(expiry__lt=timezone.now()).delete()
    EndedToken.objects.filter(ended_at__lt=timezone.now() - ENDED_TOKENS_KEEP).delete()


def _least(*roles: Role | None) -> Role | None:
    return min((role for role in roles if role is not None), default=None)


def _earliest(*moments: datetime | None) -> datetime | None:
    return min((moment for moment in moments if moment is not None), default=None)
