"""`/api/exec/logs/{task_id}/raw`: the whole log as text, with byte ranges (RFC 9110, section 14)."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Final, NamedTuple
from uuid import UUID

from django.http import HttpResponse, StreamingHttpResponse
from django.http.response import HttpResponseBase
from drf_spectacular.types import OpenApiTypes
from drf_spectacular.utils import OpenApiParameter, OpenApiResponse, extend_schema
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.views import APIView

from taskhub.api.awaited import awaited
from taskhub.api.negotiation import OneForm
from taskhub.api.query import KnownQuery
from taskhub.api.serializers import ExecutionQuerySerializer
from taskhub.errors import RangeRefused
from taskhub.executions.log_reading import archived_size, archived_text, running_size, running_text
from taskhub.models import Execution
from taskhub.selectors.executions import execution_get_for

_TEXT: Final = "text/plain; charset=utf-8"
_RANGE: Final = re.compile(r"bytes=\s*(\d{0,18})\s*-\s*(\d{0,18})\s*\Z", re.ASCII | re.IGNORECASE)
_RANGE_PARAMETER: Final = OpenApiParameter(
    "Range",
    {"type": "string", "examples": ["bytes=0-65535", "bytes=-4096"]},
    OpenApiParameter.HEADER,
    description="One range of bytes: `bytes=0-99`, `bytes=100-`, or the last ones, `bytes=-100`. Other ranges are "
    "ignored, and the whole log is the answer.",
)


class Part(NamedTuple):
    """Bytes from `start` to before `end`."""

    start: int
    end: int


class RawLogView(OneForm, KnownQuery, APIView):
    queries = {"get": ExecutionQuerySerializer}

    @extend_schema(
        parameters=[ExecutionQuerySerializer, _RANGE_PARAMETER],
        responses={
            (200, "text/plain"): OpenApiResponse(OpenApiTypes.STR, "The whole log."),
            (206, "text/plain"): OpenApiResponse(OpenApiTypes.STR, "The part that was asked for."),
        },
    )
    def get(self, request: Request, task_id: UUID) -> HttpResponseBase:
        """The whole log as text, each line with LF; of a running execution, the whole lines that there are.

        Line `n` of the text is line `n` of the log. A running log is continued by a range that begins where the last
        answer ended; 416 says that there is nothing new.
        """
        execution = execution_get_for(user=request.user, task_id=task_id, **self.read_query(request))
        if execution.is_active:
            return self._running(request, execution)
        return _part_of(request, execution, archived_size(execution))

    @awaited()
    async def _running(self, request: Request, execution: Execution) -> HttpResponseBase:
        return _part_of(request, execution, await running_size(execution))


def _part_of(request: Request, execution: Execution, size: int) -> HttpResponseBase:
    headers = _headers(execution, size)
    try:
        part = read_range(request.headers, size, etag=headers.get("ETag", ""))
    except RangeRefused as error:
        return Response(error.body(), status=error.status, headers={"Content-Range": f"bytes */{size}"})
    if part is not None:
        headers["Content-Range"] = f"bytes {part.start}-{part.end - 1}/{size}"
    start, end = part or Part(0, size)
    headers["Content-Length"] = str(end - start)
    status = 206 if part is not None else 200
    if request.method == "HEAD":
        return HttpResponse(status=status, headers=headers, content_type=_TEXT)
    source = running_text if execution.is_active else archived_text
    return StreamingHttpResponse(source(execution, start, end), status=status, headers=headers, content_type=_TEXT)


def _headers(execution: Execution, size: int) -> dict[str, str]:
    headers = {
        "Accept-Ranges": "bytes",
        "Cache-Control": "private, no-store",
        "Content-Disposition": f'inline; filename="task-{execution.pk}.log"',
    }
    if not execution.is_active:
        headers["ETag"] = f'"{execution.pk}-{size}"'
    return headers


def read_range(headers: Mapping[str, str], size: int, *, etag: str) -> Part | None:
    """The part of `size` bytes that is asked for; None for the whole: no range, several, or one of another text.

    Raises RangeRefused where the range has no byte of it.
    """
    found = _RANGE.match(headers.get("Range", ""))
    if found is None or not (found[1] or found[2]) or headers.get("If-Range", etag) != etag:
        return None
    if not found[1]:
        part = Part(max(0, size - int(found[2])), size)
    else:
        part = Part(int(found[1]), min(size, int(found[2]) + 1) if found[2] else size)
        if found[2] and int(found[2]) < int(found[1]):
            return None  # no range at all
    if part.start >= part.end:
        raise RangeRefused(f"The log has {size} bytes; the range has none of them.")
    return part
