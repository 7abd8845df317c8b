"""Fields for ids, which are part of the address in REST; a malformed id is a NotFound in both."""

from __future__ import annotations

import re
from typing import Any
from uuid import UUID

from taskhub.api.fields import TextField
from taskhub.api.routes import NAME, UUID_PATTERN
from taskhub.errors import NotFound


class TaskIdField(TextField):
    """A task's id. Raises NotFound if malformed."""

    def to_internal_value(self, data: Any) -> UUID:  # type: ignore[override]  # as the path's places become UUIDs
        text = super().to_internal_value(data)
        if not re.fullmatch(UUID_PATTERN, text):
            raise NotFound("Not a task id; it must be a UUID.")
        return UUID(text)


class SandboxIdField(TextField):
    """A sandbox's id or name. Raises NotFound if malformed."""

    def to_internal_value(self, data: Any) -> str:
        text = super().to_internal_value(data)
        if not re.fullmatch(NAME, text):
            raise NotFound("Not a sandbox id or name.")
        return text
