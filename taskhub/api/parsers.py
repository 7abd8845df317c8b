"""Request bodies."""

from __future__ import annotations

from collections.abc import Mapping
from typing import IO, Any, Final

from rest_framework.exceptions import ParseError
from rest_framework.parsers import JSONParser

from taskhub.errors import TooLarge

VALUES_MOST: Final = 5000
"""Names and values in a body. Each is checked: a body of a few MB of them would occupy a thread for long."""


class ShallowJSONParser(JSONParser):
    """DRF's parser; a body nested deeper than Python's recursion limit is malformed instead of a crash, and a body with
    too many values is refused before it is validated."""

    def parse(
        self, stream: IO[bytes], media_type: str | None = None, parser_context: Mapping[str, Any] | None = None
    ) -> dict[str, Any]:
        try:
            body: dict[str, Any] = super().parse(stream, media_type, parser_context)
        except RecursionError:
            raise ParseError("nested too deeply") from None
        guard_values(body)
        return body


def guard_values(body: Any) -> None:
    """Raises TooLarge for a JSON value of more than `VALUES_MOST` values."""
    waiting = [body]
    count = 0
    while waiting:
        value = waiting.pop()
        inside = value.values() if isinstance(value, dict) else value if isinstance(value, list) else ()
        count += len(inside)
        if count > VALUES_MOST:
            raise TooLarge(f"The body may contain at most {VALUES_MOST} values.", code="too_many_values")
        waiting.extend(inside)
