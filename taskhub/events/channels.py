"""Channels of events. Clients never name one: our streams choose the channels they read."""

from __future__ import annotations

from typing import Any, Final

from django_eventstream.channelmanager import ChannelManagerBase

TASKS: Final = "tasks"
"""All events of tasks and executions; kept for `TASKHUB_EVENTS_KEEP`."""
ADMISSION: Final = "admission"
"""Nothing is kept: a limit or pause of the hub or an account was set. For web processes, not for clients."""


def kind_of(channel: str) -> str:
    """The kind of its streams: `tasks`, `execution-log`, `sandbox`, `mcp`. Names may contain ids, which are not public
    and unlimited in number."""
    return "execution-log" if channel.startswith("execution-") else channel.partition("-")[0]


class ChannelManager(ChannelManagerBase):  # type: ignore[misc]  # the library has no types
    """Disables django-eventstream's own views: only our streams, with their access rules, read channels."""

    def get_channels_for_request(self, request: Any, view_kwargs: dict[str, Any]) -> set[str]:  # noqa: ARG002
        # The library's interface. Our streams take no channel from a request.
        return set()

    def can_read_channel(self, user: Any, channel: str) -> bool:  # noqa: ARG002 - likewise
        return False

    def is_channel_reliable(self, channel: str) -> bool:
        """Whether events are kept in the table, so that a stream can resume."""
        return channel == TASKS
