"""The AsyncAPI 3 document of the event stream, made from the declared types (`types.py`)."""

from __future__ import annotations

from typing import Any

from taskhub import __version__
from taskhub.events.types import CONTROL_TYPES, EVENT_TYPES, EventData


def build(host: str) -> dict[str, Any]:
    """The document for a hub that answers at `host`."""
    declared = {**CONTROL_TYPES, **EVENT_TYPES}
    return {
        "asyncapi": "3.0.0",
        "info": {
            "title": "TaskHub events",
            "version": __version__,
            "description": "Server-Sent Events: every message is a `message` event whose data is the envelope.",
        },
        "servers": {"hub": {"host": host, "protocol": "http", "protocolVersion": "1.1"}},
        "channels": {
            "events": {
                "address": "/api/events/stream",
                "messages": {name: {"$ref": f"#/components/messages/{name}"} for name in declared},
                "bindings": {"http": {"bindingVersion": "0.3.0"}},
            }
        },
        "operations": {
            "receiveEvents": {
                "action": "receive",
                "channel": {"$ref": "#/channels/events"},
                "messages": [{"$ref": f"#/channels/events/messages/{name}"} for name in declared],
            }
        },
        "components": {"messages": {name: _message(name, data) for name, data in declared.items()}},
    }


def _message(name: str, data: type[EventData]) -> dict[str, Any]:
    summary = (data.__doc__ or name).strip().splitlines()[0]
    return {"name": name, "contentType": "application/json", "summary": summary, "payload": envelope_schema(name, data)}


def envelope_schema(name: str, data: type[EventData]) -> dict[str, Any]:
    """The JSON Schema (2020-12) of the event's envelope. What is optional in the data is left out where unknown."""
    schema = data.model_json_schema(mode="validation")
    definitions = schema.pop("$defs", {})
    return {
        "type": "object",
        "required": ["id", "event", "data", "timestamp"],
        "additionalProperties": False,
        "properties": {
            "id": {"type": "string", "format": "uuid"},
            "event": {"const": name},
            "data": schema,
            "timestamp": {"type": "string", "format": "date-time"},
        },
        **({"$defs": definitions} if definitions else {}),
    }
