"""OAuth grants: create, end. A grant is a row of `ApiToken` with a client (`taskhub/oauth/__init__.py`)."""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import Any, Final
from urllib.parse import urlsplit
from uuid import UUID

from django.conf import settings
from django.contrib.auth.models import User
from django.db import transaction
from django.db.models import Exists, OuterRef
from django.utils import timezone
from oauth2_provider.models import Application, clear_expired

from taskhub.auth.actor import SYSTEM, Actor
from taskhub.lib.timestamps import iso
from taskhub.models import ApiToken
from taskhub.roles import ROLES, Role, highest_role
from taskhub.services.audit import audit_write

NAME_LENGTH: Final = 90
UNUSED_CLIENTS_KEEP: Final = timedelta(days=1)
"""So long a client that registered itself is kept without a grant."""


def role_of_scope(scope: str) -> Role:
    """The highest role that a scope names; the lowest of all without one."""
    return highest_role(scope.split())


def scope_of_role(role: Role, asked: str) -> str:
    """The words of the asked scope up to this role; the role's own where that leaves none."""
    return " ".join(word for word in asked.split() if word in ROLES and ROLES[word] <= role) or role.group


@transaction.atomic
def grant_create(
    *, user: User, client: Application, family: UUID, scope: str, latest: datetime | None, code_digest: str
) -> ApiToken:
    """The grant of a family of tokens that was made just now with a code.

    It ends after `TASKHUB_OAUTH_GRANT_DAYS`, and no later than `latest`. Its agents' name is that of the client, with a
    number where the account has another grant or token of that name: two hosts are two agents.
    """
    role = role_of_scope(scope)
    expiry = timezone.now() + timedelta(days=settings.TASKHUB_OAUTH_GRANT_DAYS)
    name = _free_name(user, (client.name or host_of(client.client_id) or "OAuth client")[:NAME_LENGTH])
    # Its text, which knox makes, is dropped: nothing but the family's tokens leads to this row.
    token: ApiToken = ApiToken.objects.create(
        user=user,
        name=name,
        expiry=(min(expiry, latest) if latest else expiry) - timezone.now(),
        role=role.group,
        public_id=family,
        client=client,
        code_digest=code_digest,
    )[0]
    changes: dict[str, list[Any]] = {"account": [None, user.get_username()], "name": [None, name]}
    changes |= {"role": [None, role.group], "client": [None, client.client_id], "expires_at": [None, iso(token.expiry)]}
    audit_write(actor=Actor(door="rest", user=user), action="grant:create", subject=f"token:{family}", changes=changes)
    return token


def host_of(client_id: str) -> str:
    """Of a client that is known by its metadata document; "" for others."""
    try:
        return urlsplit(client_id).netloc if client_id.startswith("https://") else ""
    except ValueError:
        return ""


@transaction.atomic
def grant_end(*, family: UUID, reason: str) -> None:
    """End a grant that its client gave up, or that was used as only a thief would; its streams close within 5 s."""
    token = ApiToken.objects.select_for_update(of=("self",)).filter(public_id=family, client__isnull=False).first()
    if token is None:
        return
    changes = {"account": [token.user.get_username(), None], "name": [token.name, None], "reason": [None, reason]}
    token.delete()
    audit_write(actor=SYSTEM, action="grant:end", subject=f"token:{family}", changes=changes)


def grants_end_of_code(*, client_id: int, code_digest: str) -> None:
    """End the grants that were made with a code that has come again."""
    made = ApiToken.objects.filter(client_id=client_id, code_digest=code_digest).exclude(code_digest="")
    for family in made.values_list("public_id", flat=True):
        grant_end(family=family, reason="code_reused")


def oauth_trim() -> None:
    """Delete expired codes and tokens, and the clients that registered themselves and have no grant."""
    clear_expired()
    unused = Application.objects.filter(
        ~Exists(ApiToken.objects.filter(client=OuterRef("pk"))),
        registration_source__in=("dcr", "cimd"),
        created__lt=timezone.now() - UNUSED_CLIENTS_KEEP,
    )
    unused.delete()


def _free_name(user: User, name: str) -> str:
    taken = set(ApiToken.objects.filter(user=user, name__startswith=name).values_list("name", flat=True))
    numbered = (f"{name} {number}" for number in range(2, len(taken) + 3))
    return name if name not in taken else next(each for each in numbered if each not in taken)


def client_register(*, name: str, redirect_uris: list[str], is_public: bool) -> tuple[Application, str]:
    """A client that registers itself, and its secret; "" for a public one. The database has a digest of the secret."""
    client = Application(
        name=name,
        redirect_uris=" ".join(redirect_uris),
        client_type=Application.CLIENT_PUBLIC if is_public else Application.CLIENT_CONFIDENTIAL,
        authorization_grant_type=Application.GRANT_AUTHORIZATION_CODE,
        registration_source=Application.RegistrationSource.DCR,
    )
    secret = "" if is_public else client.client_secret
    client.save()
    return client, secret
