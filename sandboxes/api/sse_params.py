"""Parameters of `/sse`, from spec 000: their one definition, and what a request for a stream says."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final, NamedTuple

from sandboxes.models import Watching
from taskhub.events.stream_parameters import Format, Parameter
from taskhub.events.tickets import StreamKind
from taskhub.executions.log_relay import LogKey

_LOGS: Final = ("eventType", Watching.LOGS.value)

EVENT_TYPE: Final = Parameter(
    "eventType",
    "What to stream; `sandbox-status` unless given.",
    Format.CHOICE,
    choices=tuple(Watching.values),
    default=Watching.STATUS.value,
)
SSE: Final = StreamKind(
    "sse",
    "/sse",
    (
        Parameter("sandboxId", "The id or the name of the sandbox.", Format.NAME, required=True),
        EVENT_TYPE,
        Parameter("sessionId", "The session; required for `logs`.", Format.NAME, needed_with=_LOGS),
        Parameter("commandId", "The command; required for `logs`.", Format.NAME, needed_with=_LOGS),
    ),
)
"""From it come the parser below, the tickets, the tool `getSSEConnectionUrl`, OpenAPI and AsyncAPI."""


class Wanted(NamedTuple):
    """A requested stream of `/sse`."""

    kind: Watching
    sandbox_id: str
    session_id: str = ""
    command_id: str = ""

    @property
    def about(self) -> dict[str, str]:
        """What every event of the stream says of where it comes from."""
        if self.kind != Watching.LOGS:
            return {"sandboxId": self.sandbox_id}
        return {"sandboxId": self.sandbox_id, "sessionId": self.session_id, "commandId": self.command_id}

    @property
    def log_key(self) -> LogKey:
        return LogKey(self.sandbox_id, self.session_id, self.command_id)


def read_wanted(query: Mapping[str, str]) -> Wanted:
    """Raises Invalid, whose details name each missing, unknown or malformed parameter."""
    given = SSE.read(query)
    return Wanted(Watching(given["eventType"]), given["sandboxId"], given["sessionId"], given["commandId"])
