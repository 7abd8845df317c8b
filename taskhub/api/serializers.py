"""What goes in and out over REST."""

from __future__ import annotations

from functools import cached_property
from typing import Any, Final
from uuid import UUID

from drf_spectacular.utils import extend_schema_field
from rest_framework import serializers

from taskhub.api.env_fields import EnvField
from taskhub.api.environment_facts import EnvironmentOfExecutionSerializer
from taskhub.api.fields import (
    IdField,
    OneOfField,
    ShortListField,
    StrictBooleanField,
    StrictSerializer,
    TextField,
    TextListField,
)
from taskhub.api.given_files import GivenFileSerializer
from taskhub.api.query import QuerySerializer
from taskhub.api.row_encoder import Computed, RowEncoder
from taskhub.models import (
    WAITING_FOR,
    AuditEntry,
    ClosedAs,
    Execution,
    ExecutionStatus,
    StartAwaits,
    Task,
    TaskPriority,
    TaskStatus,
    Verdict,
    VerifyPolicy,
    WaitingReason,
)
from taskhub.models.environment import NAME_LENGTH
from taskhub.models.note import TEXT_LIMIT_BYTES
from taskhub.models.task import OVERRIDE_LENGTH, READY_FROM, WAITING_FOR_FROM
from taskhub.selectors.admission import positions, waiting_of
from taskhub.services.execution_inputs import GIVEN_MOST
from taskhub.services.order import BLOCKERS_MOST

DESCRIPTION_LIMIT: Final = 64 * 1024
_REF_LENGTH: Final = 100


HIDDEN_ENTRY: Final[dict[str, Any]] = {
    "actor": "",
    "agent": "",
    "door": "",
    "token_name": "",
    "action": "task:private",
    "execution_id": None,
    "changes": {},
}
"""What a caller sees of an audit entry from a time at which they could not read the task; its id and time stay."""


_WRITTEN: Final = frozenset({"blocked_by", "environment", "override_reason", "ref", "verify"})
"""Fields of a task that only requests have."""
_EMPTY_IS_NULL: Final = ("ending", "verified")


class OverrideField(TextField):
    """Why an operator sets a task to done without a passed verification."""

    def __init__(self, **options: Any) -> None:
        super().__init__(max_length=OVERRIDE_LENGTH, **options)


class TaskSerializer(StrictSerializer, serializers.ModelSerializer[Task]):
    """A task. `description` is Markdown; an empty `assignee` is unassigned; `version` is compared with `If-Match`."""

    example = {
        "title": "Fix the build",
        "description": "It is red since Monday.\n\n```bash\nmake test\n```",
        "priority": "high",
        "tags": ["ci"],
    }

    title = TextField(max_length=200, visible=True)
    description = TextField(max_length=DESCRIPTION_LIMIT, allow_blank=True, required=False, trim_whitespace=False)
    assignee = TextField(max_length=150, allow_blank=True, required=False)
    tags = TextListField(max_length=50, required=False)
    artifacts = TextListField(max_length=1000, required=False)
    private = StrictBooleanField(required=False, help_text="Only its assignee and operators see it.")
    serializer_choice_field = OneOfField
    closed_as = OneOfField(choices=["", *ClosedAs.values], required=False, help_text="Of a done one: no result.")
    blocked_by = ShortListField(
        child=IdField(),
        max_length=BLOCKERS_MOST,
        required=False,
        write_only=True,
        help_text="To be done first.",
    )
    environment = TextField(
        max_length=NAME_LENGTH,
        allow_null=True,
        allow_blank=True,
        required=False,
        write_only=True,
        help_text="Of its executions.",
    )
    verify = TextField(
        max_length=DESCRIPTION_LIMIT,
        allow_blank=True,
        required=False,
        trim_whitespace=False,
        write_only=True,
        help_text="Script that checks the work.",
    )
    verify_policy = OneOfField(choices=VerifyPolicy.values, required=False, help_text="required: done needs a pass.")
    verified = serializers.ChoiceField(
        choices=Verdict.values, allow_null=True, read_only=True, help_text="Verdict on the work as it is."
    )
    override_reason = OverrideField(required=False, write_only=True)
    waiting_for = serializers.ChoiceField(
        choices=["", *WAITING_FOR], read_only=True, help_text="What it needs of people."
    )
    ready = serializers.BooleanField(read_only=True, help_text="Whether an agent may claim it.")
    ending = serializers.ChoiceField(
        choices=["stopped", "timed_out"],
        allow_null=True,
        read_only=True,
        help_text="Its execution is being ended, as this.",
    )

    class Meta:
        model = Task
        fields = [
            "id",
            "title",
            "description",
            "status",
            "priority",
            "assignee",
            "tags",
            "artifacts",
            "private",
            "closed_as",
            "blocked_by",
            "environment",
            "ending",
            "version",
            "created_at",
            "updated_at",
            "created_by",
            "holder",
            "held_back",
            "ready",
            "open_blockers",
            "waiting_for",
            "verify",
            "verify_policy",
            "verified",
            "override_reason",
        ]
        read_only_fields = [
            *("id", "ending", "version", "created_at", "updated_at"),
            *("created_by", "holder", "held_back", "ready", "open_blockers", "waiting_for", "verified"),
        ]

    @classmethod
    def shown_fields(cls) -> tuple[str, ...]:
        """Those of the fields that answers have."""
        return tuple(name for name in cls.Meta.fields if name not in _WRITTEN)

    def to_representation(self, instance: Task) -> dict[str, Any]:
        # Each field goes out as it is; DRF would make eleven field objects, for every answer anew, to find that out.
        shown = {name: getattr(instance, name) for name in self.shown_fields()}
        return shown | {name: shown[name] or None for name in _EMPTY_IS_NULL}


