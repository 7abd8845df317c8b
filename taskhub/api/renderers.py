"""JSON renderer: REST's, which takes parts that are JSON already as they are."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from typing import Any

from rest_framework import renderers


class JsonText(str):
    """Text that is JSON already. It may be a value of the object that is a response's data."""

    __slots__ = ()


class JSONRenderer(renderers.JSONRenderer):
    def render(self, data: Any, accepted_media_type: str | None = None, renderer_context: Any = None) -> bytes:
        if not isinstance(data, dict) or not any(isinstance(value, JsonText) for value in data.values()):
            return self._rendered(data, accepted_media_type, renderer_context)
        if self.get_indent(accepted_media_type, renderer_context or {}):  # type: ignore[arg-type]  # None is empty
            plain = {name: json.loads(value) if isinstance(value, JsonText) else value for name, value in data.items()}
            return self._rendered(plain, accepted_media_type, renderer_context)
        return b"{%b}" % b",".join(self._members(data))

    def _members(self, data: Mapping[str, Any]) -> Iterator[bytes]:
        for name, value in data.items():
            text = _escaped(value) if isinstance(value, JsonText) else self._rendered([value])[1:-1]
            yield b"%b:%b" % (self._rendered(name), text)

    def _rendered(self, *arguments: Any) -> bytes:
        rendered: bytes = super().render(*arguments)
        return rendered


def _escaped(text: str) -> bytes:
    """As DRF escapes: JavaScript took these two for ends of lines."""
    return text.replace("\u2028", "\\u2028").replace("\u2029", "\\u2029").encode()
