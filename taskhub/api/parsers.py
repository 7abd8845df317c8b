"""Request bodies."""

from __future__ import annotations

from collections.abc import Mapping
from io import BytesIO
from typing import IO, Any

from django.conf import settings
from rest_framework.parsers import JSONParser

from taskhub.errors import TooLarge


class LimitedJSONParser(JSONParser):
    """DRF reads a body past Django's limit; this one does not. Raises TooLarge (413)."""

    def parse(
        self, stream: IO[bytes], media_type: str | None = None, parser_context: Mapping[str, Any] | None = None
    ) -> dict[str, Any]:
        limit = settings.DATA_UPLOAD_MAX_MEMORY_SIZE
        body = stream.read(limit + 1)
        if len(body) > limit:
            raise TooLarge(f"A request body may have at most {limit} bytes.", code="body_too_large")
        return super().parse(BytesIO(body), media_type, parser_context)
