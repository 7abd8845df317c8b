"""Values of the gateway that need no SDK: documents, pages, time limits."""

from __future__ import annotations

from typing import Any, Final, Literal, NamedTuple

REQUEST_S: Final = 10.0
LIFECYCLE_S: Final = 60.0
"""Creating, starting and stopping: Daytona itself holds such a request for up to 30 s."""
NO_ANSWER: Final = "none"
"""Stands for the status of a request that was not answered."""

Document = dict[str, Any]
"""A JSON object of Daytona's, under its own field names."""
Stream = Literal["stdout", "stderr"]


class Page(NamedTuple):
    """Some of the account's sandboxes, and the cursor of the next page, if there is one."""

    items: list[Document]
    next_cursor: str | None


class EntryPage(NamedTuple):
    """Some of the vault's entries, and the cursor of the next page, if there is one."""

    items: list[Document]
    next_cursor: str | None
