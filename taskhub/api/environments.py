"""`/api/environments/`: what executions run in. Operators write; those whom an environment allows read and use it."""

from __future__ import annotations

from functools import partial
from typing import Any, ClassVar, Final

from drf_spectacular.utils import extend_schema, extend_schema_field
from rest_framework import serializers, status
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.viewsets import GenericViewSet

from taskhub.api.actors import actor_of
from taskhub.api.awaited import awaited
from taskhub.api.env_fields import PlainEnvField
from taskhub.api.environment_facts import facts_of
from taskhub.api.environment_repository import RepositorySerializer
from taskhub.api.fields import OneOfField, ShortListField, StrictSerializer, TextField
from taskhub.api.idempotency import IDEMPOTENCY_KEY, idempotent
from taskhub.api.prepared import PreparedSerializer
from taskhub.api.query import KnownQuery, QuerySerializer
from taskhub.executions.environment_look import Look, environment_look
from taskhub.models import Environment, EnvironmentVersion, VerifyPolicy
from taskhub.models.environment import NAME_LENGTH, NETWORK_KINDS
from taskhub.roles import Caller, Role, role_of
from taskhub.selectors.environments import (
    environment_get_for,
    environment_list_for,
    prepared_of,
    version_of,
    versions_of,
)
from taskhub.services.environment_references import (
    ENTRY_NAME_PATTERN,
    MOUNT_LENGTH,
    SECRETS_MOST,
    VOLUMES_MOST,
    warnings_of,
)
from taskhub.services.environment_rules import (
    DAY_S,
    KEEP_MOST,
    LIST_LENGTH,
    NAME_PATTERN,
    SETUP_BYTES,
    SIZE_MOST,
    VERIFY_BYTES,
)
from taskhub.services.environments import (
    environment_create,
    environment_delete,
    environment_draft,
    environment_update,
)
from taskhub.web.thread_pool import with_database, with_database_writing

_NAME_SCHEMA: Final = {"type": "string", "pattern": f"^{NAME_PATTERN}$", "maxLength": NAME_LENGTH}
_NETWORK_SCHEMA: Final = {
    "oneOf": [
        {"type": "string", "enum": ["open", "none"]},
        {
            "type": "object",
            "properties": {
                "cidrs": {"type": "array", "items": {"type": "string"}, "maxItems": LIST_LENGTH},
                "domains": {"type": "array", "items": {"type": "string"}, "maxItems": LIST_LENGTH},
            },
            "additionalProperties": False,
            "minProperties": 1,
        },
    ]
}
_SECRETS_SCHEMA: Final = {
    "type": "object",
    "propertyNames": {"pattern": "^[A-Za-z_][A-Za-z0-9_]*$"},
    "additionalProperties": {"type": "string", "pattern": f"^{ENTRY_NAME_PATTERN}$"},
    "maxProperties": SECRETS_MOST,
}
_FOR_OPERATORS: Final = (
    *("id", "snapshot", "image", "dockerfile", "network", "repository", "setup", "keep", "env", "allowed"),
    *("secrets", "any_host", "volumes", "warnings", "unchecked", "prepare", "prepared"),
)
"""Others read null."""


@extend_schema_field(_NAME_SCHEMA)
class NameField(TextField):
    """An environment's name."""


class NetworkListSerializer(StrictSerializer):
    cidrs = ShortListField(child=TextField(max_length=20), max_length=LIST_LENGTH, required=False)
    domains = ShortListField(child=TextField(max_length=253), max_length=LIST_LENGTH, required=False)


@extend_schema_field(_NETWORK_SCHEMA)
class NetworkField(serializers.Field[Any, Any, Any, Any]):
    """`open`, `none`, or `{"cidrs": […], "domains": […]}`."""

    def to_internal_value(self, data: Any) -> Any:
        if isinstance(data, dict):
            given = NetworkListSerializer(data=data)
            given.is_valid(raise_exception=True)
            return dict(given.validated_data)
        if data not in ("open", "none"):
            raise serializers.ValidationError('Must be "open", "none", or an object with cidrs and domains.')
        return data

    def to_representation(self, value: Any) -> Any:
        return value


@extend_schema_field(_SECRETS_SCHEMA)
class SecretNamesField(serializers.DictField):
    """Variables, and the names of their entries in the vault."""

    child = TextField(max_length=100)


class VolumeSerializer(StrictSerializer):
    """A volume of the sandbox service, by its name; `subpath` may hold `{task}`, for a folder of each task's own."""

    name = TextField(max_length=100)
    mount_path = TextField(max_length=MOUNT_LENGTH, help_text="An absolute path, as /data.")
    subpath = TextField(
        max_length=MOUNT_LENGTH, allow_blank=True, required=False, help_text="Empty: all of the volume, for every task."
    )


