"""`/api/me/`: who the caller is to the hub. A page that holds a token learns by it what to offer."""

from __future__ import annotations

from typing import Any

from drf_spectacular.utils import extend_schema
from rest_framework import serializers
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.views import APIView

from taskhub.api.query import KnownQuery
from taskhub.roles import ROLES, role_of


class MeSerializer(serializers.Serializer[Any]):
    """`name` is empty for who is not signed in, where reading is open to all."""

    name = serializers.CharField()
    role = serializers.ChoiceField(choices=list(ROLES))


class MeView(KnownQuery, APIView):
    @extend_schema(responses=MeSerializer)
    def get(self, request: Request) -> Response:
        """The caller's account and role."""
        me = {"name": request.user.get_username(), "role": role_of(request.user).group}
        return Response(MeSerializer(me).data)
