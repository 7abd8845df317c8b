"""Accounts for programs, and new passwords. Accounts of people are created and changed in the admin."""

from __future__ import annotations

import secrets

from django.contrib.auth.models import Group, User
from django.contrib.auth.validators import UnicodeUsernameValidator
from django.core.exceptions import ValidationError
from django.db import transaction

from taskhub.auth.account_names import guard_name
from taskhub.auth.actor import Actor
from taskhub.auth.sign_in_limits import failures_forget
from taskhub.errors import Invalid
from taskhub.roles import Role
from taskhub.services.audit import audit_write


@transaction.atomic
def account_create(*, actor: Actor, username: str, role: Role) -> User:
    """An account with this role and without a password: it signs in by tokens only. Raises Invalid."""
    try:
        UnicodeUsernameValidator()(username)
        guard_name(username)
    except ValidationError as error:
        raise Invalid(error.messages[0], details={"username": error.messages}) from None
    user = User.objects.create_user(username)
    user.groups.add(Group.objects.get_or_create(name=role.group)[0])
    changes = {"role": [None, role.group]}
    audit_write(actor=actor, action="account:create", subject=f"account:{username}", changes=changes)
    return user


@transaction.atomic
def account_new_password(*, actor: Actor, user: User) -> str:
    """A new random password of this account, which cannot be read again; its sessions and sign-in links end with it."""
    password = secrets.token_urlsafe(12)
    user.set_password(password)
    user.save(update_fields=["password"])
    audit_write(actor=actor, action="account:password", subject=f"account:{user.get_username()}")
    return password


@transaction.atomic
def account_unlock(*, actor: Actor, user: User) -> int:
    """Forget the failed sign-ins of this account; returns how many counters there were."""
    count = failures_forget(user.get_username())
    audit_write(
        actor=actor,
        action="account:unlock",
        subject=f"account:{user.get_username()}",
        changes={"counters": [count, 0]},
    )
    return count


@transaction.atomic
def account_set_role(*, user: User, role: Role) -> None:
    """Give the account this role and no other; the caller audits the change, of which this is a part.

    A superuser is an operator: with a lower role the account is none any more.
    """
    user.groups.set([Group.objects.get_or_create(name=role.group)[0]])
    if user.is_superuser and role < Role.OPERATOR:
        user.is_superuser = False
        user.save(update_fields=["is_superuser"])
