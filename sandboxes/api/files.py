"""`/api/sandboxes/{sandbox_id}/files`: what is in a sandbox's folders, for operators.

Not for readers: what a script works with (credentials, secret values) is masked in logs, and is not in files.
"""

from __future__ import annotations

from pathlib import PurePosixPath
from typing import Any
from urllib.parse import quote

from django.http import HttpResponse
from drf_spectacular.types import OpenApiTypes
from drf_spectacular.utils import extend_schema
from rest_framework import serializers
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.views import APIView

from sandboxes.selectors.files import file_get, folder_get
from taskhub.api.awaited import awaited
from taskhub.api.fields import TextField
from taskhub.api.query import KnownQuery, QuerySerializer
from taskhub.roles import Role

_LONGEST = 4096


class FolderQuerySerializer(QuerySerializer):
    path = TextField(
        required=False,
        max_length=_LONGEST,
        trim_whitespace=False,
        help_text="A folder; by default where commands begin.",
    )


class FileQuerySerializer(QuerySerializer):
    path = TextField(max_length=_LONGEST, trim_whitespace=False, help_text="A file.")


class SandboxFileSerializer(serializers.Serializer[Any]):
    """`size` is in bytes; `modified` is Daytona's own text."""

    name = serializers.CharField()
    path = serializers.CharField()
    is_dir = serializers.BooleanField()
    size = serializers.IntegerField()
    modified = serializers.CharField(allow_blank=True)


class FolderSerializer(serializers.Serializer[Any]):
    path = serializers.CharField()
    items = SandboxFileSerializer(many=True)


class SandboxFilesView(KnownQuery, APIView):
    roles = {"GET": Role.OPERATOR}
    queries = {"get": FolderQuerySerializer}

    @extend_schema(parameters=[FolderQuerySerializer], responses=FolderSerializer)
    @awaited()
    async def get(self, request: Request, sandbox_id: str) -> Response:
        """The content of a folder of a sandbox that is started; folders come first."""
        folder = await folder_get(sandbox_id=sandbox_id, path=self.read_query(request).get("path", ""))
        return Response({"path": folder.path, "items": folder.items})


class SandboxFileView(KnownQuery, APIView):
    roles = {"GET": Role.OPERATOR}
    queries = {"get": FileQuerySerializer}

    @extend_schema(parameters=[FileQuerySerializer], responses={(200, "application/octet-stream"): OpenApiTypes.BINARY})
    @awaited()
    async def get(self, request: Request, sandbox_id: str) -> HttpResponse:
        """A file of at most 32 MiB, always as a download: what a script wrote is nothing to show in a page of ours."""
        path = self.read_query(request)["path"]
        content = await file_get(sandbox_id=sandbox_id, path=path)
        name = quote(PurePosixPath(path).name or "file", safe="")
        headers = {
            "Content-Disposition": f"attachment; filename*=UTF-8''{name}",
            "Cache-Control": "private, no-store",
        }
        return HttpResponse(content, content_type="application/octet-stream", headers=headers)
