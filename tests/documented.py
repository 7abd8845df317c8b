"""Answers of the API against its OpenAPI document."""

from __future__ import annotations

import re
from functools import cache
from http import HTTPStatus
from typing import Any, Final
from urllib.parse import urlsplit

import jsonschema
from drf_spectacular.generators import SchemaGenerator
from referencing import Registry, Resource
from referencing.jsonschema import DRAFT202012

_PLACE: Final = re.compile(r"\\\{\w+\\\}")
Operation = tuple[str, str]

seen: Final[set[tuple[Operation, int]]] = set()
"""Which operations have answered with which status, and were found right."""


@cache
def document() -> dict[str, Any]:
    made: dict[str, Any] = SchemaGenerator().get_schema(request=None, public=True)
    return made


@cache
def _templates() -> list[tuple[re.Pattern[str], str]]:
    """The fixed addresses first: /api/tasks/claim/ is no task."""
    paths = sorted(document()["paths"], key=lambda path: (path.count("{"), path))
    return [(re.compile(_PLACE.sub("[^/]+", re.escape(path.rstrip("/"))) + r"/?\Z"), path) for path in paths]


def operation_of(method: str, address: str) -> Operation | None:
    path = urlsplit(address).path
    for pattern, template in _templates():
        if pattern.match(path) and method.lower() in document()["paths"][template]:
            return method.lower(), template
    return None


@cache
def _validator(operation: Operation, status: int, media_type: str) -> jsonschema.Draft202012Validator | None:
    """None where the document says that there is no body. Raises KeyError for a status that it does not have."""
    method, template = operation
    responses = document()["paths"][template][method]["responses"]
    response = responses.get(str(status)) or responses[f"{status // 100}XX"]
    if "content" not in response:
        return None
    root = Resource({"components": document()["components"]}, DRAFT202012)
    return jsonschema.Draft202012Validator(
        _absolute(response["content"][media_type]["schema"]),
        registry=Registry().with_resource("urn:document", root),
        format_checker=jsonschema.FormatChecker(),
    )


def _absolute(node: Any) -> Any:
    """References as they are in the document, from outside of it."""
    if isinstance(node, list):
        return [_absolute(value) for value in node]
    if not isinstance(node, dict):
        return node
    return {key: f"urn:document{value}" if key == "$ref" else _absolute(value) for key, value in node.items()}


def check(method: str, address: str, response: Any) -> None:
    """Fails for an answer that the document does not know, or whose body is another."""
    operation = operation_of(method, address)
    media_type = response.headers.get("Content-Type", "").partition(";")[0]
    if operation is None or response.status_code == HTTPStatus.METHOD_NOT_ALLOWED:
        return
    validator = _validator(operation, response.status_code, media_type or "application/json")
    if validator is None:
        assert not response.content
    elif not response.streaming and media_type.endswith("json"):
        validator.validate(response.json())
    seen.add((operation, response.status_code))
