"""A task with what it waits for, and `/api/tasks/{task_id}/waive`."""

from __future__ import annotations

from typing import Any, ClassVar, Final
from uuid import UUID

from drf_spectacular.utils import extend_schema, extend_schema_field
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
from taskhub.executions.script import script_block
from taskhub.lib.markdown import render_markdown
from taskhub.models import Dependency, Execution, ExecutionStatus, Task, Verdict, VerifyPolicy
from taskhub.roles import Caller
from taskhub.selectors.environments import environment_of_task
from taskhub.selectors.evidence import check_of
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


class LastVerificationSerializer(serializers.Serializer[Any]):
    """`verdict` is null while it is under way; `stands`: it is the verdict on the work as it is now. `checked`: the run
    whose files it checks."""

    execution_id = serializers.UUIDField(source="id")
    status = serializers.ChoiceField(choices=ExecutionStatus.choices)
    verdict = serializers.SerializerMethodField()
    exit_code = serializers.IntegerField(allow_null=True)
    error_code = serializers.CharField()
    error_message = serializers.CharField()
    finished_at = serializers.DateTimeField(allow_null=True)
    checked = serializers.UUIDField(source="checks_id", allow_null=True)

    @extend_schema_field(serializers.ChoiceField(choices=Verdict.values, allow_null=True))
    def get_verdict(self, execution: Execution) -> str | None:
        return execution.verdict or None


class CheckSerializer(serializers.Serializer[Any]):
    """How the hub checks the task's work: with `has_script` its script runs when a verification is asked for.

    `policy` is the stricter one of the task and its environment: under `required` the task is done only with a passed
    verification. `environment_verify` is the environment's script, which runs before the task's `verify`; null for
    readers who may not use the environment. `last_stands`: the last one's verdict is on the work as it is now.
    """

    policy = serializers.ChoiceField(choices=VerifyPolicy.values)
    has_script = serializers.BooleanField()
    environment_verify = serializers.CharField(allow_null=True)
    verified_at = serializers.DateTimeField(allow_null=True)
    last = LastVerificationSerializer(allow_null=True)
    last_stands = serializers.BooleanField(source="stands")


class TaskDetailSerializer(TaskSerializer):
    """A task, what it waits for, and its last notes, the newest first; an older open question comes after them.

    `environment` is what its executions run in; it is null, and `environment_hidden` true, where the reader may not use
    it or it was deleted. `blocked_by_hidden` counts the blockers that the reader may not see. Of a finished blocker
    `result` is the last note of that kind.
    """

    notes = NoteSerializer(many=True, read_only=True)
    blocked_by = BlockerSerializer(many=True, read_only=True)  # type: ignore[assignment]  # what is read, not written
    blocked_by_hidden = serializers.IntegerField(read_only=True)
    environment = serializers.CharField(allow_null=True, read_only=True)  # type: ignore[assignment]  # likewise
    environment_hidden = serializers.BooleanField(read_only=True)
    verify = serializers.CharField(read_only=True)  # type: ignore[assignment]  # likewise
    override_reason = serializers.CharField(read_only=True)  # type: ignore[assignment]  # likewise
    check = CheckSerializer(read_only=True, allow_null=True, help_text="null: nothing is checked.")

    class Meta(TaskSerializer.Meta):
        fields = [*TaskSerializer.Meta.fields, "blocked_by_hidden", "environment_hidden", "check", "notes"]


def task_detail(caller: Caller, task: Task) -> dict[str, Any]:
    """The task as `TaskDetailSerializer` describes it, for this reader."""
    blockers = blockers_for(user=caller, task=task)
    check = check_of(user=caller, task=task)
    return {
        **TaskSerializer(task).data,
        "blocked_by": BlockerSerializer(blockers.visible, many=True).data,
        "blocked_by_hidden": blockers.hidden,
        **environment_of_task(user=caller, task=task)._asdict(),
        "verify": task.verify,
        "override_reason": task.override_reason,
        "check": None if check is None else CheckSerializer(check).data,
        "notes": NoteSerializer(last_notes(user=caller, task=task, most=_NOTES), many=True).data,
    }


class RenderedTaskSerializer(TaskDetailSerializer):
    """As TaskDetail, with `html=true` also its description as HTML, and its first bash block."""

    description_html = serializers.CharField(required=False, allow_null=True, help_text=HTML_HELP)
    script = serializers.CharField(
        required=False, allow_null=True, help_text="With html=true: what an execution without a script of its own runs."
    )

    class Meta(TaskDetailSerializer.Meta):
        fields = [*TaskDetailSerializer.Meta.fields, "description_html", "script"]


def with_html(detail: dict[str, Any]) -> dict[str, Any]:
    """What `task_detail` answers, with the description as HTML, and its script."""
    description = detail["description"]
    return detail | {"description_html": render_markdown(description), "script": script_block(description)}


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
