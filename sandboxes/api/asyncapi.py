"""`/sse` in the AsyncAPI document: a channel for each value of `eventType`."""

from __future__ import annotations

from dataclasses import replace
from typing import Final

from sandboxes.api.sse_params import EVENT_TYPE, SSE
from sandboxes.models import Watching
from taskhub.events.asyncapi import LOG_LINE
from taskhub.events.asyncapi_parts import NUMBER, TEXT, TIME, Document, message, query_binding, record, stream
from taskhub.events.stream_parameters import Parameter

_SANDBOX: Final = {"sandboxId": TEXT}
_COMMAND: Final = {"sandboxId": TEXT, "sessionId": TEXT, "commandId": TEXT}
_SEEN: Final = {"changed": {"type": "boolean"}, "source": TEXT, "timestamp": TIME}


def add_sse(document: Document) -> None:
    """Add the three streams of spec 000."""
    _add(
        document,
        "sandboxStatus",
        Watching.STATUS,
        _SANDBOX,
        {
            "sandbox-status": message(
                "sandbox-status",
                "The sandbox as Daytona shows it, every 5 s and at each change.",
                record({**_SANDBOX, **_SEEN}, more=True),
            )
        },
    )
    _add(
        document,
        "sandboxSessions",
        Watching.SESSIONS,
        _SANDBOX,
        {
            "sessions-update": message(
                "sessions-update",
                "All sessions with their commands, every 10 s and at each change.",
                record({**_SANDBOX, **_SEEN, "sessions": {"type": "array", "items": {"type": "object"}}}, more=True),
            )
        },
    )
    exit_code = {"type": ["integer", "null"]}
    _add(
        document,
        "sandboxLogs",
        Watching.LOGS,
        _COMMAND,
        {
            "log": message("log", "A line.", record({**_COMMAND, **LOG_LINE["properties"]})),
            "log-complete": message(
                "log-complete",
                "The command has ended.",
                record({**_COMMAND, "exit_code": exit_code, "lines": NUMBER, "timestamp": TIME}),
            ),
            "log-error": message("log-error", "The log is lost.", _failure(_COMMAND)),
        },
    )


def _failure(about: Document) -> Document:
    return record({**about, "code": TEXT, "message": TEXT, "timestamp": TIME}, more=True)


def _add(document: Document, name: str, kind: Watching, about: Document, messages: dict[str, Document]) -> None:
    control = {
        "connected": message(
            "connected",
            "The first event.",
            record({**about, "eventType": {"const": kind.value}, "subscriptionId": TEXT, "timestamp": TIME}),
        ),
        "error": message("error", "The sandbox service does not answer; the stream goes on.", _failure(about)),
        "disconnected": message(
            "disconnected", "The last event.", record({**about, "reason": TEXT, "timestamp": TIME}, more=True)
        ),
    }
    stream(
        document,
        name,
        address=SSE.address,
        title=f"/sse with eventType={kind.value}",
        description=f"Named SSE events of a sandbox (spec 000), for eventType={kind.value}.",
        messages={**control, **messages},
        binding=query_binding(_parameters(kind), tuple(about)),
    )


def _parameters(kind: Watching) -> tuple[Parameter, ...]:
    """Those of `/sse` that go with this `eventType`."""
    usual = kind == Watching.STATUS
    chosen = replace(EVENT_TYPE, choices=(kind.value,), default=kind.value if usual else "", required=not usual)
    fitting = (None, (EVENT_TYPE.name, kind.value))
    return tuple(chosen if each is EVENT_TYPE else each for each in SSE.parameters if each.needed_with in fitting)
