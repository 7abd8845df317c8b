"""What every operation of the OpenAPI document has in common: how it refuses."""

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
    "description": "Refused: the request is wrong (400), the credentials are (401), the role may not (403), there is "
    "no such row for this caller (404), its state forbids it (409, 412), it is too large (413), or too much (429).",
    "content": {"application/json": {"schema": {"$ref": "#/components/schemas/Error"}}},
}
_AWAY: Final = {
    "description": "The sandbox service, or another part that is needed, does not answer; try again.",
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
    """No body is the empty object: right where no field must be given."""
    schema = body["content"]["application/json"]["schema"]
    if "$ref" in schema:
        schema = document["components"]["schemas"][schema["$ref"].rpartition("/")[2]]
    return not schema.keys() & {"required", "oneOf"}


def _speak_ecma(schema: dict[str, Any]) -> None:
    """The document's patterns are JavaScript's, which has no `\\Z`."""
    if "pattern" in schema:
        schema["pattern"] = schema["pattern"].replace("\\Z", "$")


def _plain_blanks(node: Any) -> Any:
    """A text that may be empty has one shape: drf-spectacular gives it two that both fit the empty one."""
    if isinstance(node, list):
        return [_plain_blanks(value) for value in node]
    if not isinstance(node, dict):
        return node
    shapes = node.get("oneOf", [])
    if {"type": "string", "maxLength": 0} in shapes:
        return {name: value for name, value in {**node, **shapes[0]}.items() if name != "oneOf"}
    return {name: _plain_blanks(value) for name, value in node.items()}
