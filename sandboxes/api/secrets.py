"""`/api/secrets/`: entries of the sandbox service's vault, for environments. Values are written and never read."""

from __future__ import annotations

from typing import Any, ClassVar

from drf_spectacular.utils import extend_schema
from rest_framework import serializers, status
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.views import APIView

from sandboxes.api.serializers import PageQuerySerializer
from sandboxes.gateway import REQUEST_S
from sandboxes.services import vault
from sandboxes.services.vault import HOST_PATTERN, HOSTS_MOST, VALUE_LIMIT
from taskhub.api.actors import actor_of
from taskhub.api.awaited import awaited
from taskhub.api.fields import ShortListField, StrictSerializer, TextField
from taskhub.api.idempotency import IDEMPOTENCY_KEY, idempotent_elsewhere
from taskhub.api.query import KnownQuery
from taskhub.roles import Role
from taskhub.services.environment_references import ENTRY_NAME_PATTERN


class PatternField(serializers.RegexField):
    """A JSON string of this pattern."""

    def to_internal_value(self, data: Any) -> str:
        if not isinstance(data, str):
            raise serializers.ValidationError("Must be a string.", code="invalid")
        return str(super().to_internal_value(data))


def _hosts(*, required: bool) -> ShortListField:
    return ShortListField(
        child=PatternField(HOST_PATTERN, max_length=253),
        max_length=HOSTS_MOST,
        required=required,
        help_text="Hosts that the value may be sent to, as api.example.com or *.example.com. Empty: any; an "
        "environment takes such an entry only if its any_host names it.",
    )


class SecretSerializer(serializers.Serializer[Any]):
    """An entry of the vault. There is no way to read its value."""

    name = serializers.CharField()
    description = serializers.CharField(allow_null=True)
    hosts = serializers.ListField(child=serializers.CharField(), allow_null=True)
    createdAt = serializers.CharField(allow_null=True)
    updatedAt = serializers.CharField(allow_null=True)


class SecretPageSerializer(serializers.Serializer[Any]):
    items = SecretSerializer(many=True)
    nextCursor = serializers.CharField(allow_null=True)


class SecretCreateSerializer(StrictSerializer):
    example: ClassVar[dict[str, Any]] = {"name": "npm-read", "value": "npm_s3cr3t", "hosts": ["npm.example.com"]}

    name = PatternField(rf"^{ENTRY_NAME_PATTERN}$", help_text="What an environment's secrets have as a value.")
    value = TextField(max_length=VALUE_LIMIT, trim_whitespace=False, write_only=True)
    hosts = _hosts(required=True)
    description = TextField(max_length=500, allow_blank=True, required=False)


class SecretChangeSerializer(StrictSerializer):
    """What is left out stays as it is."""

    example: ClassVar[dict[str, Any]] = {"value": "npm_an0ther"}

    value = TextField(max_length=VALUE_LIMIT, trim_whitespace=False, write_only=True, required=False)
    hosts = _hosts(required=False)
    description = TextField(max_length=500, allow_blank=True, required=False)


async def _find_none(view: APIView, request: Request, **_: Any) -> Response | None:  # noqa: ARG001 - its interface
    """An entry of the name may be another one's, with another value: the outcome stays unknown."""
    return None


class SecretsView(KnownQuery, APIView):
    queries = {"get": PageQuerySerializer}
    roles = {"GET": Role.OPERATOR}

    @extend_schema(operation_id="secrets_list", parameters=[PageQuerySerializer], responses=SecretPageSerializer)
    @awaited()
    async def get(self, request: Request) -> Response:
        """A page of the vault's entries, the newest first."""
        query = self.read_query(request)
        page = await vault.secret_page(cursor=query.get("cursor"), limit=query["limit"])
        return Response({"items": page.items, "nextCursor": page.next_cursor})

    @extend_schema(request=SecretCreateSerializer, responses={201: SecretSerializer}, parameters=[IDEMPOTENCY_KEY])
    @awaited(body=SecretCreateSerializer)
    @idempotent_elsewhere(takes_s=2 * REQUEST_S, find=_find_none)
    async def post(self, request: Request, *, body: dict[str, Any], **_: Any) -> Response:
        """Put a value into the vault. The hub passes it on and keeps nothing of it."""
        made = await vault.secret_create(actor=actor_of(request), **body)
        return Response(made, status=status.HTTP_201_CREATED)


class SecretView(KnownQuery, APIView):
    roles = {"GET": Role.OPERATOR}

    @extend_schema(responses=SecretSerializer)
    @awaited()
    async def get(self, request: Request, secret: str) -> Response:  # noqa: ARG002 - DRF's interface
        """An entry of the vault, without its value."""
        return Response(await vault.secret_get(name=secret))

    @extend_schema(request=SecretChangeSerializer, responses=SecretSerializer)
    @awaited(body=SecretChangeSerializer)
    async def patch(self, request: Request, secret: str, body: dict[str, Any]) -> Response:
        """Change an entry's value, hosts or description."""
        return Response(await vault.secret_update(actor=actor_of(request), name=secret, **body))

    @extend_schema(responses={204: None})
    @awaited()
    async def delete(self, request: Request, secret: str) -> Response:
        """Delete an entry. Environments that name it start nothing any more."""
        await vault.secret_delete(actor=actor_of(request), name=secret)
        return Response(status=status.HTTP_204_NO_CONTENT)
