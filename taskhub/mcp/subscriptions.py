"""MCP subscriptions (`subscriptions/listen`, 2026-07-28): notifications of changes, on a stream.

The SDK's server checks the request and calls `listen`, which admits the stream; the exchange then sends it instead of
the SDK's response. It is a stream like all others: limits, keepalive, closed when its token is revoked or the process
ends, no thread. Notifications come from the hub's feed, filtered by the account's permissions.

A task is notified of whenever it changes, a log when its execution starts and ends; its lines are not (use the streams
of `/api/exec/logs/` and `/sse`). Earlier revisions would notify over a session's own stream, opened by GET; there are
no sessions, so `resources/subscribe` is not offered to them.
"""

from __future__ import annotations

from collections.abc import AsyncGenerator, Iterator
from contextlib import aclosing
from typing import Any, Final

import mcp_types as types
from mcp.shared.subscriptions import (
    SUBSCRIPTION_ID_META_KEY,
    ResourcesListChanged,
    ResourceUpdated,
    ServerEvent,
    event_matches,
    event_to_notification,
)

from taskhub.api.stream_view import running_hub
from taskhub.events.channels import TASKS
from taskhub.events.feed import Feed
from taskhub.events.filters import Filters
from taskhub.events.frames import encode_json, read_envelopes
from taskhub.events.open_streams import registry
from taskhub.events.stream import EventStream
from taskhub.mcp.principal import Requester
from taskhub.mcp.resources import log_uri, task_uri
from taskhub.roles import viewer_of

_TYPES: Final = frozenset(
    {"task_created", "task_updated", "task_ready", "note_added", "task_deleted", "execution_event"}
)
_LISTS: Final = frozenset({"task_created", "task_deleted"})
"""Events after which the result of resources/list changes."""


async def open_listening(
    requester: Requester, request_id: types.RequestId, asked: types.SubscriptionFilter
) -> EventStream:
    """The admitted stream. Raises Unavailable (no room; 429 if it is the caller's limit), DatabaseError."""
    slot = registry.admit(requester.key, requester.credential)
    try:
        feed = await running_hub().feed(TASKS)
    except BaseException:
        slot.release()
        raise
    stream = _Listening(request_id, asked)
    return EventStream(
        stream.frames(feed, Filters(types=_TYPES, viewer=viewer_of(requester.user))),
        slot=slot,
        channel="mcp",
        greeting=stream.acknowledgement(),
        farewell=lambda *_: stream.result(),
    )


class _Listening:
    """Messages of one stream. Each has the id of the request that opened it."""

    def __init__(self, request_id: types.RequestId, asked: types.SubscriptionFilter) -> None:
        self._id = request_id
        self._meta = {SUBSCRIPTION_ID_META_KEY: request_id}
        self._asked = asked
        self._uris = frozenset(asked.resource_subscriptions or ())

    def acknowledgement(self) -> bytes:
        """The first message: the accepted subscriptions."""
        honored = types.SubscriptionFilter(
            tools_list_changed=self._asked.tools_list_changed or None,
            prompts_list_changed=self._asked.prompts_list_changed or None,
            resources_list_changed=self._asked.resources_list_changed or None,
            resource_subscriptions=self._asked.resource_subscriptions or None,
        )
        params = types.SubscriptionsAcknowledgedNotificationParams(notifications=honored, _meta=self._meta)
        return _message(_plain(types.SubscriptionsAcknowledgedNotification(params=params)))

    def result(self) -> bytes:
        """The last message, when the server closes the stream."""
        result = types.SubscriptionsListenResult(_meta=self._meta)
        return _message({"id": self._id, "result": _plain(result)})

    async def frames(self, feed: Feed, filters: Filters) -> AsyncGenerator[bytes, None]:
        async with aclosing(feed.follow(feed.head, filters)) as pieces:
            async for piece in pieces:
                wanted = [event for envelope in read_envelopes(piece) for event in self._told(envelope)]
                # Duplicate notifications in one piece are sent once.
                if body := b"".join(_message(_plain(self._said(event))) for event in dict.fromkeys(wanted)):
                    yield body

    def _said(self, event: ServerEvent) -> types.ServerNotification:
        return event_to_notification(event, dict(self._meta))

    def _told(self, envelope: dict[str, Any]) -> list[ServerEvent]:
        return [event for event in self._events(envelope) if event_matches(self._asked, self._uris, event)]

    def _events(self, envelope: dict[str, Any]) -> Iterator[ServerEvent]:
        name, data = envelope["event"], envelope["data"]
        if name not in _TYPES:
            # Events are missing, so everything may have changed.
            yield ResourcesListChanged()
            yield from map(ResourceUpdated, sorted(self._uris))
        elif name == "execution_event":
            yield ResourceUpdated(log_uri(data["execution_id"]))
        else:
            yield ResourceUpdated(task_uri(data["task_id"]))
            if name in _LISTS:
                yield ResourcesListChanged()


def _plain(message: Any) -> dict[str, Any]:
    plain: dict[str, Any] = message.model_dump(mode="json", by_alias=True, exclude_none=True)
    return plain


def _message(body: dict[str, Any]) -> bytes:
    return encode_json({"jsonrpc": "2.0", **body}, event="message")
