"""The AsyncAPI 3 document: every stream and the webhooks, made from the declared types (`types.py`)."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final

from taskhub import __version__
from taskhub.events.asyncapi_parts import NUMBER, TEXT, TIME, UUID, Document, message, query_binding, record, stream
from taskhub.events.stream_parameters import TICKET
from taskhub.events.tickets import EVENTS, EXECUTION_LOG
from taskhub.events.types import CONTROL_TYPES, EVENT_TYPES, EventData
from taskhub.lib.extensions import ExtensionPoint

_PARTS: Final[ExtensionPoint[Callable[[Document], None]]] = ExtensionPoint("asyncapi_parts", repr)
"""Streams of other apps: each adds its own to the document."""
_REASON: Final = record({"code": TEXT, "message": TEXT, "timestamp": TIME})


def build(host: str, *, secure: bool) -> Document:
    """The document for a hub that answers at `host`; `secure`: over TLS."""
    document: Document = {
        "asyncapi": "3.0.0",
        "info": {
            "title": "TaskHub events",
            "version": __version__,
            "description": "Server-Sent Events of the hub, and the webhooks it sends. REST is in the OpenAPI document, "
            "/api/schema/.",
            "license": {"name": "MIT"},
        },
        "defaultContentType": "application/json",
        "servers": {
            "hub": {
                "host": host,
                "protocol": "https" if secure else "http",
                "description": "This hub. Streams are HTTP responses of the type text/event-stream.",
                "security": [{"$ref": f"#/components/securitySchemes/{name}"} for name in _SECURITY],
            },
            "receiver": {
                "host": "{receiver}",
                "protocol": "https",
                "description": "Where a webhook endpoint of yours listens.",
                "variables": {"receiver": {"default": "example.com", "description": "The host of the endpoint's URL."}},
            },
        },
        "channels": {},
        "operations": {},
        "components": {"messages": {}, "securitySchemes": dict(_SECURITY)},
    }
    _add_events(document)
    _add_execution_log(document)
    _add_webhooks(document)
    for add in _PARTS.values():
        add(document)
    return document


_SECURITY: Final[dict[str, Document]] = {
    "token": {"type": "http", "scheme": "bearer", "description": "An API token: Authorization: Bearer <token>."},
    "ticket": {
        "type": "httpApiKey",
        "in": "query",
        "name": TICKET.name,
        "description": TICKET.description,
    },
    "session": {"type": "httpApiKey", "in": "cookie", "name": "sessionid", "description": "A browser that logged in."},
}


def _add_events(document: Document) -> None:
    stream(
        document,
        "events",
        address=EVENTS.address,
        title="Events of the hub",
        description="Every event is an SSE `message` whose data is the envelope. The first one is `connected`.",
        messages={name: _message(name, data) for name, data in {**CONTROL_TYPES, **EVENT_TYPES}.items()},
        binding=query_binding(EVENTS.in_query),
    )


def _add_execution_log(document: Document) -> None:
    stream(
        document,
        "executionLog",
        address=EXECUTION_LOG.address,
        title="Log of an execution",
        description="Named SSE events: `connected`, a `log` for each line, `log-complete` as the last one. A line that "
        "is longer than 64 KiB comes in parts.",
        messages={
            "connected": message(
                "connected", "The first event.", record({"execution_id": UUID, "status": TEXT, "timestamp": TIME})
            ),
            "log": message("log", "A line.", LOG_LINE),
            "log-complete": message(
                "log-complete",
                "The log has ended; a client that reconnects gets 204.",
                record(
                    {
                        "exit_code": {"type": ["integer", "null"]},
                        "lines": NUMBER,
                        "status": TEXT,
                        "truncated": {"type": "boolean"},
                        "timestamp": TIME,
                    }
                ),
            ),
            "log-error": message("log-error", "The log is lost.", _REASON),
            "error": message(
                "error",
                "The sandbox service does not answer; the stream goes on.",
                record({"code": TEXT, "message": TEXT, "retry_in_ms": NUMBER, "timestamp": TIME}),
            ),
            "disconnected": message(
                "disconnected",
                "The hub closes the stream; reconnect with the last id.",
                record({"reason": TEXT, "reconnect_in_ms": NUMBER, "timestamp": TIME}),
            ),
        },
        binding=query_binding(EXECUTION_LOG.in_query),
        parameters={
            parameter.name: {"description": parameter.description}
            for parameter in EXECUTION_LOG.parameters
            if parameter not in EXECUTION_LOG.in_query
        },
    )


LOG_LINE: Final = record({"stream": {"enum": ["stdout", "stderr"]}, "line": TEXT, "n": NUMBER, "timestamp": TIME})


def _add_webhooks(document: Document) -> None:
    headers = {
        "type": "object",
        "required": ["webhook-id", "webhook-timestamp", "webhook-signature"],
        "properties": {
            "webhook-id": {**UUID, "description": "The same for each attempt: what was received already is a repeat."},
            "webhook-timestamp": {**TEXT, "description": "Seconds since 1970."},
            "webhook-signature": {**TEXT, "description": "`v1,<base64>` of HMAC-SHA256 (Standard Webhooks)."},
        },
    }
    kept = {name: f"webhooks.{name}" for name in EVENT_TYPES}
    document["components"]["messages"] |= {
        key: {**_message(name, EVENT_TYPES[name]), "headers": headers} for name, key in kept.items()
    }
    document["channels"]["webhooks"] = {
        "address": None,
        "title": "Webhooks",
        "description": "The hub sends each event by POST to the URL of every endpoint of /api/webhooks/ that wants it.",
        "servers": [{"$ref": "#/servers/receiver"}],
        "messages": {name: {"$ref": f"#/components/messages/{key}"} for name, key in kept.items()},
    }
    document["operations"]["sendWebhooks"] = {
        "action": "send",
        "title": "Webhooks",
        "channel": {"$ref": "#/channels/webhooks"},
        "messages": [{"$ref": f"#/channels/webhooks/messages/{name}"} for name in kept],
        "bindings": {"http": {"method": "POST", "bindingVersion": "0.3.0"}},
    }


def _message(name: str, data: type[EventData]) -> Document:
    summary = (data.__doc__ or name).strip().splitlines()[0]
    return message(name, summary, envelope_schema(name, data))


def envelope_schema(name: str, data: type[EventData]) -> Document:
    """The JSON Schema (2020-12) of the event's envelope. What is optional in the data is left out where unknown."""
    schema = data.model_json_schema(mode="validation")
    definitions = schema.pop("$defs", {})
    return record(
        {"id": UUID, "event": {"const": name}, "data": _inlined(schema, definitions), "timestamp": TIME},
    )


def _inlined(node: Any, definitions: Document) -> Any:
    """Without references: in a larger document they would lead nowhere."""
    if isinstance(node, list):
        return [_inlined(value, definitions) for value in node]
    if not isinstance(node, dict):
        return node
    if "$ref" in node:
        found = definitions[node["$ref"].rpartition("/")[2]]
        return _inlined({**found, **{key: value for key, value in node.items() if key != "$ref"}}, definitions)
    return {key: _inlined(value, definitions) for key, value in node.items()}
