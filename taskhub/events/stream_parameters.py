"""Parameters of a stream's address, each defined once.

From this definition come the stream's own parser, the bodies that tickets and MCP tools take, and what the OpenAPI and
AsyncAPI documents say.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from enum import Enum
from typing import Any, Final
from uuid import UUID

from taskhub.lib.query_values import NOT_A_TIME, must_be_one_of, read_moment

TEXT_LIMIT: Final = 1000
NAME_LIMIT: Final = 200
# No NUL, and a character that is not blank; no name that means a folder. Valid in Python and in ECMAScript.
_TEXT: Final = r"^[^\u0000]*[^\s\u0000][^\u0000]*$"
_NAME: Final = rf"^(?!\.{{1,2}}$)[A-Za-z0-9_.-]{{1,{NAME_LIMIT}}}$"


class Format(Enum):
    """What the value of a parameter is."""

    TEXT = "text"
    NAME = "name"
    """What others name: sandboxes, sessions, commands."""
    UUID = "uuid"
    TIME = "time"
    CHOICE = "choice"
    CHOICES = "choices"
    """Several, separated by commas; their order means nothing."""


@dataclass(frozen=True, slots=True)
class Parameter:
    """A parameter. `default`: what it means if it is not given. `needed_with`: it must be given where that other
    parameter has that value. `is_position`: it says where in the stream the client stands, so no ticket holds it."""

    name: str
    description: str
    format: Format = Format.TEXT
    choices: tuple[str, ...] = ()
    required: bool = False
    default: str = ""
    needed_with: tuple[str, str] | None = None
    is_position: bool = False

    @property
    def max_length(self) -> int:
        return NAME_LIMIT if self.format is Format.NAME else TEXT_LIMIT

    def spell(self, value: str) -> str:
        """The value in one spelling: two ways to write one stream are one stream.

        Raises ValueError, whose text says what the value must be.
        """
        if len(value) > self.max_length:
            raise ValueError(f"Must have at most {self.max_length} characters.")
        return _SPELLINGS[self.format](self, value)

    def missing(self, given: Mapping[str, str]) -> str:
        """What is wrong with its absence beside those that are given; "" if nothing is."""
        if self.required:
            return "This parameter is required."
        if self.needed_with is not None and given.get(self.needed_with[0]) == self.needed_with[1]:
            return f"This parameter is required with {'='.join(self.needed_with)}."
        return ""

    def schema(self) -> dict[str, Any]:
        """JSON Schema (2020-12) of the value."""
        if self.format is Format.CHOICE:
            default = {"default": self.default} if self.default else {}
            return {"type": "string", "enum": list(self.choices), **default}
        if self.format is Format.UUID:
            return {"type": "string", "format": "uuid"}
        if self.format is Format.TIME:
            return {"type": "string", "format": "date-time"}
        pattern = _NAME if self.format is Format.NAME else _TEXT
        if self.format is Format.CHOICES:
            word = f"(?:{'|'.join(self.choices)})"
            pattern = f"^,*{word}(?:,+{word})*,*$"
        return {"type": "string", "minLength": 1, "maxLength": self.max_length, "pattern": pattern}


def _spell_name(_: Parameter, value: str) -> str:
    if not re.fullmatch(_NAME, value):
        raise ValueError(f"Must be an id: at most {NAME_LIMIT} letters, digits, and _ . -")
    return value


def _spell_uuid(_: Parameter, value: str) -> str:
    try:
        return str(UUID(value))
    except ValueError:
        raise ValueError("Must be a UUID.") from None


def _spell_time(_: Parameter, value: str) -> str:
    try:
        return read_moment(value).isoformat()
    except ValueError:
        raise ValueError(NOT_A_TIME) from None


def _spell_choice(parameter: Parameter, value: str) -> str:
    if value not in parameter.choices:
        raise ValueError(must_be_one_of(parameter.choices))
    return value


def _spell_choices(parameter: Parameter, value: str) -> str:
    words = {word for word in value.split(",") if word}
    if not words <= set(parameter.choices):
        raise ValueError(must_be_one_of(parameter.choices))
    return ",".join(sorted(words))


_SPELLINGS: Final[dict[Format, Callable[[Parameter, str], str]]] = {
    Format.TEXT: lambda _, value: value,
    Format.NAME: _spell_name,
    Format.UUID: _spell_uuid,
    Format.TIME: _spell_time,
    Format.CHOICE: _spell_choice,
    Format.CHOICES: _spell_choices,
}

LAST_EVENT_ID: Final = Parameter(
    "lastEventId",
    "Where to resume: the last id that was received, for clients that cannot set `Last-Event-ID`.",
    is_position=True,
)
TICKET: Final = Parameter(
    "ticket", "A signed ticket for one stream, from POST /api/tickets/; for clients that cannot send headers."
)
FOR_ALL_STREAMS: Final = (LAST_EVENT_ID.name, TICKET.name, "_")
"""What every stream takes besides its own; `_` is what some clients add against caches."""