def _size(unit: str) -> serializers.IntegerField:
    return serializers.IntegerField(
        min_value=1, max_value=SIZE_MOST, allow_null=True, required=False, help_text=f"{unit}; null: not said."
    )


def _seconds(most: int, *, least: int = 1, help_text: str) -> serializers.IntegerField:
    return serializers.IntegerField(
        min_value=least, max_value=most, allow_null=True, required=False, help_text=help_text
    )


class EnvironmentSerializer(StrictSerializer):
    """What executions run in. What is left out, empty or null is as the sandbox service or the hub's settings have it.

    `id`, `snapshot`, `image`, `dockerfile`, `network`, `repository`, `setup`, `keep`, `env`, `secrets`, `any_host`,
    `volumes`, `allowed`, `warnings`, `unchecked`, `prepare` and `prepared` are null for readers that are not operators.
    """

    example: ClassVar[dict[str, Any]] = {
        "name": "backend",
        "description": "Python 3.12 with make; no network.",
        "image": "python:3.12-slim",
        "cpu": 2,
        "memory": 4,
        "network": "none",
        "env": {"CI": "1"},
        "secrets": {"NPM_TOKEN": "npm-read"},
        "volumes": [{"name": "caches", "mount_path": "/caches", "subpath": "tasks/{task}"}],
        "timeout_s": 900,
        "timeout_max_s": 3600,
    }

    id = serializers.UUIDField(read_only=True, allow_null=True)
    name = NameField(max_length=NAME_LENGTH)
    version = serializers.IntegerField(read_only=True)
    description = TextField(max_length=1000, allow_blank=True, required=False)
    snapshot = TextField(
        max_length=200, allow_blank=True, allow_null=True, required=False, help_text="By name, at Daytona."
    )
    image = TextField(
        max_length=500, allow_blank=True, allow_null=True, required=False, help_text="Instead of a snapshot."
    )
    dockerfile = TextField(
        max_length=64 * 1024,
        allow_blank=True,
        allow_null=True,
        required=False,
        trim_whitespace=False,
        help_text="Instead of an image.",
    )
    cpu = _size("CPUs")
    memory = _size("GiB")
    disk = _size("GiB")
    gpu = _size("GPUs")
    network = NetworkField(allow_null=True, required=False)
    network_kind = serializers.ChoiceField(choices=NETWORK_KINDS, read_only=True)
    repository = RepositorySerializer(allow_null=True, required=False)
    prepare = TextField(
        max_length=SETUP_BYTES,
        allow_blank=True,
        allow_null=True,
        required=False,
        trim_whitespace=False,
        help_text="A bash script that runs once, in HOME; what it leaves becomes the snapshot that scripts start from.",
    )
    prepared = PreparedSerializer(
        read_only=True, allow_null=True, help_text="That snapshot; null: none, as without prepare."
    )
    setup = TextField(
        max_length=SETUP_BYTES,
        allow_blank=True,
        allow_null=True,
        required=False,
        trim_whitespace=False,
        help_text="A bash script that runs before each script, in its working folder and with its variables.",
    )
    setup_timeout_s = _seconds(DAY_S, help_text="For prepare, checkout and setup; null: 600.")
    keep = ShortListField(
        child=TextField(max_length=200),
        max_length=KEEP_MOST,
        allow_null=True,
        required=False,
        help_text="Patterns of the files that are kept besides those in out/; null: all.",
    )
    env = PlainEnvField(allow_null=True, required=False, help_text="Plain values; every operator reads them.")
    secrets = SecretNamesField(
        allow_null=True, required=False, help_text="Variables, and the names of their entries at /api/secrets/."
    )
    any_host = ShortListField(
        child=TextField(max_length=100),
        max_length=SECRETS_MOST,
        allow_null=True,
        required=False,
        help_text="Entries in secrets that have no hosts, and may be sent to any.",
    )
    volumes = ShortListField(child=VolumeSerializer(), max_length=VOLUMES_MOST, allow_null=True, required=False)
    variables = serializers.ListField(
        child=serializers.CharField(), read_only=True, help_text="The names in env and secrets."
    )
    warnings = ShortListField(
        child=serializers.CharField(), read_only=True, allow_null=True, help_text="What may not be meant like this."
    )
    unchecked = serializers.CharField(
        read_only=True,
        allow_null=True,
        help_text="What the sandbox service did not confirm when it was saved, and why; empty: all is there.",
    )
    timeout_s = _seconds(DAY_S, help_text="Of an execution that names none.")
    timeout_max_s = _seconds(DAY_S, help_text="The most that an execution may ask for.")
    keep_sandbox_s = _seconds(7 * DAY_S, least=0, help_text="How long a sandbox is kept after the end.")
    verify = TextField(
        max_length=VERIFY_BYTES,
        allow_blank=True,
        allow_null=True,
        required=False,
        trim_whitespace=False,
        help_text="Script that checks the work of its tasks, before their own.",
    )
    verify_policy = OneOfField(
        choices=VerifyPolicy.values, required=False, help_text="required: its tasks are done only with a pass."
    )
    allowed = ShortListField(
        child=TextField(max_length=150),
        max_length=1000,
        allow_null=True,
        required=False,
        help_text="Accounts that may use it; null: all.",
    )
    made_by = serializers.CharField(read_only=True, help_text="Of this version.")
    made_at = serializers.DateTimeField(read_only=True, help_text="Of this version.")


