"""Timestamp format on the wire and in archived logs."""

from __future__ import annotations

from datetime import datetime


def iso(moment: datetime) -> str:
    """ISO 8601 in UTC, with a Z: `2025-06-22T10:00:00.123456Z`. `moment` is aware and in UTC, as Django's are."""
    return moment.isoformat().replace("+00:00", "Z")
