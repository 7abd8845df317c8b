"""`/api/sandboxes/{sandbox_id}/build-log`: the log of the build of a sandbox's image, as text."""

from __future__ import annotations

from collections.abc import AsyncGenerator
from contextlib import aclosing
from typing import Any

from django.http import StreamingHttpResponse
from django.http.response import HttpResponseBase
from drf_spectacular.types import OpenApiTypes
from drf_spectacular.utils import OpenApiResponse, extend_schema
from rest_framework.request import Request
from rest_framework.views import APIView

from sandboxes.api.serializers import BuildLogQuerySerializer
from sandboxes.selectors import sandboxes as selectors
from taskhub.api.awaited import awaited
from taskhub.api.query import KnownQuery
from taskhub.roles import Role


class BuildLogView(KnownQuery, APIView):
    queries = {"get": BuildLogQuerySerializer}
    roles = {"GET": Role.OPERATOR}

    def perform_content_negotiation(self, request: Request, force: bool = False) -> Any:  # noqa: ARG002 - DRF's interface
        """There is one form of a log; errors are JSON, whatever was asked for."""
        return super().perform_content_negotiation(request, force=True)

    @extend_schema(
        parameters=[BuildLogQuerySerializer],
        responses={(200, "text/plain"): OpenApiResponse(OpenApiTypes.STR, "The log so far, or as it grows.")},
    )
    @awaited()
    async def get(self, request: Request, sandbox_id: str) -> HttpResponseBase:
        """The log of the build of a sandbox's image, by the sandbox's id or name."""
        chunks = selectors.build_log(sandbox_id=sandbox_id, follow=self.read_query(request)["follow"])
        # Its errors come with the first piece, while they can still be the answer.
        first = await anext(chunks, b"")
        headers = {"Cache-Control": "private, no-store"}
        return StreamingHttpResponse(
            _with_first(first, chunks), headers=headers, content_type="text/plain; charset=utf-8"
        )


async def _with_first(first: bytes, chunks: AsyncGenerator[bytes, None]) -> AsyncGenerator[bytes, None]:
    async with aclosing(chunks):
        yield first
        async for chunk in chunks:
            yield chunk
