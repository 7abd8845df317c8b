"""`wait_s` of tools: REST's long polling, for a client that may go away meanwhile."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from rest_framework import serializers

from taskhub.api.fields import StrictSerializer
from taskhub.api.waiting import (
    LONGEST_S,
    TOGETHER_S,
    Changed,
    Look,
    Seen,
    feed_signals,
    seen_data,
    waiting,
)
from taskhub.events.filters import Filters
from taskhub.mcp.principal import Requester
from taskhub.web.thread_pool import with_database


class WaitSerializer(StrictSerializer):
    wait_s = serializers.IntegerField(required=False, min_value=0, max_value=LONGEST_S)


def ended(seen: Seen, timed_out: bool) -> Seen:
    """What is answered after a wait."""
    return replace(seen, data=seen_data(seen, timed_out=timed_out))


async def when_changed(
    requester: Requester,
    look: Look,
    *,
    changed: Changed,
    events: Filters,
    wait_s: int,
    together_s: float = TOGETHER_S,
) -> Seen:
    """What `look` sees: at once without `wait_s`, else when `changed(first mark, present mark)`, or at the limit.

    Raises what `look` raises, Unavailable, TooManyStreams, and ClientGone.
    """
    if not wait_s:
        return await with_database(look, requester.user)
    signals = feed_signals(events, together_s)
    async with waiting(requester.waiter, wait_s, signals, gone=requester.gone) as wait:
        first: Any = await with_database(look, requester.user)
        if changed(first.mark, first.mark):
            return ended(first, timed_out=False)
        return ended(*await wait.until(look, lambda mark: changed(first.mark, mark)))
