"""Roles and permissions: the role of a caller, and which tasks it may see. `docs/access.md` has the whole table.

A role is a Django group of the same name. An account in several groups has the highest role; a superuser is an
operator. A role includes the permissions of the lower ones. A token may have a lower role than its account. Callers
without a role have no permissions, except in the local profile, where reading is open.
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
    """Ordered by power: compare with `role >= needed`."""

    NOBODY = 0
    VIEWER = 1
    AGENT = 2
    OPERATOR = 3

    @property
    def group(self) -> str:
        return self.name.lower()


ROLES: Final = {role.group: role for role in Role if role}
"""The groups that are roles; other groups have no meaning here."""
_KNOWN: Final = "_taskhub_role"


def role_from(groups: Iterable[str | None], *, is_active: bool, is_superuser: bool) -> Role:
    """The role of an account that is in these groups."""
    if not is_active:
        return Role.NOBODY
    named = Role.OPERATOR if is_superuser else highest_role(groups)
    return max(named, _open_to_all())


def highest_role(names: Iterable[str | None]) -> Role:
    """The highest one of these names; names of no role count for nothing."""
    return max((ROLES.get(name or "", Role.NOBODY) for name in names), default=Role.NOBODY)


def _open_to_all() -> Role:
    return Role.VIEWER if settings.TASKHUB_OPEN_READING else Role.NOBODY


def limit_role(role: Role, limit: str) -> Role:
    """The account's role as a token has it, whose own role is the limit; "" limits nothing."""
    return min(role, ROLES.get(limit, role))


def know_role(user: User, groups: Iterable[str | None], limit: str = "") -> User:
    """The user, with the role cached from the query that loaded it: `role_of` then needs no query.

    `limit` is the role of the request's token.
    """
    role = role_from(groups, is_active=user.is_active, is_superuser=user.is_superuser)
    # Not by `vars`: of the lazy object in `request.user` they are the wrapper's.
    setattr(user, _KNOWN, limit_role(role, limit))
    return user


def know_limit(user: User, limit: str) -> None:
    """Limit the cached role of this object to that of the token behind its session."""
    setattr(user, _KNOWN, limit_role(role_of(user), limit))


def role_of(caller: Caller) -> Role:
    """The caller's role; takes one query unless authentication has cached it."""
    if not isinstance(caller, User):
        return _open_to_all()
    if not hasattr(caller, _KNOWN):
        know_role(caller, caller.groups.values_list("name", flat=True))
    role: Role = getattr(caller, _KNOWN)
    return role


def viewer_of(caller: Caller | None) -> str | None:
    """Filter for private tasks: None sees all of them, a name those assigned to it, "" none.

    `caller` is None if the service itself reads.
    """
    if caller is None or role_of(caller) >= Role.OPERATOR:
        return None
    return caller.get_username()


def visible_tasks(caller: Caller | None, *, prefix: str = "") -> Q:
    """Condition on tasks that the caller may see: private ones only for their assignee and operators.

    `prefix` is the lookup path to the task, like `task__`.
    """
    viewer = viewer_of(caller)
    if viewer is None:
        return Q()
    public = Q((f"{prefix}private", False))
    return public | Q((f"{prefix}assignee", viewer)) if viewer else public


def sees_task(caller: Caller | None, *, private: bool, assignee: str) -> bool:
    """The same condition, for a loaded task."""
    viewer = viewer_of(caller)
    return viewer is None or not private or (bool(viewer) and assignee == viewer)
