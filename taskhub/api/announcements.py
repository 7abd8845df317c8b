"""`/api/announcements/`: what operators say to everybody who watches."""

from __future__ import annotations

from uuid import UUID

from django.db.models import QuerySet
from drf_spectacular.utils import extend_schema
from rest_framework import serializers, status
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.viewsets import GenericViewSet

from taskhub.api.actors import actor_of
from taskhub.api.fields import OneOfField, StrictSerializer, TextField
from taskhub.api.idempotency import IDEMPOTENCY_KEY, idempotent
from taskhub.api.query import KnownQuery, QuerySerializer
from taskhub.models import Announcement, AnnouncementLevel
from taskhub.models.announcement import TEXT_LIMIT
from taskhub.selectors.announcements import announcement_list_for
from taskhub.services.announcements import announcement_create, announcement_withdraw


class AnnouncementSerializer(StrictSerializer, serializers.ModelSerializer[Announcement]):
    """An announcement. It holds until `ends_at`, if there is one, or until it is withdrawn."""

    example = {"level": "info", "text": "The hub restarts at 18:00 UTC.", "ends_at": "2030-01-01T18:00:00Z"}

    level = OneOfField(choices=AnnouncementLevel.choices)
    text = TextField(max_length=TEXT_LIMIT, visible=True)
    made_by = serializers.CharField(source="made_by_name", read_only=True)

    class Meta:
        model = Announcement
        fields = ["id", "level", "text", "made_by", "created_at", "ends_at", "withdrawn_at"]
        read_only_fields = ["id", "created_at", "withdrawn_at"]


class AnnouncementQuerySerializer(QuerySerializer):
    all = OneOfField(choices=["0", "1"], default="0", help_text="1: also those that have ended, for operators.")


class AnnouncementsViewSet(KnownQuery, GenericViewSet[Announcement]):
    """Reading is for all who may read; making and withdrawing takes an operator."""

    queryset = Announcement.objects.none()
    serializer_class = AnnouncementSerializer
    filter_backends = []
    queries = {"list": AnnouncementQuerySerializer}
    lookup_url_kwarg = "announcement_id"

    def get_queryset(self) -> QuerySet[Announcement]:
        everything = self.read_query(self.request)["all"] == "1"
        return announcement_list_for(user=self.request.user, everything=everything)

    @extend_schema(parameters=[AnnouncementQuerySerializer])
    def list(self, request: Request) -> Response:  # noqa: ARG002 - DRF's interface
        """The announcements that hold now, the newest first."""
        page = self.paginate_queryset(self.get_queryset())
        return self.get_paginated_response(self.get_serializer(page, many=True).data)

    @extend_schema(parameters=[IDEMPOTENCY_KEY])
    @idempotent()
    def create(self, request: Request) -> Response:
        """Tell everybody, by an `announcement` event and in the `connected` of every stream that opens."""
        body = self.get_serializer(data=request.data)
        body.is_valid(raise_exception=True)
        announcement = announcement_create(actor=actor_of(request), **body.validated_data)
        return Response(self.get_serializer(announcement).data, status=status.HTTP_201_CREATED)

    def destroy(self, request: Request, announcement_id: UUID) -> Response:
        """Withdraw it; an `announcement` event with `withdrawn: true` tells everybody."""
        announcement_withdraw(actor=actor_of(request), announcement_id=announcement_id)
        return Response(status=status.HTTP_204_NO_CONTENT)
