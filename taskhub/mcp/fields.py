"""Fields for ids, which are part of the address in REST, and arguments that say which agent asks.

A malformed id is a NotFound in both.
"""

from __future__ import annotations

import re
from typing import Any
from uuid import UUID

from rest_framework import serializers

from taskhub.api.actors import LEASE_LENGTH
from taskhub.api.env_fields import EnvField
from taskhub.api.fields import StrictBooleanField, StrictSerializer, TextField
from taskhub.api.routes import NAME, UUID_PATTERN
from taskhub.errors import NotFound
from taskhub.models.claim import AGENT_LENGTH


class TaskIdField(TextField):
    """A task's id. Raises NotFound if malformed."""

    def to_internal_value(self, data: Any) -> UUID:  # type: ignore[override]  # as the path's places become UUIDs
        text = super().to_internal_value(data)
        if not re.fullmatch(UUID_PATTERN, text):
            raise NotFound("Not a task id; it must be a UUID.")
        return UUID(text)


class SandboxIdField(TextField):
    """A sandbox's id or name. Raises NotFound if malformed."""

    def to_internal_value(self, data: Any) -> str:
        text = super().to_internal_value(data)
        if not re.fullmatch(NAME, text):
            raise NotFound("Not a sandbox id or name.")
        return text


class VariableSerializer(StrictSerializer):
    """A variable of a script's environment; a secret one is masked in its log."""

    name = TextField()
    value = TextField(allow_blank=True, trim_whitespace=False)
    secret = StrictBooleanField(required=False, help_text="Masked in the log.")


class VariablesField(serializers.ListField):
    """REST's `env` as a list of objects, which clients in strict mode can send; REST's own object is taken too."""

    child = VariableSerializer()
    _rest = EnvField()

    def to_internal_value(self, data: Any) -> Any:
        if isinstance(data, dict):
            return self._rest.run_validation(data)
        values: dict[str, Any] = {}
        for each in super().to_internal_value(data):
            if each["name"] in values:
                raise serializers.ValidationError({each["name"]: ["Given twice."]})
            values[each["name"]] = {"value": each["value"], "secret": True} if each.get("secret") else each["value"]
        return self._rest.run_validation(values)


class NamedSerializer(StrictSerializer):
    """`as`: the agent's name, where several use one account."""

    def get_fields(self) -> dict[str, Any]:
        fields: dict[str, Any] = super().get_fields()
        # A word of Python's.
        fields["as"] = TextField(required=False, max_length=AGENT_LENGTH, visible=True, one_line=True)
        return fields


class HolderSerializer(NamedSerializer):
    """Of tools that write to a task: the lease of the claim, and `force` for an operator's token."""

    def get_fields(self) -> dict[str, Any]:
        fields: dict[str, Any] = super().get_fields()
        fields["lease"] = TextField(required=False, max_length=LEASE_LENGTH)
        fields["force"] = StrictBooleanField(required=False)
        return fields
