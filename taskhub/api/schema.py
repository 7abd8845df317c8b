"""Post-processing of the OpenAPI document: errors, summaries, tags, servers, examples, streams, lists of tasks."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any, Final

from taskhub.api.schema_streams import STREAM_PATHS, TICKET_SCHEME

ERROR: Final = {
    "type": "object",
    "description": "Every error of the service. `code` is for programs, `message` for people.",
    "required": ["error"],
    "properties": {
        "error": {
            "type": "object",
            "required": ["code", "message"],
            "properties": {
                "code": {"type": "string"},
                "message": {"type": "string"},
                "details": {"type": "object", "additionalProperties": True},
            },
            "additionalProperties": False,
        }
    },
    "additionalProperties": False,
    "examples": [
        {
            "error": {
                "code": "invalid",
                "message": "Some fields are wrong; details names them.",
                "details": {"status": ["Must be one of: todo, inprogress, review, done."]},
            }
        }
    ],
}
_METHODS: Final = frozenset({"get", "post", "put", "patch", "delete"})
_REFUSED: Final = {
    "description": "Refused: invalid request (400) or credentials (401), missing role (403), unknown or hidden "
    "row (404), conflicting state (409, 412), too large (413), too many requests (429).",
    "content": {"application/json": {"schema": {"$ref": "#/components/schemas/Error"}}},
}
_AWAY: Final = {
    "description": "The sandbox service, or another required part, does not answer; try again.",
    "content": {"application/json": {"schema": {"$ref": "#/components/schemas/Error"}}},
}
_TAG_OF: Final = {"exec": "executions"}
"""Where an address's first word is not the tag's name."""
_OPEN: Final = frozenset({"Sandbox"})
"""Answers that are another service's own documents: which fields they have is not ours to say."""
_WAITED_FOR: Final = frozenset({"Task", "TaskDetail", "Execution", "ExecutionWithScript", "PaginatedExecutionList"})
_TIMED_OUT: Final = {"type": "boolean", "description": "With `wait_s` alone: whether nothing changed until the limit."}
_OPTIONAL: Final = {
    "LogLine": {"partial"},
    "RenderedNote": {"text_html"},
    "RenderedTask": {"description_html", "script"},
}
"""Fields that an answer leaves out where they say nothing."""
_SENTENCE: Final = re.compile(r"(.+?)(?:[.;:] |[.;:]?\Z)", re.DOTALL)


def finish_document(result: dict[str, Any], request: Any = None, **_: Any) -> dict[str, Any]:
    """drf-spectacular's hook for the finished document. `request` is who asks for it; None on the command line."""
    schemas = result.setdefault("components", {}).setdefault("schemas", {})
    schemas["Error"] = ERROR
    result["components"].setdefault("securitySchemes", {})["ticket"] = TICKET_SCHEME
    result["components"] = _plain_blanks(result["components"])
    for name, schema in result["components"]["schemas"].items():
        _require_all(name, schema)
    for name in _WAITED_FOR & result["components"]["schemas"].keys():
        result["components"]["schemas"][name]["properties"]["timed_out"] = _TIMED_OUT
    result["paths"] = {path.replace("//", "/"): item for path, item in result["paths"].items()} | STREAM_PATHS
    result["servers"] = [
        {"url": request.build_absolute_uri("/").rstrip("/") if request else "/", "description": "This hub"}
    ]
    for operation in _operations(result):
        _finish_operation(operation, result)
    _take_lists_of_tasks(result["paths"]["/api/tasks/"]["post"])
    order = [tag["name"] for tag in result.get("tags", [])]
    result["paths"] = dict(sorted(result["paths"].items(), key=lambda item: _place(item[1], order)))
    return result


def _operations(result: dict[str, Any]) -> Iterator[dict[str, Any]]:
    for item in result["paths"].values():
        yield from (item[method] for method in sorted(_METHODS & item.keys()))


