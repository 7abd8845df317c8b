"""`/api/exec/artifacts/`: the files that a script left, to list, to look at and to download."""

from __future__ import annotations

from functools import partial
from pathlib import PurePosixPath
from typing import Any, get_args
from uuid import UUID

from django.http import FileResponse, StreamingHttpResponse
from drf_spectacular.types import OpenApiTypes
from drf_spectacular.utils import extend_schema
from rest_framework import serializers
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.views import APIView

from taskhub.api.awaited import awaited
from taskhub.api.negotiation import OneForm
from taskhub.api.query import KnownQuery
from taskhub.api.serializers import ExecutionQuerySerializer
from taskhub.executions.artifact_reading import (
    IMAGE_BYTES,
    PREVIEW_BYTES,
    PreviewKind,
    artifact_preview,
    open_artifact,
    zip_of,
)
from taskhub.lib.markdown import LONGEST, render_markdown
from taskhub.lib.storage_threads import on_storage_thread
from taskhub.models import Artifact, LeftOutFile
from taskhub.selectors.artifacts import artifact_get_for, artifact_list_of
from taskhub.selectors.executions import execution_get_for
from taskhub.web.thread_pool import on_web_thread, with_database


class ArtifactSerializer(serializers.ModelSerializer[Artifact]):
    """`path` is relative to the script's working folder, `size` is in bytes; `url` downloads it."""

    url = serializers.SerializerMethodField()

    class Meta:
        model = Artifact
        fields = ["id", "path", "size", "kept_at", "url"]

    def get_url(self, artifact: Artifact) -> str:
        return f"/api/exec/artifacts/{artifact.execution.task_id}/{artifact.pk}"


class LeftOutFileSerializer(serializers.ModelSerializer[LeftOutFile]):
    """A file that was not kept; `size` is in bytes."""

    class Meta:
        model = LeftOutFile
        fields = ["path", "size", "reason"]


class ArtifactsSerializer(serializers.Serializer[Any]):
    """`left_out` counts the files that were not kept: too large, too many, or not to be read.

    `left_out_files` names the first ones; of executions of an older release, none.
    """

    execution_id = serializers.UUIDField(source="id")
    items = ArtifactSerializer(many=True, source="artifacts.all")
    left_out = serializers.IntegerField(source="artifacts_left_out")
    left_out_files = LeftOutFileSerializer(many=True, source="left_out_files.all")


class ArtifactPreviewSerializer(serializers.Serializer[Any]):
    """What can be shown of a file, by its content; `none`: nothing can, or it is too large."""

    path = serializers.CharField()
    size = serializers.IntegerField(help_text="In bytes.")
    kind = serializers.ChoiceField(choices=get_args(PreviewKind))
    media_type = serializers.CharField(
        allow_blank=True, help_text=f"Of an image of at most {IMAGE_BYTES} bytes; its content is at the file's address."
    )
    text = serializers.CharField(allow_blank=True, help_text=f"Of a text: its first {PREVIEW_BYTES} bytes.")
    html = serializers.CharField(
        allow_null=True, help_text=f"Of Markdown: as HTML, without raw HTML; null beyond {LONGEST} characters."
    )
    is_cut = serializers.BooleanField(help_text="Whether the text goes on.")


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
        return FileResponse(
            open_artifact(artifact),
            as_attachment=True,
            filename=PurePosixPath(artifact.path).name,
            content_type="application/octet-stream",
            headers={"Cache-Control": "private, no-store"},
        )


class ArtifactPreviewView(KnownQuery, APIView):
    @extend_schema(responses=ArtifactPreviewSerializer)
    @awaited()
    async def get(self, request: Request, task_id: UUID, artifact_id: UUID) -> Response:
        """What can be shown of a file: the beginning of a text, Markdown as HTML, or that it is an image."""
        find = partial(artifact_get_for, user=request.user, task_id=task_id, artifact_id=artifact_id)
        artifact = await with_database(find)
        shown = await on_storage_thread(artifact_preview, artifact)
        html = await on_web_thread(render_markdown, shown.text) if shown.kind == "markdown" else None
        facts = {"path": artifact.path, "size": artifact.size, **shown._asdict(), "html": html}
        return Response(ArtifactPreviewSerializer(facts).data)


class ArtifactsZipView(OneForm, KnownQuery, APIView):
    queries = {"get": ExecutionQuerySerializer}

    @extend_schema(
        operation_id="exec_artifacts_zip",
        parameters=[ExecutionQuerySerializer],
        responses={(200, "application/octet-stream"): OpenApiTypes.BINARY},
    )
    def get(self, request: Request, task_id: UUID) -> StreamingHttpResponse:
        """All files that an execution of the task left, as one zip: of the newest one, unless `execution_id` says."""
        execution = execution_get_for(user=request.user, task_id=task_id, **self.read_query(request))
        return StreamingHttpResponse(
            zip_of(artifact_list_of(execution=execution)),
            # As a single file's: generators of clients leave out an answer of application/zip.
            content_type="application/octet-stream",
            headers={
                "Cache-Control": "private, no-store",
                "Content-Disposition": f'attachment; filename="task-{execution.pk}.zip"',
            },
        )
