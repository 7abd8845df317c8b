"""Channels of a sandbox. They keep no history: the latest value is in its row, and is sent on connect."""

from __future__ import annotations

import re
from typing import Any, Final

from taskhub.events.channels import TASKS, ChannelManager

_SANDBOX: Final = re.compile(r"sandbox-[A-Za-z0-9_.-]{1,200}-(?:status|sessions)\Z")


def status_channel(sandbox_id: str) -> str:
    return f"sandbox-{sandbox_id}-status"


def sessions_channel(sandbox_id: str) -> str:
    return f"sandbox-{sandbox_id}-sessions"


class HubChannels(ChannelManager):
    """Permission for sandbox channels: every reader of the hub's events."""

    def can_read_channel(self, user: Any, channel: str) -> bool:
        return super().can_read_channel(user, TASKS if _SANDBOX.match(channel) else channel)
