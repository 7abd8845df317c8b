"""Building blocks of the AsyncAPI document, for every app that has streams."""

from __future__ import annotations

from typing import Any, Final

from taskhub.events.stream_parameters import LAST_EVENT_ID, TICKET, Parameter

Document = dict[str, Any]

TEXT: Final = {"type": "string"}
NUMBER: Final = {"type": "integer"}
TIME: Final = {"type": "string", "format": "date-time"}
UUID: Final = {"type": "string", "format": "uuid"}


def record(properties: Document, *, optional: tuple[str, ...] = (), more: bool = False) -> Document:
    """The schema of an object. `more`: it may have other fields, too."""
    required = [name for name in properties if name not in optional]
    return {"type": "object", "required": required, "properties": properties, "additionalProperties": more}


def message(name: str, summary: str, payload: Document) -> Document:
    return {"name": name, "title": name, "contentType": "application/json", "summary": summary, "payload": payload}


def query_binding(parameters: tuple[Parameter, ...], required: tuple[str, ...] = ()) -> Document:
    """How a stream is opened: GET, with these parameters in the query, and those that every stream takes."""
    properties = {
        parameter.name: {**parameter.schema(), "description": parameter.description}
        for parameter in (*parameters, LAST_EVENT_ID, TICKET)
    }
    needed = [parameter.name for parameter in parameters if parameter.required or parameter.name in required]
    schema = {"type": "object", "properties": properties, **({"required": needed} if needed else {})}
    return {"http": {"method": "GET", "query": schema, "bindingVersion": "0.3.0"}}


def stream(
    document: Document,
    name: str,
    *,
    address: str,
    title: str,
    description: str,
    messages: dict[str, Document],
    binding: Document,
    parameters: Document | None = None,
) -> None:
    """Add a stream that clients receive: its channel, its operation and its messages (by their names on the wire)."""
    keys = {key: f"{name}.{key}" for key in messages}
    document["components"]["messages"] |= {keys[key]: found for key, found in messages.items()}
    document["channels"][name] = {
        "address": address,
        "title": title,
        "description": description,
        "servers": [{"$ref": "#/servers/hub"}],
        "messages": {key: {"$ref": f"#/components/messages/{keys[key]}"} for key in messages},
        **({"parameters": parameters} if parameters else {}),
    }
    document["operations"][f"receive{name[0].upper()}{name[1:]}"] = {
        "action": "receive",
        "title": title,
        "channel": {"$ref": f"#/channels/{name}"},
        "messages": [{"$ref": f"#/channels/{name}/messages/{key}"} for key in messages],
        "bindings": binding,
    }
