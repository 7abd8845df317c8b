"""JSON Schemas of REST's serializers, shared by tools and REST.

Agents pay for every word of a schema with their context. Therefore limits that no agent comes near are left out
(errors name them): lengths of texts, least values of 0 and 1, greatest ones above 100. So are that unknown arguments
are refused, the enum values of results, and the fields of results that explain themselves.
"""

from __future__ import annotations

from collections.abc import Collection
from typing import Any, Final

from rest_framework import serializers

from taskhub.api.serializers import EnvValueField

Schema = dict[str, Any]

_TYPES: Final[dict[type[serializers.Field[Any, Any, Any, Any]], str]] = {
    serializers.BooleanField: "boolean",
    serializers.IntegerField: "integer",
}
_LARGEST_TOLD: Final = 100


def input_schema(serializer: type[serializers.BaseSerializer[Any]]) -> Schema:
    """Schema of the arguments: the writable fields only."""
    fields = {name: field for name, field in _fields(serializer()).items() if not field.read_only}
    schema: Schema = {"type": "object", "properties": {name: _given(field) for name, field in fields.items()}}
    required = [name for name, field in fields.items() if field.required]
    return {**schema, **({"required": required} if required else {})}


def output_schema(serializer: type[serializers.BaseSerializer[Any]], names: Collection[str] = ()) -> Schema:
    """Schema of the result; with `names` of these fields alone, without what is in them."""
    schema = _answered(serializer())
    if not names:
        return schema
    kinds = {name: {"type": field["type"]} for name, field in schema["properties"].items() if name in names}
    return {"type": "object", "properties": kinds}


def _fields(serializer: serializers.BaseSerializer[Any]) -> dict[str, Any]:
    return dict(getattr(serializer, "fields", {}))


def _given(field: Any) -> Schema:
    schema = _typed(field, _given)
    if isinstance(field, serializers.ChoiceField):
        schema["enum"] = list(field.choices)
    least, most = getattr(field, "min_value", None), getattr(field, "max_value", None)
    schema |= {"minimum": least} if least is not None and least > 1 else {}
    schema |= {"maximum": most} if most is not None and most <= _LARGEST_TOLD else {}
    if field.help_text:
        schema["description"] = str(field.help_text)
    if not field.required and field.default is not serializers.empty:
        schema["default"] = field.default
    return schema


def _answered(field: Any) -> Schema:
    schema = _typed(field, _answered)
    if getattr(field, "allow_null", False) and isinstance(schema["type"], str):
        schema["type"] = [schema["type"], "null"]
    return schema


def _typed(field: Any, typed: Any) -> Schema:
    if isinstance(field, serializers.ListSerializer | serializers.ListField):
        return {"type": "array", "items": typed(field.child)}
    if isinstance(field, serializers.DictField):
        return {"type": "object", "additionalProperties": typed(field.child)}
    if isinstance(field, serializers.Serializer):
        fields = {name: each for name, each in _fields(field).items() if not (each.write_only and typed is _answered)}
        return {"type": "object", "properties": {name: typed(each) for name, each in fields.items()}}
    if isinstance(field, EnvValueField):
        return {}  # a string or an object; REST's document says which
    if isinstance(field, serializers.JSONField | serializers.SerializerMethodField):
        return {"type": ["object", "null"]}  # an error's code and message, or null
    return {"type": next((word for kind, word in _TYPES.items() if isinstance(field, kind)), "string")}
