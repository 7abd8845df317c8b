"""`/api/subscriptions/`: open subscriptions to sandbox streams."""

from __future__ import annotations

from uuid import UUID

from django.db.models import QuerySet
from drf_spectacular.utils import extend_schema
from rest_framework import status
from rest_framework.generics import ListAPIView
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.views import APIView

from sandboxes.api.serializers import SubscriptionSerializer
from sandboxes.models import Subscription
from sandboxes.selectors.subscriptions import subscription_get_for, subscription_list_for
from sandboxes.services.subscriptions import subscription_request_disconnect
from taskhub.api.actors import actor_of
from taskhub.api.pagination import NewestFirst
from taskhub.api.query import KnownQuery
from taskhub.roles import Role


class NewestOpenedFirst(NewestFirst):
    ordering = ("-opened_at", "-id")


class SubscriptionsView(KnownQuery, ListAPIView[Subscription]):
    """One's own open streams of `/sse`; all of them for operators."""

    for_accounts = True
    queryset = Subscription.objects.none()
    serializer_class = SubscriptionSerializer
    pagination_class = NewestOpenedFirst
    filter_backends = []

    def get_queryset(self) -> QuerySet[Subscription]:
        return subscription_list_for(user=self.request.user)


class SubscriptionView(KnownQuery, APIView):
    roles = {"DELETE": Role.VIEWER}

    @extend_schema(responses={202: None})
    def delete(self, request: Request, subscription_id: UUID) -> Response:
        """Close the stream; the process that holds it does so within 2 s."""
        subscription = subscription_get_for(user=request.user, subscription_id=subscription_id)
        subscription_request_disconnect(actor=actor_of(request), subscription=subscription)
        return Response(status=status.HTTP_202_ACCEPTED)
