from __future__ import annotations

from typing import Any

import jsonschema
import pytest
from django.test import Client

from taskhub.events.types import CONTROL_TYPES, EVENT_TYPES


def refs(node: Any) -> list[str]:
    if isinstance(node, dict):
        return [value for key, value in node.items() if key == "$ref"] + [ref for v in node.values() for ref in refs(v)]
    return [ref for value in node for ref in refs(value)] if isinstance(node, list) else []


def test_the_document_declares_every_stream_and_every_reference_leads_somewhere() -> None:
    document = Client().get("/api/asyncapi.json").json()
    assert document["asyncapi"] == "3.0.0"
    channels = document["channels"]
    assert set(channels) == {
        "events",
        "executionLog",
        "sandboxStatus",
        "sandboxSessions",
        "sandboxLogs",
        "webhooks",
    }
    assert set(channels["events"]["messages"]) == {*EVENT_TYPES, *CONTROL_TYPES}
    assert set(channels["webhooks"]["messages"]) == set(EVENT_TYPES)
    assert {"log", "log-complete", "log-error", "connected", "disconnected"} < set(channels["sandboxLogs"]["messages"])
    for message in document["components"]["messages"].values():
        jsonschema.Draft202012Validator.check_schema(message["payload"])
        assert not refs(message["payload"])
    for name in EVENT_TYPES:
        payload = document["components"]["messages"][f"events.{name}"]["payload"]
        assert payload["properties"]["data"]["additionalProperties"] is False
    for ref in refs(document):
        node: Any = document
        for part in ref.removeprefix("#/").split("/"):
            node = node[part]


@pytest.mark.parametrize(("secure", "protocol"), [(False, "http"), (True, "https")])
def test_the_protocol_is_that_of_the_request(secure: bool, protocol: str) -> None:
    server = Client().get("/api/asyncapi.json", secure=secure).json()["servers"]["hub"]
    assert server["protocol"] == protocol
    assert server["security"] == [
        {"$ref": f"#/components/securitySchemes/{name}"} for name in ("token", "ticket", "session")
    ]


def test_an_undeclared_field_or_event_does_not_pass() -> None:
    with pytest.raises(ValueError, match="extra"):
        EVENT_TYPES["task_deleted"](task_id="0f0f0f0f-0f0f-4f0f-8f0f-0f0f0f0f0f0f", assignee="", colour="red")
