"""`/api/webhooks/`: where the hub sends events, and what became of each. For operators."""

from __future__ import annotations

from typing import Any, ClassVar
from uuid import UUID

from django.db.models import QuerySet
from drf_spectacular.utils import extend_schema
from rest_framework import serializers, status
from rest_framework.generics import ListAPIView
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.views import APIView
from rest_framework.viewsets import GenericViewSet

from taskhub.api.actors import actor_of
from taskhub.api.fields import OneOfField, StrictBooleanField, StrictSerializer, TextField
from taskhub.api.idempotency import IDEMPOTENCY_KEY, idempotent
from taskhub.api.query import KnownQuery, QuerySerializer
from taskhub.events.types import EVENT_TYPES
from taskhub.models import DeliveryStatus, WebhookDelivery, WebhookEndpoint
from taskhub.models.webhook import URL_LIMIT
from taskhub.roles import Role
from taskhub.selectors.webhooks import webhook_deliveries_for, webhook_get_for, webhook_list_for
from taskhub.webhooks.deliveries import delivery_send_again, endpoint_send_test
from taskhub.webhooks.endpoints import (
    endpoint_create,
    endpoint_delete,
    endpoint_rotate_secret,
    endpoint_update,
)

_OPERATORS_READ = {"GET": Role.OPERATOR}


class WebhookSerializer(StrictSerializer, serializers.ModelSerializer[WebhookEndpoint]):
    """An endpoint, without its secret, which was shown when it was made.

    `failing_since` is null unless the last attempt failed; `notice` says what happened to it by itself.
    """

    example: ClassVar[dict[str, Any]] = {"url": "https://ci.example.com/hooks/taskhub", "event_types": ["task_updated"]}

    url = TextField(max_length=URL_LIMIT)
    description = TextField(max_length=200, allow_blank=True, required=False)
    event_types = serializers.ListField(
        child=OneOfField(choices=list(EVENT_TYPES)), required=False, help_text="Empty: all."
    )
    private = StrictBooleanField(required=False, help_text="Whether it receives private tasks, too.")
    created_by = serializers.CharField(source="created_by_name", read_only=True)

    class Meta:
        model = WebhookEndpoint
        fields = [
            *("id", "url", "description", "event_types", "private", "is_active", "cursor"),
            *("failing_since", "resting_until", "notice", "created_by", "created_at", "updated_at"),
        ]
        read_only_fields = [
            *("id", "is_active", "cursor", "failing_since", "resting_until", "notice", "created_at", "updated_at"),
        ]


class WebhookChangeSerializer(WebhookSerializer):
    """Likewise; `is_active` pauses it and lets it go on where it stood."""

    example = {"is_active": False}

    is_active = StrictBooleanField(required=False)

    class Meta(WebhookSerializer.Meta):
        read_only_fields = [name for name in WebhookSerializer.Meta.read_only_fields if name != "is_active"]


class WebhookSecretSerializer(WebhookSerializer):
    """The one answer that holds the secret itself."""

    secret = serializers.CharField(read_only=True)

    class Meta(WebhookSerializer.Meta):
        fields = [*WebhookSerializer.Meta.fields, "secret"]


class TrySerializer(serializers.Serializer[Any]):
    """An attempt. `response` is the beginning of the answer; without an answer `error` says why there was none."""

    number = serializers.IntegerField()
    at = serializers.DateTimeField()
    took_ms = serializers.IntegerField()
    response_status = serializers.IntegerField(allow_null=True)
    error = serializers.CharField(allow_blank=True)
    response = serializers.CharField(allow_blank=True)


class DeliverySerializer(serializers.ModelSerializer[WebhookDelivery]):
    """An event for this endpoint. `id` is the header `webhook-id`, `sequence` the event's number, null for a test."""

    tries = TrySerializer(many=True, read_only=True)

    class Meta:
        model = WebhookDelivery
        fields = [
            *("id", "sequence", "event_id", "event_type", "task_id", "status", "attempts", "next_attempt_at"),
            *("response_status", "error", "took_ms", "tries", "created_at", "delivered_at"),
        ]


class DeliveriesQuerySerializer(QuerySerializer):
    status = OneOfField(choices=DeliveryStatus.choices, required=False, help_text="Only deliveries of this status.")


