"""Bodies that Daytona is sent, held against its OpenAPI document (`daytona_create_sandbox.json`)."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any, Final

import jsonschema

_DOCUMENT: Final = json.loads((Path(__file__).parent / "daytona_create_sandbox.json").read_text())


def assert_documented(schema: str, body: dict[str, Any]) -> None:
    """The schema has this body, and all of its fields."""
    found = {**_DOCUMENT["components"]["schemas"][schema], **_DOCUMENT, "additionalProperties": False}
    jsonschema.validate(body, found)
