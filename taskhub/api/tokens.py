"""`/api/tokens/`: an account's own API tokens."""

from __future__ import annotations

from datetime import timedelta
from typing import Any, Final, cast
from uuid import UUID

from django.contrib.auth.models import User
from django.utils import timezone
from drf_spectacular.utils import extend_schema
from knox.settings import knox_settings
from rest_framework import serializers, status
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.views import APIView

from taskhub.api.actors import actor_of
from taskhub.api.fields import OneOfField, StrictSerializer, TextField
from taskhub.api.idempotency import IDEMPOTENCY_KEY, idempotent
from taskhub.api.query import KnownQuery
from taskhub.models import ApiToken
from taskhub.roles import ROLES, Role
from taskhub.selectors.tokens import token_list_for
from taskhub.services.tokens import token_create, token_revoke

_LONGEST_DAYS: Final = 365
_OWN: Final = {"POST": Role.VIEWER, "DELETE": Role.VIEWER}


class TokenSerializer(serializers.Serializer[Any]):
    """A token, without what it is: that was shown when it was made."""

    id = serializers.UUIDField(source="public_id")
    name = serializers.CharField()
    created_at = serializers.DateTimeField(source="created")
    expires_at = serializers.DateTimeField(source="expiry", allow_null=True)
    role = serializers.ChoiceField(
        choices=list(ROLES), allow_null=True, help_text="The most that it may do; null: what its account may."
    )

    def to_representation(self, instance: ApiToken) -> dict[str, Any]:
        shown: dict[str, Any] = super().to_representation(instance)
        return shown | {"role": instance.role or None}


class TokenCreatedSerializer(TokenSerializer):
    """The one answer that holds the token itself."""

    token = serializers.CharField()


class TokenCreateSerializer(StrictSerializer):
    """`expires_in_days` is 90 unless given; a token that is made with a token does not outlive that one, and may do no
    more than it. `role`: the most that it may do; without it, what the account may."""

    example = {"name": "build agent", "expires_in_days": 30, "role": "agent"}

    name = TextField(max_length=100, visible=True, one_line=True)
    expires_in_days = serializers.IntegerField(min_value=1, max_value=_LONGEST_DAYS, required=False)
    role = OneOfField(choices=list(ROLES), required=False)


class TokensView(KnownQuery, APIView):
    """The caller's own tokens; other accounts' are made and revoked in the admin."""

    roles = _OWN
    for_accounts = True

    @extend_schema(responses=TokenSerializer(many=True))
    def get(self, request: Request) -> Response:
        """The account's tokens, newest first."""
        return Response(TokenSerializer(token_list_for(user=_account(request)), many=True).data)

    @extend_schema(request=TokenCreateSerializer, responses={201: TokenCreatedSerializer}, parameters=[IDEMPOTENCY_KEY])
    @idempotent(secret=True)
    def post(self, request: Request) -> Response:
        """Make a token; it is shown in this answer and never again."""
        body = TokenCreateSerializer(data=request.data)
        body.is_valid(raise_exception=True)
        days = body.validated_data.get("expires_in_days")
        lives = timedelta(days=days) if days else knox_settings.TOKEN_TTL
        token, text = token_create(
            actor=actor_of(request),
            user=_account(request),
            name=body.validated_data["name"],
            expiry=timezone.now() + lives,
            role=ROLES.get(body.validated_data.get("role", "")),
        )
        shown = {**TokenSerializer(token).data, "token": text}
        return Response(shown, status=status.HTTP_201_CREATED, headers={"Cache-Control": "no-store"})


class TokenView(KnownQuery, APIView):
    roles = _OWN
    for_accounts = True
    queryset = ApiToken.objects.none()

    @extend_schema(responses={204: None})
    def delete(self, request: Request, token_id: UUID) -> Response:
        """Revoke one of the account's tokens; streams that stand on it close within 5 s."""
        token_revoke(actor=actor_of(request), public_id=token_id, owner=_account(request))
        return Response(status=status.HTTP_204_NO_CONTENT)


def _account(request: Request) -> User:
    """`for_accounts` has let only accounts through."""
    return cast("User", request.user)