class EnvironmentChangeSerializer(EnvironmentSerializer):
    """Likewise; what is left out stays as it is. The name never changes."""

    example: ClassVar[dict[str, Any]] = {"timeout_max_s": 7200}

    name = serializers.CharField(read_only=True)  # type: ignore[assignment]  # what is read, not written


class EnvironmentQuerySerializer(QuerySerializer):
    version = serializers.IntegerField(min_value=1, required=False, help_text="One before the present one.")


def environment_shown(version: EnvironmentVersion, reader: Caller) -> dict[str, Any]:
    """What this reader sees of a version."""
    spec = version.spec
    shown = {
        **facts_of(spec),
        **spec.document(),
        "warnings": warnings_of(spec),
        "unchecked": version.unchecked,
        "prepared": prepared_of(version),
        "id": version.environment_id,
        "name": version.name,
        "version": version.number,
        "made_by": version.made_by,
        "made_at": version.made_at,
    }
    if role_of(reader) < Role.OPERATOR:
        shown |= dict.fromkeys(_FOR_OPERATORS)
    return dict(EnvironmentSerializer(shown).data)


class EnvironmentsViewSet(KnownQuery, GenericViewSet[Environment]):
    queryset = Environment.objects.none()
    serializer_class = EnvironmentSerializer
    filter_backends = []
    lookup_url_kwarg = "environment"
    queries = {"retrieve": EnvironmentQuerySerializer}

    def list(self, request: Request) -> Response:
        """The environments that the caller may use, the newest first."""
        page = self.paginate_queryset(environment_list_for(user=request.user)) or []
        return self.get_paginated_response([environment_shown(each, request.user) for each in versions_of(list(page))])

    @extend_schema(responses={201: EnvironmentSerializer}, parameters=[IDEMPOTENCY_KEY])
    @awaited(body=EnvironmentSerializer)
    async def create(self, request: Request, body: dict[str, Any]) -> Response:
        """Write down an environment.

        A snapshot, volume or secret that the sandbox service does not have is refused; one that it does not tell about
        within 5 s is saved, and named in `unchecked`.
        """
        fields = {name: value for name, value in body.items() if name != "name"}
        look = await environment_look(await with_database(environment_draft, name=None, **fields))
        return await with_database_writing(self._create, request, body, look)

    @idempotent()
    def _create(self, request: Request, body: dict[str, Any], look: Look) -> Response:
        version = environment_create(actor=actor_of(request), look=look, **body)
        return Response(environment_shown(version, request.user), status=status.HTTP_201_CREATED)

    @extend_schema(parameters=[EnvironmentQuerySerializer])
    def retrieve(self, request: Request, environment: str) -> Response:
        """Read an environment as it is now, or an earlier version of it."""
        found = environment_get_for(user=request.user, name=environment)
        version = version_of(found, self.read_query(request).get("version"))
        return Response(environment_shown(version, request.user))

    @extend_schema(request=EnvironmentChangeSerializer, responses=EnvironmentSerializer)
    @awaited(body=partial(EnvironmentChangeSerializer, partial=True))
    async def partial_update(self, request: Request, environment: str, body: dict[str, Any]) -> Response:
        """Change it: a new version, for executions that are queued from now on.

        Names that the sandbox service does not have are refused where the request changes them, else they are told in
        `unchecked`. A request that changes nothing makes no version, and asks the sandbox service again.
        """
        look = await environment_look(await with_database(environment_draft, name=environment, **body))
        return await with_database_writing(self._update, request, environment, body, look)

    def _update(self, request: Request, environment: str, body: dict[str, Any], look: Look) -> Response:
        version = environment_update(actor=actor_of(request), name=environment, look=look, **body)
        return Response(environment_shown(version, request.user))

    def destroy(self, request: Request, environment: str) -> Response:
        """Free the name. What is queued or runs in it goes on."""
        environment_delete(actor=actor_of(request), name=environment)
        return Response(status=status.HTTP_204_NO_CONTENT)
