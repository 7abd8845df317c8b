"""Values of query parameters: times, choices, unknown names, and what a refusal says of them."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import UTC, datetime
from typing import Any, Final

NOT_A_TIME: Final = "Must be an ISO 8601 time, like 2025-06-22T10:00:00Z."


def must_be_one_of(choices: Iterable[Any]) -> str:
    return f"Must be one of: {', '.join(map(str, choices))}."


def unknown_parameters(given: Iterable[str], known: Iterable[str]) -> dict[str, list[str]]:
    """A message for each given name that is not known, as the `details` of an error have them."""
    names = list(dict.fromkeys(known))
    told = must_be_one_of(names) if names else "This endpoint takes none."
    return {name: [f"Unknown parameter. {told}"] for name in given if name not in names}


def read_moment(text: str) -> datetime:
    """An ISO 8601 time, UTC unless it says otherwise; the `+` of `+00:00` may come as the blank it decodes to.

    Raises ValueError.
    """
    try:
        moment = _parsed(text.strip().upper())  # RFC 3339 has `t` and `z` too
        return moment.astimezone(UTC) if moment.tzinfo is not None else moment.replace(tzinfo=UTC)
    except OverflowError as error:
        raise ValueError(str(error)) from error


def _parsed(text: str) -> datetime:
    try:
        return datetime.fromisoformat(text)
    except ValueError:
        # As it stands it is no time, so its last blank may be the `+` of an offset.
        time, _, offset = text.rpartition(" ")
        if not time:
            raise
        return datetime.fromisoformat(f"{time}+{offset}")
