"""The parameters of a stream are defined once: its parser, tickets, the MCP tool and both documents agree."""

from __future__ import annotations

from typing import Any

import jsonschema
import pytest
from django.http import QueryDict
from django.test import Client
from rest_framework.test import APIClient

from sandboxes.api.sse_params import SSE
from taskhub.errors import Invalid
from taskhub.events.tickets import EVENTS, EXECUTION_LOG, StreamKind
from taskhub.mcp.tools import TOOLS
from tests import documented

pytestmark = [pytest.mark.django_db, pytest.mark.sqlite_suffices]
TASK = "0f0f0f0f-0f0f-4f0f-8f0f-0f0f0f0f0f0f"
KINDS = [EVENTS, EXECUTION_LOG, SSE]
SENT = [
    {"sandboxId": "box"},
    {"sandboxId": "box", "eventType": "sessions"},
    {"sandboxId": "box", "eventType": "logs", "sessionId": "s", "commandId": "c"},
    {"sandboxId": "box", "eventType": "logs", "sessionId": "s"},
    {"sandboxId": "box", "eventType": "bogus"},
    {"sandboxId": "a b"},
    {"sandboxId": ".."},
    {"sandboxId": "x" * 201},
    {"sandboxId": "box", "sessionId": "a/b"},
    {"sandboxId": "box", "nope": "1"},
    {"eventType": "sessions"},
    {},
]


def refusal(read: Any, params: dict[str, str]) -> dict[str, Any] | None:
    try:
        read(params)
    except Invalid as error:
        return error.details
    return None


@pytest.mark.parametrize("params", SENT, ids=str)
def test_stream_ticket_tool_and_document_take_the_same(api: APIClient, params: dict[str, str]) -> None:
    query = QueryDict(mutable=True)
    query.update(params)
    refused = refusal(SSE.read, query)  # type: ignore[arg-type]
    ticket = api.post("/api/tickets/", {"kind": "sse", "params": params}, format="json")
    assert ticket.status_code == (201 if refused is None else 400)
    in_ticket = {} if refused is None else ticket.json()["error"]["details"]["params"]
    assert in_ticket.keys() == (refused or {}).keys()
    for name in in_ticket.keys() - {"nope"}:  # an unknown name's refusal lists those of a ticket
        assert in_ticket[name] == (refused or {})[name]
    body = documented.document()["paths"]["/api/tickets/"]["post"]["requestBody"]["content"]["application/json"]
    fits = jsonschema.Draft202012Validator(body["schema"]).is_valid({"kind": "sse", "params": params})
    assert fits == (refused is None)


@pytest.mark.parametrize("kind", KINDS, ids=lambda kind: kind.name)
def test_the_openapi_document_has_the_definition(kind: StreamKind) -> None:
    listed = documented.document()["paths"][kind.address]["get"]["parameters"]
    found = {entry["name"]: entry for entry in listed if entry["name"] not in {"lastEventId", "Last-Event-ID"}}
    assert list(found) == [parameter.name for parameter in kind.parameters]
    for parameter in kind.parameters:
        entry = found[parameter.name]
        assert (entry["schema"], entry["description"]) == (parameter.schema(), parameter.description)
        assert entry.get("required", False) is parameter.required


def test_the_asyncapi_document_has_the_definition() -> None:
    operations = Client().get("/api/asyncapi.json").json()["operations"]
    for name, kind in {
        "receiveEvents": EVENTS,
        "receiveExecutionLog": EXECUTION_LOG,
        "receiveSandboxLogs": SSE,
    }.items():
        query = operations[name]["bindings"]["http"]["query"]
        names = [parameter.name for parameter in kind.in_query]
        assert list(query["properties"]) == [*names, "lastEventId", "ticket"]
        for parameter in kind.in_query:
            said = query["properties"][parameter.name]
            assert said["description"] == parameter.description
            if parameter.name != "eventType":
                assert said == {**parameter.schema(), "description": parameter.description}
    logs = operations["receiveSandboxLogs"]["bindings"]["http"]["query"]
    assert logs["properties"]["eventType"]["enum"] == ["logs"]
    assert logs["required"] == ["sandboxId", "eventType", "sessionId", "commandId"]
    status = operations["receiveSandboxStatus"]["bindings"]["http"]["query"]
    assert status["required"] == ["sandboxId"]
    assert "sessionId" not in status["properties"]


def test_the_tool_has_the_definition() -> None:
    schema = TOOLS["getSSEConnectionUrl"].input_schema
    assert list(schema["properties"]) == list(SSE.names)
    event_type = next(parameter for parameter in SSE.parameters if parameter.name == "eventType")
    told = event_type.schema()
    default = told.pop("default")
    assert schema["properties"]["eventType"] == {"anyOf": [told, {"type": "null"}], "default": default}
    assert schema["required"] == [parameter.name for parameter in SSE.parameters if parameter.required]


@pytest.mark.parametrize("kind", KINDS, ids=lambda kind: kind.name)
def test_every_stream_takes_ticket_position_and_a_number_against_caches(kind: StreamKind) -> None:
    required = {parameter.name: TASK for parameter in kind.in_query if parameter.required}
    assert kind.read({**required, "ticket": "t", "lastEventId": "x", "_": "1"}).items() >= required.items()
    assert refusal(kind.read, {**required, "__": "1"}) is not None
