"""Optional arguments that are sent empty: `null`, and `""` where blank is no value, mean "not given".

Clients in strict mode send every argument that a schema names, so they have no other way to leave one out.
"""

from __future__ import annotations

from typing import Any

from rest_framework import serializers


def given_only(serializer: serializers.BaseSerializer[Any], arguments: Any) -> Any:
    """The arguments without optional ones that are empty, also in lists of objects. Others are left to validation."""
    fields: dict[str, Any] | None = getattr(serializer, "fields", None)
    if fields is None or not isinstance(arguments, dict):
        return arguments
    return {
        name: _inside(fields.get(name), value)
        for name, value in arguments.items()
        if not (name in fields and _is_left_out(fields[name], value))
    }


def _inside(field: Any, value: Any) -> Any:
    if isinstance(field, serializers.ListSerializer | serializers.ListField) and isinstance(value, list):
        return [_inside(field.child, each) for each in value]
    return given_only(field, value) if isinstance(field, serializers.Serializer) else value


def _is_left_out(field: Any, value: Any) -> bool:
    if field.required or field.read_only:
        return False
    return value is None or (value == "" and not _takes_blank(field))


def _takes_blank(field: Any) -> bool:
    """Whether `""` is a value of this field: it empties a text, or unassigns a task."""
    return bool(getattr(field, "allow_blank", False)) or "" in getattr(field, "choices", ())
