"""The streams in the OpenAPI document. What they carry is in the AsyncAPI document, which OpenAPI cannot say."""

from __future__ import annotations

from typing import Any, Final

from taskhub.events.stream_parameters import LAST_EVENT_ID, TICKET, Parameter
from taskhub.events.tickets import EVENTS, EXECUTION_LOG, StreamKind

SECURITY: Final[list[dict[str, list[str]]]] = [{"token": []}, {"cookieAuth": []}, {"ticket": []}]
TICKET_SCHEME: Final = {
    "type": "apiKey",
    "in": "query",
    "name": TICKET.name,
    "description": TICKET.description,
}
_HEADER: Final = {
    "name": "Last-Event-ID",
    "in": "header",
    "description": "Where to resume: the last id that was received. `EventSource` sends it by itself.",
    "schema": {"type": "string"},
}


def _parameter(parameter: Parameter, where: str) -> dict[str, Any]:
    said = {"name": parameter.name, "in": where, "description": parameter.description, "schema": parameter.schema()}
    return {**said, "required": True} if parameter.required else said


def _parameters(kind: StreamKind) -> list[dict[str, Any]]:
    """Those of the path first."""
    inside = [_parameter(parameter, "path") for parameter in kind.parameters if parameter not in kind.in_query]
    asked = [_parameter(parameter, "query") for parameter in (*kind.in_query, LAST_EVENT_ID)]
    return [*inside, *asked, _HEADER]


def stream_path(
    kind: StreamKind, operation_id: str, tag: str, summary: str, description: str, *, ends: bool
) -> dict[str, Any]:
    """A path item. `ends`: a client that comes back after the last event gets 204."""
    opened = {
        "description": "The stream; it stays open. The AsyncAPI document declares its events.",
        "content": {"text/event-stream": {"schema": {"type": "string"}}},
    }
    over = {"204": {"description": "The client has had everything: do not reconnect."}} if ends else {}
    return {
        "get": {
            "operationId": operation_id,
            "tags": [tag],
            "summary": summary,
            "description": description,
            "externalDocs": {"description": "AsyncAPI document", "url": "/api/asyncapi.json"},
            "parameters": _parameters(kind),
            "security": [*SECURITY, {}],
            "responses": {"200": opened, **over},
        }
    }


STREAM_PATHS: Final = {
    EVENTS.address: stream_path(
        EVENTS,
        "events_stream",
        "events",
        "Stream the events of the hub",
        "Server-Sent Events: every event is a `message` whose data is an envelope (`id`, `event`, `data`, "
        "`timestamp`). The first one is `connected`.",
        ends=False,
    ),
    EXECUTION_LOG.address: stream_path(
        EXECUTION_LOG,
        "exec_log_stream",
        "executions",
        "Stream the log of an execution",
        "Server-Sent Events: `connected`, a `log` for each line, `log-complete` with the exit code; `error` and "
        "`log-error` where the log cannot be read. It begins with the first line, or behind `Last-Event-ID`.",
        ends=True,
    ),
}
