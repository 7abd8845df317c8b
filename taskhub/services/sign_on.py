"""Sign-on with an OpenID provider: the account of an identity, made at its first sign-in; the break-glass account."""

from __future__ import annotations

from dataclasses import dataclass

from django.conf import settings
from django.contrib.auth.models import User
from django.db import IntegrityError, transaction

from taskhub.auth.actor import SYSTEM, Actor
from taskhub.errors import Forbidden, Invalid
from taskhub.models import BreakGlassAccount, SignOnIdentity
from taskhub.roles import Role, highest_role, role_of
from taskhub.services.accounts import account_create, account_new_password, account_set_role
from taskhub.services.audit import audit_write


@dataclass(frozen=True, slots=True)
class Identity:
    """Who signed in at the provider. `role` is what its groups give here, if anything."""

    issuer: str
    subject: str
    name: str
    email: str
    role: Role


@transaction.atomic
def sign_on_account(identity: Identity) -> User | None:
    """The account that signs in; None for one without a role, whose earlier role is taken away.

    Role and mail address follow the provider at each sign-in. Raises Forbidden for a deactivated account, and for an
    identity whose name is that of another account; Invalid for a name that no account may have.
    """
    found = SignOnIdentity.objects.select_for_update(of=("self",)).select_related("user")
    known = found.filter(issuer=identity.issuer, subject=identity.subject).first()
    user = known.user if known is not None else None
    if user is not None and not user.is_active:
        raise Forbidden("This account is deactivated; ask an operator.", code="account_disabled")
    if identity.role is Role.NOBODY:
        if user is not None:
            _follow_role(user, identity.role)
        return None
    if user is None:
        user = _account_for(identity)
    _follow_role(user, identity.role)
    if identity.email and identity.email != user.email:
        user.email = identity.email
        user.save(update_fields=["email"])
    return user


def _account_for(identity: Identity) -> User:
    """A new account; or, where the setting trusts the provider with names, the one of this name without an identity.

    Never the break-glass account: it is there for the day on which the provider cannot be trusted or does not answer.
    """
    user = User.objects.filter(username__iexact=identity.name).first()
    if user is not None:
        _guard_link(user, identity)
    try:
        with transaction.atomic():
            if user is None:
                user = account_create(actor=SYSTEM, username=identity.name, role=identity.role)
            SignOnIdentity.objects.create(user=user, issuer=identity.issuer, subject=identity.subject)
    except IntegrityError:
        # At the same moment, or by a name that is the same one in Unicode's normal form only.
        words = f"Another account is named {identity.name}, or was made just now; sign in again, or ask an operator."
        raise Forbidden(words, code="account_exists") from None
    changes: dict[str, list[object]] = {"subject": [None, identity.subject], "issuer": [None, identity.issuer]}
    audit_write(actor=SYSTEM, action="account:link", subject=f"account:{user.get_username()}", changes=changes)
    return user


def _guard_link(user: User, identity: Identity) -> None:
    """Raises Forbidden."""
    is_taken = hasattr(user, "sign_on_identity") or hasattr(user, "break_glass")
    if not settings.TASKHUB_OIDC_LINK_BY_NAME or is_taken:
        raise Forbidden(f"Another account is named {identity.name}; ask an operator.", code="account_exists")
    if not user.is_active:
        raise Forbidden("This account is deactivated; ask an operator.", code="account_disabled")


def _follow_role(user: User, role: Role) -> None:
    """A superuser is an operator whatever its groups are, so it is none any more where the provider gives less."""
    before = Role.OPERATOR if user.is_superuser else highest_role(user.groups.values_list("name", flat=True))
    if before == role:
        return
    if role is Role.NOBODY:
        user.groups.clear()
        user.is_superuser = False
        user.save(update_fields=["is_superuser"])
    else:
        account_set_role(user=user, role=role)
    changes: dict[str, list[object]] = {"role": [before.group if before else None, role.group if role else None]}
    audit_write(actor=SYSTEM, action="account:role", subject=f"account:{user.get_username()}", changes=changes)


@transaction.atomic
def break_glass_account(*, actor: Actor, username: str) -> str:
    """The new password of an operator's account, which works also where passwords are switched off.

    The account is made if it does not exist. Raises Invalid for an account that is no operator or is deactivated, and
    for one that signs in with the provider, which could take it away.
    """
    user = User.objects.filter(username=username).first()
    if user is None:
        user = account_create(actor=actor, username=username, role=Role.OPERATOR)
    if not user.is_active or role_of(user) < Role.OPERATOR:
        raise Invalid(f"{username} is deactivated or does not have the role operator; choose another name.")
    if hasattr(user, "sign_on_identity"):
        raise Invalid(f"{username} signs in with the OpenID provider; choose another name.")
    BreakGlassAccount.objects.get_or_create(user=user)
    audit_write(actor=actor, action="account:break_glass", subject=f"account:{username}")
    return account_new_password(actor=actor, user=user)