TASK_ENCODER: Final = RowEncoder(
    TaskSerializer.shown_fields(),
    computed={
        "ready": Computed(Task.ready, READY_FROM),  # type: ignore[arg-type]  # to mypy a property is its value
        "waiting_for": Computed(Task.waiting_for, WAITING_FOR_FROM),  # type: ignore[arg-type]  # likewise
    },
    empty_is_null=_EMPTY_IS_NULL,
)
"""Encodes rows of tasks as `TaskSerializer` does."""


class ListedTaskSerializer(TaskSerializer):
    """A task that is created with others. They may name it by its `ref`."""

    ref = TextField(max_length=_REF_LENGTH, required=False, write_only=True, visible=True)
    blocked_by = ShortListField(
        child=TextField(max_length=_REF_LENGTH), max_length=BLOCKERS_MOST, required=False, write_only=True
    )

    class Meta(TaskSerializer.Meta):
        fields = ["ref", *TaskSerializer.Meta.fields]

    def validate_ref(self, ref: str) -> str:
        if isinstance(_id_or_ref(ref), UUID):
            raise serializers.ValidationError("Must not be a UUID: ids are those of tasks.")
        return ref

    def validate_blocked_by(self, blockers: list[str]) -> list[UUID | str]:
        return [_id_or_ref(each) for each in blockers]


def _id_or_ref(text: str) -> UUID | str:
    try:
        return UUID(text)
    except ValueError:
        return text


class StatusChangeSerializer(StrictSerializer):
    """Spec 003's body of `PUT /api/tasks/status/{task_id}`; `artifacts` replaces the list."""

    example = {"new_status": "inprogress", "priority": "high", "assignee": "alice"}

    new_status = OneOfField(choices=TaskStatus.choices)
    priority = OneOfField(choices=TaskPriority.choices, required=False)
    assignee = TextField(max_length=150, allow_blank=True, required=False)
    artifacts = TextListField(max_length=1000, required=False)
    closed_as = OneOfField(choices=["", *ClosedAs.values], required=False, help_text="Of a done one: no result.")
    note = TextField(
        required=False,
        max_length=TEXT_LIMIT_BYTES,
        trim_whitespace=False,
        allow_blank=True,
    )
    override_reason = OverrideField(required=False)


class AuditEntrySerializer(serializers.ModelSerializer[AuditEntry]):
    """A step in a task's history; `changes` maps a field to `[before, after]`.

    `hidden` stands there for a blocker that the caller may not see.
    `agent`: the name of the agent that did it, of the account `actor`; empty for a person, for the service itself, and
    for what was done before agents' names were kept.
    `private`: it was made while the task was private. Callers who could not read it then see its time alone: `actor`,
    `agent`, `door` and `token_name` are empty, as is `changes`, `execution_id` is null, and `action` is `task:private`.
    """

    actor = serializers.CharField(source="actor_name")
    private = serializers.BooleanField()

    class Meta:
        model = AuditEntry
        fields = ["id", "at", "actor", "agent", "door", "token_name", "action", "execution_id", "changes", "private"]

    def to_representation(self, instance: Any) -> dict[str, Any]:
        shown: dict[str, Any] = super().to_representation(instance)
        return shown | HIDDEN_ENTRY if instance.hidden else shown


