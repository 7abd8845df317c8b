"""GET /api/sandbox: filters, order, and pages by cursor."""

import base64
import binascii
import json
from collections.abc import Callable, Mapping
from typing import Any, Protocol

from sandboxes.local.errors import ControlError
from sandboxes.local.rows import STATES, SandboxRow, checked_map

_LARGEST_PAGE = 200
_DEFAULT_PAGE = 100

_SORTS: dict[str, Callable[[SandboxRow], Any]] = {
    "name": lambda row: row.name,
    "cpu": lambda row: row.fields["cpu"],
    "memoryGib": lambda row: row.fields["memory"],
    "diskGib": lambda row: row.fields["disk"],
    "lastActivityAt": lambda row: row.last_activity_at,
    "createdAt": lambda row: row.created_at,
}


class Query(Protocol):
    """The query string: a mapping in which a name may occur more than once."""

    def get(self, key: str) -> str | None: ...
    def getall(self, key: str, default: list[str]) -> list[str]: ...


def page(rows: list[SandboxRow], query: Query) -> tuple[list[SandboxRow], str | None]:
    """One page and the cursor of the next one, or None. Raises ControlError 400.

    The cursor holds the sort value and id of the page's last row, not a position: rows that come and go between two
    pages neither repeat nor hide another.
    """
    limit = _number(query.get("limit"), "limit", default=_DEFAULT_PAGE)
    if not 1 <= limit <= _LARGEST_PAGE:
        raise ControlError(400, f"limit must be between 1 and {_LARGEST_PAGE}")
    sort = _choice(query.get("sort"), "sort", list(_SORTS), "lastActivityAt")
    descending = _choice(query.get("order"), "order", ["asc", "desc"], "desc") == "desc"
    value = _SORTS[sort]
    wanted = _filter(query)
    ordered = sorted(filter(wanted, rows), key=lambda row: (value(row), row.id), reverse=descending)
    cursor = query.get("cursor")
    if cursor:
        last = _read_cursor(cursor, value)
        ordered = [row for row in ordered if _is_after((value(row), row.id), last, descending=descending)]
    taken = ordered[:limit]
    more = len(ordered) > limit
    return taken, _write_cursor(value(taken[-1]), taken[-1].id) if more else None


def _filter(query: Query) -> Callable[[SandboxRow], bool]:
    states = query.getall("states", [])
    for state in states:
        if state not in STATES or state == "destroyed":
            raise ControlError(400, f"states: each value must be a state of a sandbox that exists, not {state}")
    labels = _labels(query.get("labels"))
    name = (query.get("name") or "").lower()
    sandbox_id = (query.get("id") or "").lower()
    snapshots = query.getall("snapshots", [])
    regions = query.getall("regionIds", [])

    def wanted(row: SandboxRow) -> bool:
        return all(
            (
                not states or row.state in states,
                labels.items() <= row.labels.items(),
                row.name.lower().startswith(name),
                row.id.startswith(sandbox_id),
                not snapshots or row.fields.get("snapshot") in snapshots,
                not regions or row.fields["target"] in regions,
            )
        )

    return wanted


def _labels(text: str | None) -> Mapping[str, str]:
    if not text:
        return {}
    try:
        value = json.loads(text)
    except json.JSONDecodeError:
        raise ControlError(400, "labels must be a JSON object") from None
    return checked_map("labels", value)


def _number(text: str | None, name: str, *, default: int) -> int:
    if text is None:
        return default
    try:
        return int(text)
    except ValueError:
        raise ControlError(400, f"{name} must be an integer number") from None


def _choice(text: str | None, name: str, choices: list[str], default: str) -> str:
    if text is None:
        return default
    if text not in choices:
        raise ControlError(400, f"{name} must be one of the following values: {', '.join(choices)}")
    return text


def _is_after(key: tuple[Any, str], last: tuple[Any, str], *, descending: bool) -> bool:
    return key < last if descending else key > last


def _write_cursor(value: object, sandbox_id: str) -> str:
    return base64.urlsafe_b64encode(json.dumps([value, sandbox_id]).encode()).decode()


def _read_cursor(cursor: str, value: Callable[[SandboxRow], Any]) -> tuple[Any, str]:
    try:
        decoded = json.loads(base64.b64decode(cursor, altchars=b"-_", validate=True))
        last, sandbox_id = decoded
    except (binascii.Error, ValueError, TypeError):
        raise ControlError(400, "Invalid cursor") from None
    example = value(SandboxRow(id="", fields={"name": "", "cpu": 0, "memory": 0, "disk": 0}))
    if not isinstance(last, type(example)) or not isinstance(sandbox_id, str):
        # A cursor of another sort order.
        raise ControlError(400, "Invalid cursor")
    return last, sandbox_id
