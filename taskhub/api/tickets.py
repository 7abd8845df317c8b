"""`/api/tickets/`: addresses of streams for those who cannot send headers, as `EventSource` cannot."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, Final

from drf_spectacular.utils import extend_schema
from rest_framework import serializers, status
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.views import APIView

from taskhub.api.authentication import BearerAuthentication
from taskhub.api.fields import OneOfField, StrictSerializer, TextField
from taskhub.api.query import KnownQuery
from taskhub.errors import Invalid, NotFound
from taskhub.events.stream_parameters import TEXT_LIMIT, Format, Parameter
from taskhub.events.tickets import (
    RENEWABLE_FOR,
    TICKET_KINDS,
    BadTicket,
    StreamKind,
    Ticket,
    read_ticket,
    ticket_expiry,
)
from taskhub.models import ApiToken
from taskhub.roles import Role

_RENEW_LIMIT: Final = 8000


class TicketRequestSerializer(StrictSerializer):
    """Which stream: its `kind` and `params` as its address takes them. Or `renew`: a ticket of one's own, up to a day
    old, for the stream that it was for."""

    kind = OneOfField(choices=sorted(TICKET_KINDS), required=False)
    params = serializers.DictField(child=TextField(max_length=TEXT_LIMIT), required=False)
    renew = TextField(max_length=_RENEW_LIMIT, required=False)

    def validate(self, attrs: dict[str, Any]) -> dict[str, Any]:
        if ("renew" in attrs) == ("kind" in attrs) or ("params" in attrs and "renew" in attrs):
            raise serializers.ValidationError({"kind": ["Send kind and its params, or renew alone."]})
        return attrs


def request_schema() -> dict[str, Any]:
    """What OpenAPI says of the body: a shape per kind, and one for a renewal."""
    shapes = [shape for kind in TICKET_KINDS.values() for shape in _kind_schemas(kind)]
    return {
        "oneOf": [*shapes, _object({"renew": {"type": "string", "minLength": 1, "maxLength": _RENEW_LIMIT}}, ["renew"])]
    }


def _kind_schemas(kind: StreamKind) -> Iterator[dict[str, Any]]:
    """One shape for what may stand alone, and one for each choice that needs other parameters beside it."""
    needs = {parameter.needed_with for parameter in kind.in_ticket if parameter.needed_with is not None}
    properties = {parameter.name: parameter.schema() for parameter in kind.in_ticket}
    required = [parameter.name for parameter in kind.in_ticket if parameter.required]
    free = dict(properties)
    for name, word in needs:
        free[name] = {**free[name], "enum": [each for each in free[name]["enum"] if each != word]}
    yield _kind_schema(kind, free, required)
    for name, word in sorted(needs):
        beside = [parameter.name for parameter in kind.in_ticket if parameter.needed_with == (name, word)]
        chosen = {**properties, name: {"type": "string", "enum": [word]}}
        yield _kind_schema(kind, chosen, [*required, name, *beside])


def _kind_schema(kind: StreamKind, params: dict[str, Any], required: list[str]) -> dict[str, Any]:
    needed = ["kind", "params"] if required else ["kind"]
    return _object({"kind": {"type": "string", "enum": [kind.name]}, "params": _object(params, required)}, needed)


def _object(properties: dict[str, Any], required: list[str]) -> dict[str, Any]:
    shape: dict[str, Any] = {"type": "object", "properties": properties, "additionalProperties": False}
    return {**shape, "required": required} if required else shape


def params_serializer(kind: StreamKind) -> type[StrictSerializer]:
    """A body of the parameters of one kind, for tools. `StreamKind.canonical` checks what the fields do not."""
    fields: dict[str, Any] = {parameter.name: _field(parameter) for parameter in kind.in_ticket}
    return type("StreamParametersSerializer", (StrictSerializer,), fields)


def _field(parameter: Parameter) -> serializers.Field[Any, Any, Any, Any]:
    options: dict[str, Any] = {"default": parameter.default} if parameter.default else {"required": parameter.required}
    if parameter.format is Format.CHOICE:
        return OneOfField(choices=parameter.choices, **options)
    return TextField(max_length=parameter.max_length, **options)


class TicketSerializer(serializers.Serializer[Any]):
    """`url` opens the stream until `expires_at`; a stream that is open by then stays open."""

    url = serializers.URLField()
    kind = serializers.CharField()
    params = serializers.DictField(child=serializers.CharField())
    expires_at = serializers.DateTimeField()


class TicketsView(KnownQuery, APIView):
    roles = {"POST": Role.VIEWER}

    @extend_schema(request={"application/json": request_schema()}, responses={201: TicketSerializer})
    def post(self, request: Request) -> Response:
        """An address with a signed ticket for exactly one stream, good for 10 minutes.

        Its bearer acts as the account that created it, for this stream only. The stream closes when its
        maker's token, account or role goes.
        """
        body = TicketRequestSerializer(data=request.data)
        body.is_valid(raise_exception=True)
        ticket = _ticket(request, **body.validated_data)
        kind = TICKET_KINDS[ticket.kind]
        answer = {
            "url": request.build_absolute_uri(kind.url(ticket.params, ticket.sign())),
            "kind": ticket.kind,
            "params": ticket.params,
            "expires_at": ticket_expiry(),
        }
        shown = TicketSerializer(answer).data
        return Response(shown, status=status.HTTP_201_CREATED, headers={"Cache-Control": "no-store"})


def _ticket(request: Request, kind: str = "", params: dict[str, str] | None = None, renew: str | None = None) -> Ticket:
    shown = _credentials_of(request)
    user_id = int(request.user.pk or 0)
    if renew is None:
        return Ticket(kind, _canonical(kind, params or {}), user_id, **shown)
    try:
        old = read_ticket(renew, valid_for=RENEWABLE_FOR)
    except BadTicket:
        old = None
    if old is None or old.user_id != user_id or old.kind not in TICKET_KINDS:
        # Not a 401: the caller's own credentials are right.
        raise NotFound("Only a ticket of your own, up to a day old, can be renewed.", code="ticket_not_found")
    return Ticket(old.kind, old.params, user_id, **shown)


def _canonical(kind: str, params: dict[str, str]) -> dict[str, str]:
    """Raises Invalid, whose details name the parameters below `params`, where the body has them."""
    try:
        return TICKET_KINDS[kind].canonical(params)
    except Invalid as error:
        raise Invalid(error.message, details={"params": error.details}) from None


def _credentials_of(request: Request) -> dict[str, Any]:
    """The token of the request, or its session; both where the session is a token's."""
    shown: dict[str, Any] = {"token_id": request.auth.public_id} if isinstance(request.auth, ApiToken) else {}
    if isinstance(request.successful_authenticator, BearerAuthentication):
        return shown
    return shown | {"session_key": request.session.session_key or ""}
