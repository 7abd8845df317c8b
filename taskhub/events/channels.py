"""Channels of events. A client never names one: our own streams decide which they read, and for whom."""

from __future__ import annotations

from typing import Any, Final

from django_eventstream.channelmanager import ChannelManagerBase

TASKS: Final = "tasks"
"""Everything about tasks and executions; kept for `TASKHUB_EVENTS_KEEP`."""


def kind_of(channel: str) -> str:
    """What kind of streams read it, as `tasks`, `execution-log`, `sandbox`, `mcp`: a name may hold ids, which are not
    for everybody, and of which there is no end."""
    return "execution-log" if channel.startswith("execution-") else channel.partition("-")[0]


class ChannelManager(ChannelManagerBase):  # type: ignore[misc]  # the library has no types
    """Closes django-eventstream's own views: only our streams, with their access rules, read channels."""

    def get_channels_for_request(self, request: Any, view_kwargs: dict[str, Any]) -> set[str]:  # noqa: ARG002
        # The library's interface. No stream of ours takes a channel from a request.
        return set()

    def can_read_channel(self, user: Any, channel: str) -> bool:  # noqa: ARG002 - likewise
        return False

    def is_channel_reliable(self, channel: str) -> bool:
        """Whether events are kept in the table, so that a stream can resume."""
        return channel == TASKS