class ExecuteSerializer(StrictSerializer):
    """What to run: `script_content`, else what the execution `again` of this task ran, else the first bash block of the
    task's description. `again` also repeats environment, `timeout_s`, `merge_output`, `all_files` and plain variables,
    where the request has none of its own; secret values must be given anew."""

    example = {
        "script_content": "echo hello; make test",
        "timeout_s": 600,
        "env": {"CI": "1", "TOKEN": {"value": "as-the-script-gets-it", "secret": True}},
    }

    script_content = TextField(required=False, trim_whitespace=False, max_length=None)
    sandbox_id = TextField(required=False, max_length=200)
    timeout_s = serializers.IntegerField(required=False, min_value=1, max_value=86_400)
    env = EnvField(required=False, help_text="Masked: {value, secret: true}")
    merge_output = StrictBooleanField(required=False)  # README: stderr goes to stdout, in order
    all_files = StrictBooleanField(required=False, help_text="Also keep .git, node_modules…")
    files = ShortListField(child=GivenFileSerializer(), max_length=GIVEN_MOST, required=False)
    environment = TextField(required=False, allow_null=True, allow_blank=True, max_length=NAME_LENGTH)
    again = IdField(required=False, help_text="An earlier execution of the task.")
    same_sandbox = StrictBooleanField(required=False)  # docs/executions.md: that of the task's last execution

    def validate(self, attrs: Any) -> Any:
        if attrs.get("same_sandbox") and "sandbox_id" in attrs:
            raise serializers.ValidationError({"same_sandbox": ["Give this or sandbox_id."]})
        return attrs


class ExecutionQueuedSerializer(serializers.ModelSerializer[Execution]):
    """The handle of an execution that was taken on."""

    execution_id = serializers.UUIDField(source="id")

    class Meta:
        model = Execution
        fields = ["execution_id", "task_id", "session_name", "log_file", "status"]


class WaitingSerializer(serializers.Serializer[Any]):
    """Why it is not started yet; `message` is a sentence for people.

    `position` in the queue from 1; null where it is `starting` and waits for an image, a snapshot or a volume.
    """

    reason = serializers.ChoiceField(choices=[*WaitingReason.choices, *StartAwaits.choices])
    since = serializers.DateTimeField()
    position = serializers.IntegerField(allow_null=True)
    message = serializers.CharField()


class ExecutionSerializer(serializers.ModelSerializer[Execution]):
    """How an execution stands. `exit_code` is null while it runs; `error` says why it failed to start or was lost.

    `waiting` is null unless it cannot start yet.
    """

    execution_id = serializers.UUIDField(source="id")
    error = serializers.SerializerMethodField()
    waiting = serializers.SerializerMethodField()
    ending = serializers.ChoiceField(
        choices=["stopped", "timed_out"],
        source="shown_ending",
        allow_null=True,
        read_only=True,
        help_text="Being ended as.",
    )
    leftover = serializers.SerializerMethodField()
    environment = EnvironmentOfExecutionSerializer(allow_null=True, read_only=True)
    commit = serializers.SerializerMethodField()
    verdict = serializers.SerializerMethodField()

    class Meta:
        model = Execution
        fields = [
            "execution_id",
            "task_id",
            "status",
            "waiting",
            "ending",
            "sandbox_id",
            "session_name",
            "command_id",
            "exit_code",
            "error",
            "timeout_s",
            "queued_at",
            "started_at",
            "finished_at",
            "stop_requested_at",
            "log_file",
            "log_lines",
            "log_truncated",
            "artifacts_kept",
            "artifacts_left_out",
            "leftover",
            "environment",
            "commit",
            "kind",
            "verdict",
        ]

    @extend_schema_field(WaitingSerializer(allow_null=True))
    def get_waiting(self, execution: Execution) -> dict[str, Any] | None:
        waiting = waiting_of(execution, self._positions)
        return None if waiting is None else dict(WaitingSerializer(waiting).data)

    @cached_property
    def _positions(self) -> dict[UUID, int]:
        """Of all rows that are shown, looked up together."""
        shown: Any = self.parent.instance if isinstance(self.parent, serializers.ListSerializer) else [self.instance]
        return positions(row.pk for row in shown or () if row.status == ExecutionStatus.QUEUED)

    @extend_schema_field(serializers.ChoiceField(choices=["sandbox_stopping", "possible"], allow_null=True))
    def get_leftover(self, execution: Execution) -> str | None:
        """What may outlive it: its sandbox is being stopped, or processes may still run in a sandbox of yours."""
        return execution.leftover or None

    def get_commit(self, execution: Execution) -> str | None:
        """What was checked out of its environment's repository."""
        return execution.commit or None

    @extend_schema_field(serializers.ChoiceField(choices=Verdict.values, allow_null=True))
    def get_verdict(self, execution: Execution) -> str | None:
        """Of a verification that has ended."""
        return execution.verdict or None

    def get_error(self, execution: Execution) -> dict[str, str] | None:
        if not execution.error_code:
            return None
        return {"code": execution.error_code, "message": execution.error_message}


class ExecutionQuerySerializer(QuerySerializer):
    execution_id = IdField(required=False, help_text="The newest, unless it is given.")
