"""Query parameters of `/sse`, from spec 000."""

from __future__ import annotations

import re
from typing import Final, NamedTuple

from django.http import QueryDict

from sandboxes.models import Watching
from taskhub.api.routes import NAME
from taskhub.errors import Invalid
from taskhub.executions.log_relay import LogKey

_ID: Final = re.compile(rf"{NAME}\Z")
_PARAMETERS: Final = ("sandboxId", "eventType", "sessionId", "commandId")
_FOR_ALL_STREAMS: Final = frozenset({"lastEventId", "ticket"})


class Wanted(NamedTuple):
    """A requested stream of `/sse`."""

    kind: Watching
    sandbox_id: str
    session_id: str = ""
    command_id: str = ""

    @property
    def log_key(self) -> LogKey:
        return LogKey(self.sandbox_id, self.session_id, self.command_id)


def read_wanted(query: QueryDict) -> Wanted:
    """Raises Invalid, which names each missing, unknown or malformed parameter."""
    given = {name: query.get(name, "") for name in _PARAMETERS}
    kind = given.pop("eventType") or Watching.STATUS
    wrong = {name: ["Unknown parameter."] for name in query if name not in {*_PARAMETERS, *_FOR_ALL_STREAMS}}
    if kind not in Watching.values:
        wrong["eventType"] = [f"Must be one of: {', '.join(Watching.values)}."]
    needed = _PARAMETERS if kind == Watching.LOGS else _PARAMETERS[:1]
    for name, value in given.items():
        if not value and name in needed:
            wrong[name] = [
                "This parameter is required."
                if name == "sandboxId"
                else "This parameter is required with eventType=logs."
            ]
        elif value and not _ID.match(value):
            wrong[name] = ["Must be an id: letters, digits, and _ . -, at most 200."]
    if wrong:
        raise Invalid("Some parameters are wrong; details names them.", details=wrong)
    return Wanted(Watching(kind), given["sandboxId"], given["sessionId"], given["commandId"])
