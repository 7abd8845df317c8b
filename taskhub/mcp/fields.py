"""What stands in an address over REST and is an argument here; a malformed one is at both doors not there."""

from __future__ import annotations

import re
from typing import Any
from uuid import UUID

from taskhub.api.fields import TextField
from taskhub.api.routes import NAME, UUID_PATTERN
from taskhub.errors import NotFound


class TaskIdField(TextField):
    """A task's id. Raises NotFound for what is none."""

    def to_internal_value(self, data: Any) -> UUID:  # type: ignore[override]  # as the path's places become UUIDs
        text = super().to_internal_value(data)
        if not re.fullmatch(UUID_PATTERN, text):
            raise NotFound("That is not a task's id.")
        return UUID(text)


class SandboxIdField(TextField):
    """A sandbox's id or name. Raises NotFound for what can be neither."""

    def to_internal_value(self, data: Any) -> str:
        text = super().to_internal_value(data)
        if not re.fullmatch(NAME, text):
            raise NotFound("That is not a sandbox's id.")
        return text
