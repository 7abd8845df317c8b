"""Error responses of all operations of the OpenAPI document."""

from __future__ import annotations

from typing import Any, Final

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


def describe_errors(result: dict[str, Any], **_: Any) -> dict[str, Any]:
    """drf-spectacular's hook for the finished document."""
    result.setdefault("components", {}).setdefault("schemas", {})["Error"] = ERROR
    result["components"] = _plain_blanks(result["components"])
    for path in result["paths"].values():
        for method in _METHODS & path.keys():
            operation = path[method]
            operation["responses"] |= {"4XX": _REFUSED, "5XX": _AWAY}
            if "requestBody" in operation:
                operation["requestBody"]["required"] = not _may_be_missing(operation["requestBody"], result)
            for parameter in operation.get("parameters", []):
                _speak_ecma(parameter["schema"])
    return result


def _may_be_missing(body: dict[str, Any], document: dict[str, Any]) -> bool:
    """Without a body the object is empty: valid if no field is required."""
    schema = body["content"]["application/json"]["schema"]
    if "$ref" in schema:
        schema = document["components"]["schemas"][schema["$ref"].rpartition("/")[2]]
    return not schema.keys() & {"required", "oneOf"}


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
