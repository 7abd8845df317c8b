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


def test_the_document_declares_every_event_and_every_reference_leads_somewhere() -> None:
    document = Client().get("/api/asyncapi.json").json()
    assert document["asyncapi"] == "3.0.0"
    messages = document["components"]["messages"]
    assert set(messages) == {*EVENT_TYPES, *CONTROL_TYPES}
    for message in messages.values():
        jsonschema.Draft202012Validator.check_schema(message["payload"])
        assert message["payload"]["properties"]["data"]["additionalProperties"] is False
    for ref in refs({name: document[name] for name in ("channels", "operations")}):
        node: Any = document
        for part in ref.removeprefix("#/").split("/"):
            node = node[part]


def test_an_undeclared_field_or_event_does_not_pass() -> None:
    with pytest.raises(ValueError, match="extra"):
        EVENT_TYPES["task_deleted"](task_id="0f0f0f0f-0f0f-4f0f-8f0f-0f0f0f0f0f0f", assignee="", colour="red")
