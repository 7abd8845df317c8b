"""A task with what it waits for, and `/api/tasks/{task_id}/waive`."""

from __future__ import annotations

from typing import Any, ClassVar, Final
from uuid import UUID

from drf_spectacular.utils import extend_schema
from rest_framework import serializers
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.views import APIView

from taskhub.api.actors import actor_of
from taskhub.api.fields import IdField, StrictSerializer
from taskhub.api.notes import NoteSerializer
from taskhub.api.permissions import AGENTS_WRITE
from taskhub.api.query import KnownQuery
from taskhub.api.rendered import HTML_HELP
from taskhub.api.serializers import TaskSerializer
from taskhub.api.task_answers import task_response
from taskhub.lib.markdown import render_markdown
from taskhub.models import Dependency, Task
from taskhub.roles import Caller
from taskhub.selectors.notes import last_notes
from taskhub.selectors.order import blockers_for
from taskhub.services.dependencies import dependency_waive
from taskhub.services.order import is_open

_NOTES: Final = 10
"""Of a task; `/api/tasks/{task_id}/notes` has all."""


class BlockerSerializer(serializers.Serializer[Any]):
    """A task that must be done first. `open`: it still is not, or it was closed and no person waived it."""

    id = serializers.UUIDField(source="blocker_id")
    title = serializers.CharField(source="blocker.title")
    status = serializers.CharField(source="blocker.status")
    closed_as = serializers.CharField(source="blocker.closed_as")
    waived_by = serializers.CharField()
    open = serializers.SerializerMethodField()
    artifacts = serializers.ListField(child=serializers.CharField(), source="blocker.artifacts")
    result = serializers.CharField(allow_null=True, help_text="Its last note of this kind.")

    def get_open(self, dependency: Dependency) -> bool:
        return is_open(dependency.blocker, dependency)


class TaskDetailSerializer(TaskSerializer):
    """A task, what it waits for, and its last notes, the newest first; an older open question comes after them.

    `blocked_by_hidden` counts the blockers that the reader may not see. Of a finished blocker `result` is the last note
    of that kind.
    """

    notes = NoteSerializer(many=True, read_only=True)
    blocked_by = BlockerSerializer(many=True, read_only=True)  # type: ignore[assignment]  # what is read, not written
    blocked_by_hidden = serializers.IntegerField(read_only=True)

    class Meta(TaskSerializer.Meta):
        fields = [*TaskSerializer.Meta.fields, "blocked_by_hidden", "notes"]


def task_detail(caller: Caller, task: Task) -> dict[str, Any]:
    """The task as `TaskDetailSerializer` describes it, for this reader."""
    blockers = blockers_for(user=caller, task=task)
    return {
        **TaskSerializer(task).data,
        "blocked_by": BlockerSerializer(blockers.visible, many=True).data,
        "blocked_by_hidden": blockers.hidden,
        "notes": NoteSerializer(last_notes(user=caller, task=task, most=_NOTES), many=True).data,
    }


class RenderedTaskSerializer(TaskDetailSerializer):
    """As TaskDetail, with `html=true` also its description as HTML."""

    description_html = serializers.CharField(required=False, allow_null=True, help_text=HTML_HELP)

    class Meta(TaskDetailSerializer.Meta):
        fields = [*TaskDetailSerializer.Meta.fields, "description_html"]


def with_html(detail: dict[str, Any]) -> dict[str, Any]:
    """What `task_detail` answers, with the description as HTML."""
    return detail | {"description_html": render_markdown(detail["description"])}


class WaiveSerializer(StrictSerializer):
    """Which blocker the task waits for no longer."""

    example: ClassVar[dict[str, Any]] = {"blocker": "3f1c8a52-0d2e-4f0b-9b39-5f7f6a3c9d11"}

    blocker = IdField()


class TaskWaiveView(KnownQuery, APIView):
    roles = AGENTS_WRITE

    @extend_schema(request=WaiveSerializer, responses=TaskSerializer)
    def post(self, request: Request, task_id: UUID) -> Response:
        """Let a task go on although a blocker is done with `closed_as`. For people: a token may not."""
        body = WaiveSerializer(data=request.data)
        body.is_valid(raise_exception=True)
        task = dependency_waive(actor=actor_of(request), task_id=task_id, blocker_id=body.validated_data["blocker"])
        return task_response(task)
