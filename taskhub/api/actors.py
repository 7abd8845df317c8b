"""The actor of a REST request: the account and the token on whose behalf a service writes."""

from __future__ import annotations

from typing import cast

from django.contrib.auth.models import User
from rest_framework.request import Request

from taskhub.auth.actor import Actor
from taskhub.models import ApiToken


def actor_of(request: Request) -> Actor:
    """Permission classes have made sure that the caller has an account."""
    token = request.auth if isinstance(request.auth, ApiToken) else None
    return Actor(door="rest", user=cast("User", request.user), token=token)
