"""Serializers for sandboxes. Field names are Daytona's."""

from __future__ import annotations

from typing import Any

from rest_framework import serializers

from sandboxes.api.facts import SandboxFactsSerializer
from sandboxes.models import Subscription
from taskhub.api.fields import StrictSerializer, TextField
from taskhub.api.query import QuerySerializer
from taskhub.api.routes import NAME

_FOREVER = 60 * 24 * 365


class NameField(serializers.RegexField):
    """An id that may be part of an address."""

    def __init__(self, **options: Any) -> None:
        super().__init__(rf"^{NAME}$", **options)

    def to_internal_value(self, data: Any) -> str:
        if not isinstance(data, str):
            raise serializers.ValidationError("Must be a string.", code="invalid")
        return str(super().to_internal_value(data))


class SandboxCreateSerializer(StrictSerializer):
    """Daytona's creation fields. Intervals are in minutes; 0 disables one, -1 never deletes."""

    example = {"name": "build-1", "autoStopInterval": 15, "labels": {"team": "build"}}

    name = NameField(required=False)
    snapshot = TextField(max_length=200, required=False)
    labels = serializers.DictField(child=TextField(max_length=200, allow_blank=True), required=False)
    env = serializers.DictField(child=TextField(max_length=32 * 1024, allow_blank=True), required=False)
    autoStopInterval = serializers.IntegerField(min_value=0, max_value=_FOREVER, required=False)
    autoArchiveInterval = serializers.IntegerField(min_value=0, max_value=_FOREVER, required=False)
    autoDeleteInterval = serializers.IntegerField(min_value=-1, max_value=_FOREVER, required=False)
    ttlMinutes = serializers.IntegerField(min_value=0, max_value=_FOREVER, required=False)


class SandboxSerializer(serializers.Serializer[Any]):
    """Daytona's object: these fields, and all others it has. Fields that may be secret (`env`) are left out.

    `hub` is there with `facts=true`.
    """

    id = serializers.CharField()
    name = serializers.CharField()
    state = serializers.CharField()
    hub = SandboxFactsSerializer(required=False)


class SandboxPageSerializer(serializers.Serializer[Any]):
    items = SandboxSerializer(many=True)
    nextCursor = serializers.CharField(allow_null=True)


class FactsQuerySerializer(QuerySerializer):
    facts = serializers.BooleanField(
        default=False, help_text="`hub` is in each: what the hub knows of it beside Daytona's object."
    )


class PageQuerySerializer(FactsQuerySerializer):
    cursor = TextField(required=False, max_length=2000)
    limit = serializers.IntegerField(min_value=1, max_value=200, default=100)


class BuildLogQuerySerializer(QuerySerializer):
    follow = serializers.BooleanField(default=False, help_text="The answer goes on until the build has ended.")


class CommandSerializer(serializers.Serializer[Any]):
    id = serializers.CharField()
    command = serializers.CharField()
    exitCode = serializers.IntegerField(allow_null=True, help_text="Null while it runs.")


class SessionSerializer(serializers.Serializer[Any]):
    sessionId = serializers.CharField()
    commands = CommandSerializer(many=True)


class SessionCreateSerializer(StrictSerializer):
    example = {"sessionId": "build"}

    sessionId = NameField(required=False)


class SessionCreatedSerializer(serializers.Serializer[Any]):
    sandboxId = serializers.CharField()
    sessionId = serializers.CharField()


class CommandRunSerializer(StrictSerializer):
    """A line for bash; it runs in its own shell."""

    example = {"command": "echo hello"}

    command = TextField(max_length=256 * 1024, trim_whitespace=False)


class CommandStartedSerializer(SessionCreatedSerializer):
    commandId = serializers.CharField()
    logs = serializers.CharField(help_text="Address of the log stream.")


class LogSnapshotSerializer(serializers.Serializer[Any]):
    stdout = serializers.CharField()
    stderr = serializers.CharField()


class SubscriptionSerializer(serializers.ModelSerializer[Subscription]):
    """An open stream of `/sse`; `last_seen_at`: when the process that holds it last reported."""

    eventType = serializers.CharField(source="kind")
    sandboxId = serializers.CharField(source="sandbox_id")
    sessionId = serializers.CharField(source="session_id")
    commandId = serializers.CharField(source="command_id")
    user = serializers.CharField(source="user_name")
    last_seen_at = serializers.DateTimeField(read_only=True)

    class Meta:
        model = Subscription
        fields = [
            "id",
            "eventType",
            "sandboxId",
            "sessionId",
            "commandId",
            "user",
            "address",
            "opened_at",
            "last_seen_at",
            "events",
        ]