def _finish_operation(operation: dict[str, Any], document: dict[str, Any]) -> None:
    operation["tags"] = [_TAG_OF.get(tag, tag) for tag in operation.get("tags") or ["api"]]
    operation["summary"] = operation.get("summary") or _first_sentence(operation.get("description", ""))
    operation["responses"] |= {"4XX": _REFUSED, "5XX": _AWAY}
    for status, response in operation["responses"].items():
        response["description"] = response.get("description") or _MEANINGS.get(status, "Done.")
    if "requestBody" in operation:
        body = operation["requestBody"]
        body["required"] = not _may_be_missing(body, document)
        _show_example(body["content"]["application/json"], document)
    for parameter in operation.get("parameters", []):
        _speak_ecma(parameter["schema"])
        parameter["description"] = parameter.get("description") or _PLACES.get(parameter["name"], "")
        if not parameter["description"]:
            del parameter["description"]


_MEANINGS: Final = {
    "200": "The answer.",
    "201": "It was made.",
    "202": "It was taken on; its end comes later.",
    "204": "Done; there is no body.",
}
_PLACES: Final = {
    **{name: f"The id of the {name.removesuffix('_id')}." for name in ("task_id", "artifact_id", "announcement_id")},
    **{name: f"The id of the {name.removesuffix('_id')}." for name in ("token_id", "subscription_id", "delivery_id")},
    **{name: f"The id of the {name.removesuffix('_id')}." for name in ("session_id", "command_id", "execution_id")},
    "webhook_id": "The id of the webhook endpoint.",
    "agent_id": "The id of the agent.",
    "sandbox_id": "The id or the name of the sandbox.",
    "environment": "The name of the environment.",
    "secret": "The name of the entry in the vault.",
    "account": "The name of the account.",
    "limit": "Rows in a page.",
    "cursor": "The position of a page, from the answer before.",
}


def _first_sentence(description: str) -> str:
    found = _SENTENCE.match(" ".join(description.split()))
    return found[1] if found else ""


def _place(item: dict[str, Any], order: list[str]) -> int:
    tags = next(item[method]["tags"] for method in _METHODS if method in item)
    return order.index(tags[0]) if tags[0] in order else len(order)


def _require_all(name: str, schema: dict[str, Any]) -> None:
    """An answer has all of its fields; what is sent need not."""
    if name.endswith("Request") or name in _OPEN or schema.get("type") != "object" or "properties" not in schema:
        return
    if name != "Error":
        schema["required"] = sorted(schema["properties"].keys() - _OPTIONAL.get(name, set()))


def _show_example(content: dict[str, Any], document: dict[str, Any]) -> None:
    examples = _resolved(content["schema"], document).get("examples")
    if examples:
        content["example"] = examples[0]


def _resolved(schema: dict[str, Any], document: dict[str, Any]) -> dict[str, Any]:
    if "$ref" not in schema:
        return schema
    found: dict[str, Any] = document["components"]["schemas"][schema["$ref"].rpartition("/")[2]]
    return found


def _may_be_missing(body: dict[str, Any], document: dict[str, Any]) -> bool:
    """No body is the empty object: right where no field must be given."""
    return not _resolved(body["content"]["application/json"]["schema"], document).keys() & {"required", "oneOf"}


def _take_lists_of_tasks(operation: dict[str, Any]) -> None:
    """`POST /api/tasks/` takes a task or a list, and answers likewise."""
    for content, limits in (
        (operation["requestBody"]["content"]["application/json"], {"minItems": 1, "maxItems": 100}),
        (operation["responses"]["201"]["content"]["application/json"], {}),
    ):
        one = content["schema"]
        content["schema"] = {"oneOf": [one, {"type": "array", "items": one, **limits}]}


def _speak_ecma(schema: dict[str, Any]) -> None:
    """The document's patterns are JavaScript's, which has no `\\Z`."""
    if "pattern" in schema:
        schema["pattern"] = schema["pattern"].replace("\\Z", "$")


def _plain_blanks(node: Any) -> Any:
    """A text that may be empty gets one schema: drf-spectacular's two would both match the empty one."""
    if isinstance(node, list):
        return [_plain_blanks(value) for value in node]
    if not isinstance(node, dict):
        return node
    shapes = node.get("oneOf", [])
    if {"type": "string", "maxLength": 0} in shapes:
        return {name: value for name, value in {**node, **shapes[0]}.items() if name != "oneOf"}
    return {name: _plain_blanks(value) for name, value in node.items()}
