"""Channels of a sandbox. They keep no history: the latest value is in its row, and is sent on connect."""

from __future__ import annotations


def status_channel(sandbox_id: str) -> str:
    return f"sandbox-{sandbox_id}-status"


def sessions_channel(sandbox_id: str) -> str:
    return f"sandbox-{sandbox_id}-sessions"
