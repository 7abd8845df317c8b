"""The streams in the OpenAPI document. What they carry is in the AsyncAPI document, which OpenAPI cannot say."""

from __future__ import annotations

from typing import Any, Final

_UUID: Final = {"type": "string", "format": "uuid"}
SECURITY: Final[list[dict[str, list[str]]]] = [{"token": []}, {"cookieAuth": []}, {"ticket": []}]
TICKET_SCHEME: Final = {
    "type": "apiKey",
    "in": "query",
    "name": "ticket",
    "description": "A signed ticket for one stream, from POST /api/tickets/; for clients that cannot send headers.",
}


def query(
    name: str, description: str, schema: dict[str, Any] | None = None, *, required: bool = False
) -> dict[str, Any]:
    """A query parameter of a stream."""
    found = {"name": name, "in": "query", "description": description, "schema": schema or {"type": "string"}}
    return {**found, "required": True} if required else found


RESUME: Final = (
    query(
        "lastEventId", "Where to resume: the last id that was received, for clients that cannot set `Last-Event-ID`."
    ),
    {
        "name": "Last-Event-ID",
        "in": "header",
        "description": "Where to resume: the last id that was received. `EventSource` sends it by itself.",
        "schema": {"type": "string"},
    },
)


def stream_path(
    operation_id: str, tag: str, summary: str, description: str, parameters: list[dict[str, Any]], *, ends: bool
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
            "parameters": [*parameters, *RESUME],
            "security": [*SECURITY, {}],
            "responses": {"200": opened, **over},
        }
    }


STREAM_PATHS: Final = {
    "/api/events/stream": stream_path(
        "events_stream",
        "events",
        "Stream the events of the hub",
        "Server-Sent Events: every event is a `message` whose data is an envelope (`id`, `event`, `data`, "
        "`timestamp`). The first one is `connected`.",
        [
            query("types", "Event types, separated by commas; all unless given."),
            query("task_id", "Only events of this task.", _UUID),
            query("assignee", "Only events of tasks that are, or were, assigned to this account."),
            query(
                "since", "Begin with the events after this time (ISO 8601).", {"type": "string", "format": "date-time"}
            ),
        ],
        ends=False,
    ),
    "/api/exec/logs/{task_id}/stream": stream_path(
        "exec_log_stream",
        "executions",
        "Stream the log of an execution",
        "Server-Sent Events: `connected`, a `log` for each line, `log-complete` with the exit code; `error` and "
        "`log-error` where the log cannot be read. It begins with the first line, or behind `Last-Event-ID`.",
        [
            {"name": "task_id", "in": "path", "required": True, "description": "The id of the task.", "schema": _UUID},
            query("execution_id", "The execution; the newest one unless given.", _UUID),
        ],
        ends=True,
    ),
}
