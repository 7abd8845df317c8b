"""Query parameters of `/sse`, from spec 000."""

from __future__ import annotations

import re
from typing import Final, NamedTuple

from django.http import QueryDict

from sandboxes.models import Watching
from taskhub.api.routes import NAME
from taskhub.api.stream_view import unknown_parameters
from taskhub.errors import Invalid
from taskhub.executions.log_relay import LogKey

_ID: Final = re.compile(rf"{NAME}\Z")
_PARAMETERS: Final = ("sandboxId", "eventType", "sessionId", "commandId")


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


def read_wanted(query: QueryDict) -> Wanted:
    """Raises Invalid, which names each missing, unknown or malformed parameter."""
    given = {name: query.get(name, "") for name in _PARAMETERS}
    kind = given.pop("eventType") or Watching.STATUS
    wrong = unknown_parameters(query, _PARAMETERS)
    if kind not in Watching.values:
        wrong["eventType"] = [f"Must be one of: {', '.join(Watching.values)}."]
    needed = _PARAMETERS if kind == Watching.LOGS else _PARAMETERS[:1]
    for name, value in given.items():
        if not value and name in needed:
            when = "" if name == "sandboxId" else " with eventType=logs"
            wrong[name] = [f"This parameter is required{when}."]
        elif value and not _ID.match(value):
            wrong[name] = ["Must be an id: at most 200 letters, digits, and _ . -"]
    if wrong:
        raise Invalid("Some parameters are wrong; details names them.", details=wrong)
    return Wanted(Watching(kind), given["sandboxId"], given["sessionId"], given["commandId"])
