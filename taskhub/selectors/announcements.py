"""Announcements: current ones for all callers, expired ones for operators."""

from __future__ import annotations

from django.contrib.auth.models import AnonymousUser, User
from django.db.models import QuerySet

from taskhub.errors import Forbidden
from taskhub.models import Announcement
from taskhub.roles import Role, role_of


def announcement_list_for(*, user: User | AnonymousUser, everything: bool = False) -> QuerySet[Announcement]:
    """Current announcements, newest first; `everything` includes expired ones. Raises Forbidden for non-operators."""
    if everything and role_of(user) < Role.OPERATOR:
        raise Forbidden("Expired announcements require the role operator.")
    return Announcement.objects.all() if everything else Announcement.objects.current()
