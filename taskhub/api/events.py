"""`/api/events/status`: how broadcasting stands (spec 003). The stream itself is in `streams`."""

from __future__ import annotations

from typing import Any

from asgiref.sync import async_to_sync
from drf_spectacular.utils import extend_schema
from rest_framework import serializers
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.views import APIView

from taskhub.api.streams import status_snapshot


class EventStatusSerializer(serializers.Serializer[Any]):
    status = serializers.ChoiceField(choices=["ok", "degraded"])
    connected_clients = serializers.IntegerField()
    clients_per_channel = serializers.DictField(child=serializers.IntegerField())
    last_event_ids = serializers.DictField(child=serializers.CharField())
    outcomes = serializers.DictField(child=serializers.IntegerField(), help_text="Closed streams, by how they ended.")
    redis = serializers.BooleanField()
    database = serializers.BooleanField()


class EventStatusView(APIView):
    @extend_schema(responses=EventStatusSerializer)
    def get(self, request: Request) -> Response:  # noqa: ARG002 - DRF's interface
        """How event broadcasting stands."""
        return Response(async_to_sync(status_snapshot)())
