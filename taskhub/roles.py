"""Roles: who has which, what each may do, and which tasks a caller may see. `docs/access.md` has the whole table.

A role is a Django group of its name; who is in several has the highest, and a superuser is an operator. A role may do
what the lower ones may. Who has none may do nothing, except where reading is open (the local profile).
"""

from __future__ import annotations

from collections.abc import Iterable
from enum import IntEnum
from typing import Final, Literal

from django.conf import settings
from django.contrib.auth.models import AnonymousUser, User
from django.db.models import Q

Caller = User | AnonymousUser
Door = Literal["rest", "mcp", "admin", "command", "job"]
"""The interface that a change came through, as audit, history and log name it."""


class Role(IntEnum):
    """In the order of power, so that `role >= needed` is the whole question."""

    NOBODY = 0
    VIEWER = 1
    AGENT = 2
    OPERATOR = 3

    @property
    def group(self) -> str:
        return self.name.lower()


ROLES: Final = {role.group: role for role in Role if role}
"""The groups that are roles; other groups mean nothing here."""
_KNOWN: Final = "_taskhub_role"


def role_from(groups: Iterable[str | None], *, is_active: bool, is_superuser: bool) -> Role:
    """The role of an account that is in these groups."""
    if not is_active:
        return Role.NOBODY
    named = Role.OPERATOR if is_superuser else max(map(_role_named, groups), default=Role.NOBODY)
    return max(named, _open_to_all())


def _role_named(group: str | None) -> Role:
    return ROLES.get(group or "", Role.NOBODY)


def _open_to_all() -> Role:
    return Role.VIEWER if settings.TASKHUB_OPEN_READING else Role.NOBODY


def know_role(user: User, groups: Iterable[str | None]) -> User:
    """The user, with the role that came with the query that found them: asking again costs nothing."""
    role = role_from(groups, is_active=user.is_active, is_superuser=user.is_superuser)
    vars(user)[_KNOWN] = role
    return user


def role_of(caller: Caller) -> Role:
    """The caller's role; one query, unless the authentication has brought it along."""
    if not isinstance(caller, User):
        return _open_to_all()
    if _KNOWN not in vars(caller):
        know_role(caller, caller.groups.values_list("name", flat=True))
    role: Role = vars(caller)[_KNOWN]
    return role


def viewer_of(caller: Caller | None) -> str | None:
    """Through whose eyes private tasks are seen: None sees all of them, a name its own, "" none.

    `caller` is None where the service itself looks.
    """
    if caller is None or role_of(caller) >= Role.OPERATOR:
        return None
    return caller.get_username()


def visible_tasks(caller: Caller | None, *, prefix: str = "") -> Q:
    """The condition on a task that this caller may see it: private ones are for their assignee and for operators.

    `prefix` is how to come to the task, as `task__`.
    """
    viewer = viewer_of(caller)
    if viewer is None:
        return Q()
    public = Q((f"{prefix}private", False))
    return public | Q((f"{prefix}assignee", viewer)) if viewer else public


def sees_task(caller: Caller | None, *, private: bool, assignee: str) -> bool:
    """The same condition, on a task that is at hand."""
    viewer = viewer_of(caller)
    return viewer is None or not private or (bool(viewer) and assignee == viewer)
