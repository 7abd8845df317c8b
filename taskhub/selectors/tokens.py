"""API tokens of an account."""

from __future__ import annotations

from django.contrib.auth.models import User
from django.db.models import QuerySet

from taskhub.models import ApiToken


def token_list_for(*, user: User) -> QuerySet[ApiToken]:
    """The account's own tokens, newest first, without OAuth grants; expired ones until a job deletes them."""
    tokens: QuerySet[ApiToken] = ApiToken.objects.filter(user=user, client__isnull=True)
    return tokens.order_by("-created", "-public_id")