class WebhooksViewSet(KnownQuery, GenericViewSet[WebhookEndpoint]):
    roles = _OPERATORS_READ
    queryset = WebhookEndpoint.objects.none()
    serializer_class = WebhookSerializer
    filter_backends = []
    lookup_url_kwarg = "webhook_id"

    def list(self, request: Request) -> Response:
        """The endpoints, the newest first."""
        page = self.paginate_queryset(webhook_list_for(user=request.user))
        return self.get_paginated_response(WebhookSerializer(page, many=True).data)

    @extend_schema(responses={201: WebhookSecretSerializer}, parameters=[IDEMPOTENCY_KEY])
    @idempotent(secret=True)
    def create(self, request: Request) -> Response:
        """Tell an address of events, from now on. The secret is shown in this answer and never again."""
        body = WebhookSerializer(data=request.data)
        body.is_valid(raise_exception=True)
        endpoint, secret = endpoint_create(actor=actor_of(request), **body.validated_data)
        return _with_secret(endpoint, secret, status.HTTP_201_CREATED)

    def retrieve(self, request: Request, webhook_id: UUID) -> Response:
        """Read a webhook endpoint."""
        return Response(WebhookSerializer(webhook_get_for(user=request.user, endpoint_id=webhook_id)).data)

    @extend_schema(request=WebhookChangeSerializer, responses=WebhookSerializer)
    def partial_update(self, request: Request, webhook_id: UUID) -> Response:
        """Change it; once active again it continues after the last event it received."""
        body = WebhookChangeSerializer(data=request.data, partial=True)
        body.is_valid(raise_exception=True)
        endpoint = endpoint_update(actor=actor_of(request), endpoint_id=webhook_id, **body.validated_data)
        return Response(WebhookSerializer(endpoint).data)

    def destroy(self, request: Request, webhook_id: UUID) -> Response:
        """Delete it, with its deliveries."""
        endpoint_delete(actor=actor_of(request), endpoint_id=webhook_id)
        return Response(status=status.HTTP_204_NO_CONTENT)


class WebhookSecretView(KnownQuery, APIView):
    @extend_schema(request=None, responses=WebhookSecretSerializer, parameters=[IDEMPOTENCY_KEY])
    @idempotent(secret=True)
    def post(self, request: Request, webhook_id: UUID) -> Response:
        """Make a new secret, shown in this answer and never again; for a day the one before signs as well."""
        endpoint, secret = endpoint_rotate_secret(actor=actor_of(request), endpoint_id=webhook_id)
        return _with_secret(endpoint, secret, status.HTTP_200_OK)


class WebhookTestView(KnownQuery, APIView):
    @extend_schema(request=None, responses={202: DeliverySerializer}, parameters=[IDEMPOTENCY_KEY])
    @idempotent()
    def post(self, request: Request, webhook_id: UUID) -> Response:
        """Send an event `webhook_test` to this endpoint alone."""
        delivery = endpoint_send_test(actor=actor_of(request), endpoint_id=webhook_id)
        return Response(DeliverySerializer(delivery).data, status=status.HTTP_202_ACCEPTED)


class WebhookDeliveriesView(KnownQuery, ListAPIView[WebhookDelivery]):
    """The deliveries of an endpoint, the newest first, with each of their attempts."""

    roles = _OPERATORS_READ
    queryset = WebhookDelivery.objects.none()
    serializer_class = DeliverySerializer
    filter_backends = []
    queries = {"get": DeliveriesQuerySerializer}

    def get_queryset(self) -> QuerySet[WebhookDelivery]:
        found = webhook_deliveries_for(user=self.request.user, endpoint_id=self.kwargs["webhook_id"])
        return found.filter(**self.read_query(self.request)).defer("body")

    @extend_schema(parameters=[DeliveriesQuerySerializer])
    def get(self, request: Request, *args: Any, **kwargs: Any) -> Response:
        """List the deliveries of an endpoint, the newest first, with each of their attempts."""
        return super().get(request, *args, **kwargs)


class WebhookSendAgainView(KnownQuery, APIView):
    @extend_schema(request=None, responses={202: DeliverySerializer}, parameters=[IDEMPOTENCY_KEY])
    @idempotent()
    def post(self, request: Request, webhook_id: UUID, delivery_id: UUID) -> Response:
        """Send it now, with the same `webhook-id`; if that fails, again for a day."""
        delivery = delivery_send_again(actor=actor_of(request), delivery_id=delivery_id, endpoint_id=webhook_id)
        return Response(DeliverySerializer(delivery).data, status=status.HTTP_202_ACCEPTED)


def _with_secret(endpoint: WebhookEndpoint, secret: str, http_status: int) -> Response:
    shown = {**WebhookSerializer(endpoint).data, "secret": secret}
    return Response(shown, status=http_status, headers={"Cache-Control": "no-store"})
