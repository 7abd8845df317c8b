"""Announcements: those that hold are for everybody, the others for operators."""

from __future__ import annotations

from django.contrib.auth.models import AnonymousUser, User
from django.db.models import QuerySet

from taskhub.errors import Forbidden
from taskhub.models import Announcement
from taskhub.roles import Role, role_of


def announcement_list_for(*, user: User | AnonymousUser, everything: bool = False) -> QuerySet[Announcement]:
    """Those that hold now, the newest first; `everything`: also those that are over. Raises Forbidden for that."""
    if everything and role_of(user) < Role.OPERATOR:
        raise Forbidden("Announcements that are over are for the role operator.")
    return Announcement.objects.all() if everything else Announcement.objects.current()
