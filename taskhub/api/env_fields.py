"""Environment variables in requests: names to values, some of them secret."""

from __future__ import annotations

from typing import Any, Final

from drf_spectacular.utils import extend_schema_field
from rest_framework import serializers

from taskhub.api.fields import StrictBooleanField, StrictSerializer, TextField
from taskhub.executions.masking import LINES_MOST, SHORTEST, Secret, secret_lines
from taskhub.services.execution_inputs import BASH_KEEPS, ENV_BYTES, ENV_LIMIT, ENV_NAME, env_bytes

_ENV_VALUE_LIMIT: Final = 32 * 1024
_ENV_TEXT: Final = {"type": "string", "pattern": r"^[^\u0000]*$", "maxLength": _ENV_VALUE_LIMIT}
_ENV_SCHEMA: Final = {
    "type": "object",
    "propertyNames": {"pattern": "^[A-Za-z_][A-Za-z0-9_]*$", "not": {"enum": sorted(BASH_KEEPS)}},
    "additionalProperties": {
        "oneOf": [
            _ENV_TEXT,
            {
                "type": "object",
                "description": "A secret value is never shown again: logs and file names have `***` in its place.",
                "properties": {"value": {**_ENV_TEXT, "writeOnly": True}, "secret": {"type": "boolean"}},
                "required": ["value", "secret"],
                "additionalProperties": False,
            },
        ]
    },
    "maxProperties": ENV_LIMIT,
}


class SecretSerializer(StrictSerializer):
    value = TextField(allow_blank=True, trim_whitespace=False, max_length=_ENV_VALUE_LIMIT)
    secret = StrictBooleanField()

    def validate(self, attrs: Any) -> Any:
        if attrs["secret"] and not secret_lines([attrs["value"]]):
            words = (
                f"A secret value must have a line of at least {SHORTEST} characters: a shorter one cannot be masked."
            )
            raise serializers.ValidationError({"value": [words]})
        return attrs


class EnvValueField(serializers.Field[Any, Any, Any, Any]):
    """A string, or `{"value": …, "secret": true}`."""

    text = TextField(allow_blank=True, trim_whitespace=False, max_length=_ENV_VALUE_LIMIT)

    def to_internal_value(self, data: Any) -> str | Secret:
        if not isinstance(data, dict):
            plain: str = self.text.run_validation(data)
            return plain
        given = SecretSerializer(data=data)
        given.is_valid(raise_exception=True)
        value: str = given.validated_data["value"]
        return Secret(value) if given.validated_data["secret"] else value


@extend_schema_field(_ENV_SCHEMA)
class EnvField(serializers.DictField):
    """Names to values, for the script's environment."""

    child = EnvValueField()

    def to_internal_value(self, data: Any) -> dict[str, str | Secret]:
        value: dict[str, str | Secret] = super().to_internal_value(data)
        if len(value) > ENV_LIMIT:
            raise serializers.ValidationError(f"At most {ENV_LIMIT} variables.")
        if env_bytes(value) > ENV_BYTES:
            raise serializers.ValidationError(f"At most {ENV_BYTES} bytes in all.")
        if len(secret_lines(each.value for each in value.values() if isinstance(each, Secret))) > LINES_MOST:
            raise serializers.ValidationError(f"At most {LINES_MOST} lines in all secret values.")
        wrong = sorted(name for name in value if not ENV_NAME.match(name))
        if wrong:
            raise serializers.ValidationError({name: ["Not a name a shell takes."] for name in wrong})
        kept = sorted(BASH_KEEPS & value.keys())
        if kept:
            raise serializers.ValidationError({name: ["bash keeps this name to itself."] for name in kept})
        return value


@extend_schema_field({**_ENV_SCHEMA, "additionalProperties": _ENV_TEXT})
class PlainEnvField(EnvField):
    """Likewise, without secret values."""

    child = TextField(allow_blank=True, trim_whitespace=False, max_length=_ENV_VALUE_LIMIT)  # type: ignore[assignment]  # fewer values than before
