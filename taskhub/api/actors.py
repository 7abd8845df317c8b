"""The actor of a REST request: the account and the token on whose behalf a service writes."""

from __future__ import annotations

from typing import Any, Final, cast

from django.contrib.auth.models import User
from drf_spectacular.utils import OpenApiParameter
from rest_framework import serializers
from rest_framework.request import Request

from taskhub.api.fields import TextField
from taskhub.api.query import QuerySerializer
from taskhub.auth.actor import Actor
from taskhub.errors import Invalid
from taskhub.models import ApiToken
from taskhub.models.claim import AGENT_LENGTH

LEASE_HEADER: Final = "TaskHub-Lease"
LEASE_LENGTH: Final = 64
LEASE: Final = OpenApiParameter(
    LEASE_HEADER,
    {"type": "string", "maxLength": LEASE_LENGTH},
    OpenApiParameter.HEADER,
    description="The lease of the claim under which you hold the task; 409 `lease_lost` once it has ended.",
)


class NamedQuerySerializer(QuerySerializer):
    """`as`: which of the account's agents asks."""

    def get_fields(self) -> dict[str, Any]:
        fields: dict[str, Any] = super().get_fields()
        # A word of Python's.
        fields["as"] = TextField(
            required=False,
            max_length=AGENT_LENGTH,
            visible=True,
            one_line=True,
            help_text="Name of the agent that asks, where several use one account; by default the token's name.",
        )
        return fields


class AgentQuerySerializer(NamedQuerySerializer):
    """Parameters of requests that change a task."""

    force = serializers.ChoiceField(
        choices=["true", "false"],
        required=False,
        help_text="`true`: although another agent holds the task; for an operator's token.",
    )


def actor_of(request: Request) -> Actor:
    """Permission classes have made sure that the caller has an account.

    With `as` or a lease a request that begins work on a task claims it. Raises Invalid, ValidationError.
    """
    token = request.auth if isinstance(request.auth, ApiToken) else None
    lease = request.headers.get(LEASE_HEADER, "").strip()
    if len(lease) > LEASE_LENGTH:
        raise Invalid(f"{LEASE_HEADER} is malformed.", details={LEASE_HEADER: [f"At most {LEASE_LENGTH} characters."]})
    query = _agent_query(request)
    name = query.get("as", "")
    return Actor(
        door="rest",
        user=cast("User", request.user),
        token=token,
        agent_name=name,
        lease=lease if token else "",
        force=query.get("force") == "true",
        claims=bool(name or lease),
    )


def _agent_query(request: Request) -> dict[str, Any]:
    given = {name: request.query_params[name] for name in ("as", "force") if name in request.query_params}
    if not given:
        return {}
    query = AgentQuerySerializer(data=given)
    query.is_valid(raise_exception=True)
    return dict(query.validated_data)
