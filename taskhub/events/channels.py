"""Channels, and who reads them. Closed unless named here: the client never names a channel."""

from __future__ import annotations

from typing import Any, Final

from django.conf import settings
from django_eventstream.channelmanager import ChannelManagerBase

TASKS: Final = "tasks"
"""Everything about tasks and executions; kept for `TASKHUB_EVENTS_KEEP`."""


def kind_of(channel: str) -> str:
    """What kind of streams read it, as `tasks`, `execution-log`, `sandbox`, `mcp`: a name may hold ids, which are not
    for everybody, and of which there is no end."""
    return "execution-log" if channel.startswith("execution-") else channel.partition("-")[0]


class ChannelManager(ChannelManagerBase):  # type: ignore[misc]  # the library has no types
    """django-eventstream asks this for its own `send_event` and views; our streams ask it too."""

    def get_channels_for_request(self, request: Any, view_kwargs: dict[str, Any]) -> set[str]:  # noqa: ARG002
        # The library's interface. No stream of ours takes a channel from a request.
        return set()

    def can_read_channel(self, user: Any, channel: str) -> bool:
        """`user` is None for anonymous callers."""
        if channel != TASKS:
            return False
        return bool(settings.TASKHUB_OPEN_READING) or (user is not None and user.is_authenticated)

    def is_channel_reliable(self, channel: str) -> bool:
        """Whether events are kept in the table, so that a stream can resume."""
        return channel == TASKS
