"""`/api/exec/artifacts/`: the files that a script left, to list and to download."""

from __future__ import annotations

from pathlib import PurePosixPath
from typing import Any
from uuid import UUID

from django.core.files.storage import default_storage
from django.http import FileResponse
from drf_spectacular.types import OpenApiTypes
from drf_spectacular.utils import extend_schema
from rest_framework import serializers
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.views import APIView

from taskhub.api.query import KnownQuery
from taskhub.api.serializers import ExecutionQuerySerializer
from taskhub.errors import NotFound
from taskhub.models import Artifact
from taskhub.selectors.artifacts import artifact_get_for
from taskhub.selectors.executions import execution_get_for


class ArtifactSerializer(serializers.ModelSerializer[Artifact]):
    """`path` is relative to the script's working folder, `size` is in bytes; `url` downloads it."""

    url = serializers.SerializerMethodField()

    class Meta:
        model = Artifact
        fields = ["id", "path", "size", "kept_at", "url"]

    def get_url(self, artifact: Artifact) -> str:
        return f"/api/exec/artifacts/{artifact.execution.task_id}/{artifact.pk}"


class ArtifactsSerializer(serializers.Serializer[Any]):
    """`left_out` counts the files that were not kept: too large, too many, or not to be read."""

    execution_id = serializers.UUIDField(source="id")
    items = ArtifactSerializer(many=True, source="artifacts.all")
    left_out = serializers.IntegerField(source="artifacts_left_out")


class ArtifactsView(KnownQuery, APIView):
    queries = {"get": ExecutionQuerySerializer}

    @extend_schema(
        operation_id="exec_artifacts_list", parameters=[ExecutionQuerySerializer], responses=ArtifactsSerializer
    )
    def get(self, request: Request, task_id: UUID) -> Response:
        """The files that an execution of the task left: of the newest one, unless `execution_id` names another."""
        execution = execution_get_for(user=request.user, task_id=task_id, **self.read_query(request))
        return Response(ArtifactsSerializer(execution).data)


class ArtifactView(KnownQuery, APIView):
    @extend_schema(responses={(200, "application/octet-stream"): OpenApiTypes.BINARY})
    def get(self, request: Request, task_id: UUID, artifact_id: UUID) -> FileResponse:
        """The file itself, always as a download: what a script wrote is nothing to show in a page of ours."""
        artifact = artifact_get_for(user=request.user, task_id=task_id, artifact_id=artifact_id)
        try:
            content = default_storage.open(artifact.stored_as)
        except FileNotFoundError:
            raise NotFound("The artifact's copy is gone.", code="artifact_gone") from None
        return FileResponse(
            content,
            as_attachment=True,
            filename=PurePosixPath(artifact.path).name,
            content_type="application/octet-stream",
            headers={"Cache-Control": "private, no-store"},
        )
