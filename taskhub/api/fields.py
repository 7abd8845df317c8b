"""Serializer fields with the hub's rules and error messages."""

from __future__ import annotations

import re
from functools import cache, cached_property
from typing import Any, ClassVar, Final, NoReturn

from drf_spectacular.extensions import OpenApiSerializerExtension, OpenApiSerializerFieldExtension
from rest_framework import serializers
from rest_framework.utils.serializer_helpers import BindingDict

from taskhub.lib.one_line import LINE_BREAKING, ONE_LINE, is_one_line
from taskhub.lib.query_values import must_be_one_of

# What draws nothing: blanks, control and format characters, fillers, variation selectors (Unicode 15): in plane 0.
_INVISIBLE: Final = (
    r"\s\u0000-\u001f\u007f-\u00a0\u00ad\u034f\u061c\u115f\u1160\u17b4\u17b5\u180b-\u180f\u2000-\u200f\u2028-\u202f"
    r"\u205f-\u206f\u2800\u3000\u3164\ufe00-\ufe0f\ufeff\uffa0\ufff0-\ufffb"
)
# In the other planes: shorthand and musical controls, tags, variation selectors. The document's pattern leaves them
# out: ECMAScript and Python write such characters in different ways.
_INVISIBLE_BEYOND: Final = r"\U0001bca0-\U0001bca3\U0001d173-\U0001d17a\U000e0000-\U000e0fff"
_VISIBLE: Final = re.compile(f"[^{_INVISIBLE}{_INVISIBLE_BEYOND}]")


class TextField(serializers.CharField):
    """A JSON string; DRF itself would also take a number, and refuses NUL and lone surrogates.

    Its limit holds for what was sent, as the document says, and not for what is left when the blanks are gone.
    `visible`: at least one character must draw something; a zero-width space does not. `one_line`: without control
    characters and direction marks, as a name is shown.
    """

    def __init__(self, *, visible: bool = False, one_line: bool = False, **options: Any) -> None:
        super().__init__(**options)
        self.visible = visible
        self.one_line = one_line

    def to_internal_value(self, data: Any) -> str:
        if not isinstance(data, str):
            raise serializers.ValidationError("Must be a string.", code="invalid")
        if self.visible and not _VISIBLE.search(data):
            raise serializers.ValidationError("Must have a visible character.", code="invisible")
        if self.one_line and not is_one_line(data):
            raise serializers.ValidationError(ONE_LINE)
        if self.max_length is not None and len(data) > self.max_length:
            self.fail("max_length", max_length=self.max_length)
        return super().to_internal_value(data)


class StrictBooleanField(serializers.BooleanField):
    """true or false; DRF itself would also take "yes", 1, and null."""

    def to_internal_value(self, data: Any) -> bool:
        if not isinstance(data, bool):
            raise serializers.ValidationError("Must be true or false.", code="invalid")
        return data


class OneOfField(serializers.ChoiceField):
    """A choice whose refusal names the choices."""

    def fail(self, key: str, **words: Any) -> NoReturn:
        if key == "invalid_choice":
            raise serializers.ValidationError(must_be_one_of(self.choices), code=key)
        super().fail(key, **words)


class IdField(serializers.UUIDField):
    """One of the hub's ids."""

    default_error_messages: ClassVar[dict[str, Any]] = {"invalid": "Must be a UUID."}


class ShortListField(serializers.ListField):
    """Its length is looked at before what is in it: DRF itself would check, and complain of, each of a million."""

    def to_internal_value(self, data: Any) -> list[Any]:
        if isinstance(data, list) and self.max_length is not None and len(data) > self.max_length:
            self.fail("max_length", max_length=self.max_length)
        found: list[Any] = super().to_internal_value(data)
        return found


class TextListField(ShortListField):
    """A list of at most 100 strings of at most `max_length` characters."""

    def __init__(self, *, max_length: int, **options: Any) -> None:
        super().__init__(child=TextField(max_length=max_length), max_length=100, **options)


class StrictSerializer(serializers.Serializer[Any]):
    """Refuses unknown fields: a misspelt name is an error, not ignored. Read-only ones may be sent back.

    Its fields are made once: DRF copies all of them for every request. So none of them may look at the request.
    """

    @cached_property
    def fields(self) -> BindingDict:
        return _fields(type(self), partial=self.partial)

    def to_internal_value(self, data: Any) -> Any:
        if isinstance(data, dict):
            unknown = sorted(str(name) for name in data.keys() - self.fields.keys())
            if unknown:
                known = ", ".join(name for name, field in self.fields.items() if not field.read_only)
                raise serializers.ValidationError(
                    {name: [f"Unknown field. Known: {known}."] for name in unknown}, code="unknown"
                )
        return super().to_internal_value(data)


@cache
def _fields(serializer: type[StrictSerializer], *, partial: bool) -> BindingDict:
    owner = serializer(partial=partial)
    bound = BindingDict(owner)
    for name, field in owner.get_fields().items():
        bound[name] = field
    return bound


class StrictSchema(OpenApiSerializerExtension):  # type: ignore[no-untyped-call]  # the library's base has no types
    """That unknown fields are refused is part of what is sent."""

    target_class = StrictSerializer
    match_subclasses = True

    def map_serializer(self, auto_schema: Any, direction: str) -> dict[str, Any]:
        schema: dict[str, Any] = auto_schema._map_serializer(self.target, direction, bypass_extensions=True)  # noqa: SLF001 - the library's documented way
        if direction == "request":
            schema["additionalProperties"] = False
            if example := getattr(self.target, "example", None):
                schema["examples"] = [example]
        return schema


class TextSchema(OpenApiSerializerFieldExtension):  # type: ignore[no-untyped-call]  # likewise
    """The pattern of a text: no NUL or nothing that breaks a line, and what is not blank where it may not be."""

    target_class = TextField

    def map_serializer_field(self, auto_schema: Any, direction: str) -> dict[str, Any]:
        schema: dict[str, Any] = auto_schema._map_serializer_field(self.target, direction, bypass_extensions=True)  # noqa: SLF001 - likewise
        said = "" if self.target.allow_blank else r"[^\s\u0000]"
        if self.target.visible:
            said = f"[^{_INVISIBLE}]"
        refused = LINE_BREAKING if self.target.one_line else r"\u0000"
        around = f"[^{refused}]*"
        # That it may be null is added, once more, to what this returns.
        return {**schema, "type": "string", "pattern": f"^{around}{said}{around}$"}
