"""`/api/admission/`: how starts of executions are limited and paused, and how many wait."""

from __future__ import annotations

from typing import Any, ClassVar

from django.conf import settings
from drf_spectacular.utils import extend_schema
from rest_framework import serializers
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.views import APIView

from taskhub.api.actors import actor_of
from taskhub.api.fields import StrictBooleanField, StrictSerializer
from taskhub.api.query import KnownQuery
from taskhub.errors import NotFound
from taskhub.models import HUB, RESOURCES, AdmissionRule
from taskhub.roles import Role
from taskhub.selectors.admission import account_exists, admission_overview, admission_rule_list
from taskhub.services.admission_rules import AT_ONCE_LIMIT, admission_rule_set
from taskhub.services.sandbox_sizes import capacity_limits, held_sandboxes


class AdmissionRuleSerializer(StrictSerializer, serializers.ModelSerializer[AdmissionRule]):
    """A limit and a pause. `at_once` null: what the setting says. A pause without `paused_until` holds until lifted."""

    example: ClassVar[dict[str, Any]] = {"at_once": 20, "paused": True, "paused_until": "2030-01-01T18:00:00Z"}

    account = serializers.SerializerMethodField()
    at_once = serializers.IntegerField(min_value=1, max_value=AT_ONCE_LIMIT, allow_null=True, default=None)
    paused = StrictBooleanField(default=False)
    paused_until = serializers.DateTimeField(allow_null=True, default=None)

    class Meta:
        model = AdmissionRule
        fields = ["account", "at_once", "paused", "paused_until", "changed_at", "changed_by"]
        read_only_fields = ["account", "changed_at", "changed_by"]

    def get_account(self, rule: AdmissionRule) -> str:
        """Empty: the whole hub."""
        return "" if rule.is_for_hub else rule.account


class SumSerializer(serializers.Serializer[Any]):
    """Of CPUs, or GiB. `used`: what the sandboxes of the hub have of it, until they are deleted. `limit`: what the
    setting lets them have, null for no limit; `ceiling`: what the sandbox service lets them, as far as it is known."""

    used = serializers.IntegerField()
    limit = serializers.IntegerField(allow_null=True)
    ceiling = serializers.IntegerField(allow_null=True)


class CapacitySerializer(serializers.Serializer[Any]):
    cpu = SumSerializer()
    memory = SumSerializer()
    disk = SumSerializer()


class AdmissionSerializer(serializers.Serializer[Any]):
    """`at_once`, `at_once_per_account`: limits in force, null for none. `ceiling`: sandboxes that the sandbox service
    lets this hub have at once, as far as it has been learnt; null where it never said that it is full. `sandboxes`: how
    many there are now, kept ones included."""

    at_once = serializers.IntegerField(allow_null=True)
    at_once_per_account = serializers.IntegerField(allow_null=True)
    paused = serializers.BooleanField()
    paused_until = serializers.DateTimeField(allow_null=True)
    ceiling = serializers.IntegerField(allow_null=True)
    sandboxes = serializers.IntegerField()
    capacity = CapacitySerializer()
    running = serializers.IntegerField()
    waiting = serializers.DictField(child=serializers.IntegerField(), help_text="How many wait, by reason.")


class AdmissionView(KnownQuery, APIView):
    @extend_schema(responses=AdmissionSerializer)
    def get(self, request: Request) -> Response:  # noqa: ARG002 - DRF's interface
        """The limits and the pause of the hub, and how many executions wait for which reason."""
        overview = admission_overview()
        rule, held, limits = overview.rule, held_sandboxes(), capacity_limits()
        sums = {
            name: {"used": used, "limit": limits.get(name), "ceiling": overview.ceilings[name]}
            for name, used in zip(RESOURCES, held.size, strict=True)
        }
        return Response(
            AdmissionSerializer(
                {
                    "at_once": rule.at_once or settings.TASKHUB_EXECUTIONS_AT_ONCE or None,
                    "at_once_per_account": settings.TASKHUB_EXECUTIONS_AT_ONCE_PER_ACCOUNT or None,
                    "paused": overview.is_paused,
                    "paused_until": rule.paused_until if overview.is_paused else None,
                    "ceiling": overview.ceiling,
                    "sandboxes": held.sandboxes,
                    "capacity": sums,
                    "running": overview.running,
                    "waiting": overview.waiting,
                }
            ).data
        )

    @extend_schema(request=AdmissionRuleSerializer, responses=AdmissionRuleSerializer)
    def put(self, request: Request) -> Response:
        """Set the limit and the pause of the whole hub. What runs goes on; what waits says `paused`."""
        return _set(request, HUB)


class AdmissionAccountsView(KnownQuery, APIView):
    roles = {"GET": Role.OPERATOR}

    @extend_schema(responses=AdmissionRuleSerializer(many=True))
    def get(self, request: Request) -> Response:  # noqa: ARG002 - DRF's interface
        """The accounts that have a limit or a pause of their own."""
        return Response(AdmissionRuleSerializer(admission_rule_list(), many=True).data)


class AdmissionAccountView(KnownQuery, APIView):
    @extend_schema(request=AdmissionRuleSerializer, responses=AdmissionRuleSerializer)
    def put(self, request: Request, account: str) -> Response:
        """Set the limit and the pause of one account."""
        if not account_exists(account):
            raise NotFound("Account not found.", code="account_not_found")
        return _set(request, account)


def _set(request: Request, account: str) -> Response:
    body = AdmissionRuleSerializer(data=request.data)
    body.is_valid(raise_exception=True)
    rule = admission_rule_set(actor=actor_of(request), account=account, **body.validated_data)
    return Response(AdmissionRuleSerializer(rule).data)
