"""Serializer pieces that the hub's rules need."""

from __future__ import annotations

from typing import Any

from rest_framework import serializers


class TextField(serializers.CharField):
    """A JSON string; DRF itself would also take a number, and refuses NUL and lone surrogates."""

    def to_internal_value(self, data: Any) -> str:
        if not isinstance(data, str):
            raise serializers.ValidationError("Not a string.", code="invalid")
        return super().to_internal_value(data)


class TextListField(serializers.ListField):
    """A list of at most 100 strings of at most `max_length` characters."""

    def __init__(self, *, max_length: int, **options: Any) -> None:
        super().__init__(child=TextField(max_length=max_length), max_length=100, **options)


class StrictSerializer(serializers.Serializer[Any]):
    """Refuses fields it does not know: a misspelt name is told, not ignored. Read-only ones may be sent back."""

    def to_internal_value(self, data: Any) -> Any:
        if isinstance(data, dict):
            unknown = sorted(str(name) for name in data.keys() - self.fields.keys())
            if unknown:
                known = ", ".join(name for name, field in self.fields.items() if not field.read_only)
                raise serializers.ValidationError(
                    {name: [f"There is no such field; there are {known}."] for name in unknown}, code="unknown"
                )
        return super().to_internal_value(data)
