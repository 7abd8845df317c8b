"""JSON Schemas of tools' arguments, from the serializers that tools and REST share.

Agents pay for every word of a schema with their context. Therefore limits that no agent comes near are left out
(errors name them): lengths of texts, least values of 0 and 1, greatest ones above 100. So are that unknown arguments
are refused, and what results look like. An optional argument may be null: clients in strict mode send all of them
(`arguments.py`).
"""

from __future__ import annotations

from typing import Any, Final

from rest_framework import serializers

Schema = dict[str, Any]

_TYPES: Final[dict[type[serializers.Field[Any, Any, Any, Any]], str]] = {
    serializers.BooleanField: "boolean",
    serializers.IntegerField: "integer",
}
_LARGEST_TOLD: Final = 100


def input_schema(serializer: type[serializers.BaseSerializer[Any]]) -> Schema:
    """Schema of the arguments: the writable fields only."""
    return _given_object(serializer())


def _given_object(serializer: serializers.BaseSerializer[Any]) -> Schema:
    fields = {name: field for name, field in _fields(serializer).items() if not field.read_only}
    schema: Schema = {"type": "object", "properties": {name: _given(field) for name, field in fields.items()}}
    required = [name for name, field in fields.items() if field.required]
    return {**schema, **({"required": required} if required else {})}


def _fields(serializer: serializers.BaseSerializer[Any]) -> dict[str, Any]:
    return dict(getattr(serializer, "fields", {}))


def _given(field: Any) -> Schema:
    schema = _typed(field)
    if isinstance(field, serializers.ChoiceField):
        schema["enum"] = [choice for choice in field.choices if choice]  # an empty one is no choice to some clients
    least, most = getattr(field, "min_value", None), getattr(field, "max_value", None)
    schema |= {"minimum": least} if least is not None and least > 1 else {}
    schema |= {"maximum": most} if most is not None and most <= _LARGEST_TOLD else {}
    if field.help_text:
        schema["description"] = str(field.help_text)
    if not field.required and field.default is not serializers.empty:
        schema["default"] = field.default
    return schema if field.required else _optional(schema)


def _optional(schema: Schema) -> Schema:
    """Or null; beside a choice, since some clients take no null among its values."""
    if "enum" not in schema:
        return {**schema, "type": [schema["type"], "null"]}
    choice = {name: schema.pop(name) for name in ("type", "enum")}
    return {"anyOf": [choice, {"type": "null"}], **schema}


def _typed(field: Any) -> Schema:
    if isinstance(field, serializers.ListSerializer | serializers.ListField):
        return {"type": "array", "items": _given(field.child)}
    if isinstance(field, serializers.DictField):
        return {"type": "object"}
    if isinstance(field, serializers.Serializer):
        return _given_object(field)
    return {"type": next((word for kind, word in _TYPES.items() if isinstance(field, kind)), "string")}
