"""OAuth grants: which are valid, and those of an account."""

from __future__ import annotations

from uuid import UUID

from django.contrib.auth.models import User
from django.db.models import QuerySet
from django.utils import timezone

from taskhub.models import ApiToken


def grant_is_valid(family: UUID | None) -> bool:
    """Whether the grant of this family exists, has not ended, and its account may sign in."""
    grants = ApiToken.objects.filter(public_id=family, client__isnull=False, user__is_active=True)
    return bool(grants.filter(expiry__gt=timezone.now()).exists())


def grant_list_for(*, user: User) -> QuerySet[ApiToken]:
    """The account's own grants, newest first, with their clients."""
    grants: QuerySet[ApiToken] = ApiToken.objects.filter(user=user, client__isnull=False).select_related("client")
    return grants.order_by("-created", "-public_id")
