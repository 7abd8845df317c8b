from __future__ import annotations

from typing import Any

import jsonschema
import pytest

from tests import documented

pytestmark = [pytest.mark.django_db, pytest.mark.sqlite_suffices]
OPERATIONS = [
    (method, path, operation)
    for path, item in documented.document()["paths"].items()
    for method, operation in item.items()
]


def nodes(node: Any) -> Any:
    yield node
    for value in node.values() if isinstance(node, dict) else node if isinstance(node, list) else ():
        yield from nodes(value)


@pytest.mark.parametrize(("method", "path", "operation"), OPERATIONS)
def test_every_operation_is_described(method: str, path: str, operation: dict[str, Any]) -> None:
    assert operation["operationId"]
    assert 5 < len(operation["summary"]) < 120
    assert operation["description"]
    assert "KnownQuery" not in operation["description"]
    assert len(operation["tags"]) == 1
    for parameter in operation.get("parameters", []):
        assert parameter.get("description") or parameter["schema"].get("description"), parameter["name"]
    if "requestBody" in operation and "tickets" not in path:
        assert "example" in operation["requestBody"]["content"]["application/json"] or path == "/api/tasks/"


def test_the_document_uses_the_words_of_31() -> None:
    document = documented.document()
    assert not [node for node in nodes(document) if isinstance(node, dict) and "nullable" in node]
    tags = [tag["name"] for tag in document["tags"]]
    used = [operation["tags"][0] for _, _, operation in OPERATIONS]
    assert set(used) == set(tags)
    assert sorted(used, key=tags.index) == used
    assert document["servers"]
    assert len({operation["operationId"] for _, _, operation in OPERATIONS}) == len(OPERATIONS)


def test_examples_fit_their_schemas() -> None:
    document = documented.document()
    schemas = {name: schema for name, schema in document["components"]["schemas"].items() if "examples" in schema}
    assert len(schemas) > 8
    for schema in schemas.values():
        whole = {**schema, "components": document["components"]}
        for example in schema["examples"]:
            jsonschema.Draft202012Validator(whole).validate(example)


@pytest.mark.parametrize("address", ["/api/events/stream", "/api/exec/logs/{task_id}/stream", "/sse"])
def test_streams_are_in_the_document_and_lead_to_asyncapi(address: str) -> None:
    operation = documented.document()["paths"][address]["get"]
    assert operation["responses"]["200"]["content"].keys() == {"text/event-stream"}
    assert operation["externalDocs"]["url"] == "/api/asyncapi.json"
    names = {parameter["name"] for parameter in operation["parameters"]}
    assert {"lastEventId", "Last-Event-ID"} < names
