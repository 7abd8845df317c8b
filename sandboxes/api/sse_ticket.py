"""Tickets for `/sse`: a URL that opens one stream of a sandbox (`taskhub/events/tickets.py` has the rules)."""

from __future__ import annotations

from typing import Final

from sandboxes.models import Watching
from taskhub.events.tickets import StreamKind

SSE: Final = StreamKind(
    "sse",
    "/sse",
    ("sandboxId", "eventType", "sessionId", "commandId"),
    required=("sandboxId",),
    defaults={"eventType": Watching.STATUS.value},
    choices={"eventType": tuple(Watching.values)},
    needed_with={Watching.LOGS.value: ("sessionId", "commandId")},
)
