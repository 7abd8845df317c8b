"""Tasks, and the allowed transitions of their status."""

from __future__ import annotations

import json
import uuid
from typing import Any, Final

from django.core.validators import MinValueValidator
from django.db import models

from taskhub.lib.text_folding import fold
from taskhub.models.evidence import Verdict, VerifyPolicy


class TaskStatus(models.TextChoices):
    TODO = "todo", "To do"
    INPROGRESS = "inprogress", "In progress"
    REVIEW = "review", "Review"
    DONE = "done", "Done"


class ClosedAs(models.TextChoices):
    """What it blocked stays blocked until a person waives it."""

    CANCELLED = "cancelled", "Cancelled"
    DUPLICATE = "duplicate", "Duplicate"


class TaskPriority(models.TextChoices):
    """From the least to the most urgent: rank, filters and pages follow. A new one needs a migration that makes the
    indexes with `PriorityRank` anew.
    """

    LOW = "low", "Low"
    MEDIUM = "medium", "Medium"
    HIGH = "high", "High"


TRANSITIONS: Final[dict[TaskStatus, frozenset[TaskStatus]]] = {
    # Review needs work first; closing without work (a duplicate) is allowed.
    TaskStatus.TODO: frozenset({TaskStatus.INPROGRESS, TaskStatus.DONE}),
    TaskStatus.INPROGRESS: frozenset({TaskStatus.TODO, TaskStatus.REVIEW, TaskStatus.DONE}),
    TaskStatus.REVIEW: frozenset({TaskStatus.TODO, TaskStatus.INPROGRESS, TaskStatus.DONE}),
    # A finished task is reopened: work comes before the next review.
    TaskStatus.DONE: frozenset({TaskStatus.TODO, TaskStatus.INPROGRESS}),
}

OVERRIDE_LENGTH: Final = 500


class IsUnset(models.Func):
    """As `__isnull=True`: SQLite would look up the unset ones of a unique column, as if they were few."""

    output_field = models.BooleanField()
    template = "%(expressions)s IS NULL"

    def as_sqlite(self, compiler: Any, connection: Any, **context: Any) -> Any:
        return self.as_sql(compiler, connection, template="+%(expressions)s IS NULL", **context)


READY: Final = models.Q(status=TaskStatus.TODO, held_back=False, open_blockers=0)
"""Condition on tasks that an agent may begin; of a loaded one, `Task.ready`."""
WAITING_FOR: Final = {
    "person": models.Q(held_back=True),
    "answer": models.Q(held_back=False, open_question__isnull=False),
    "review": models.Q(IsUnset("open_question"), held_back=False, status=TaskStatus.REVIEW),
}
"""Conditions on tasks that wait for people; of a loaded one, `Task.waiting_for`."""
READY_FROM: Final = ("status", "held_back", "open_blockers")
"""Columns that `Task.ready` looks at."""
WAITING_FOR_FROM: Final = ("held_back", "open_question_id", "status")
"""Columns that `Task.waiting_for` looks at."""


# An index of an expression is found only where statement and index are spelled alike, which no parameter is: the values
# of these stand in the statement itself.
class PriorityRank(models.Func):
    """0 for the least urgent, and so on."""

    template = " ".join(
        [
            "CASE %(expressions)s",
            *(f"WHEN '{name}' THEN {rank}" for rank, name in enumerate(TaskPriority.values)),
            "END",
        ]
    )
    output_field = models.IntegerField()


PRIORITY_RANK: Final = PriorityRank("priority")


class OfferedTo(models.Func):
    """The account that a ready task is offered to: its assignee; all ("") where it is unassigned or was sent back."""

    template = "CASE WHEN %(expressions)s END"
    arg_joiner = " IS NOT NULL THEN '' ELSE "
    output_field = models.CharField()


class NotHeldBack(models.Func):
    """As `held_back=False`, for claims alone: SQLite would take the index of ready tasks, and sort all of them."""

    output_field = models.BooleanField()
    template = "NOT %(expressions)s"

    def as_sqlite(self, compiler: Any, connection: Any, **context: Any) -> Any:
        return self.as_sql(compiler, connection, template="%(expressions)s = 0", **context)


OFFERED_TO: Final = OfferedTo("handed_over_by", "assignee")
CLAIMABLE: Final = models.Q(NotHeldBack("held_back"), status=TaskStatus.TODO, open_blockers=0)
"""As `READY`, for the indexes of claims."""


_NEWEST: Final = (models.F("created_at").desc(), models.F("id").desc())


class HasTag(models.Func):
    """Whether a JSON list of strings contains a text: `HasTag(F("tags"), Value("urgent"))`."""

    output_field = models.BooleanField()

    def as_postgresql(self, compiler: Any, connection: Any, **context: Any) -> Any:
        template = "(%(expressions)s::text))"
        return self.as_sql(compiler, connection, template=template, arg_joiner=" @> to_jsonb(", **context)

    def as_sqlite(self, compiler: Any, connection: Any, **context: Any) -> Any:
        """The texts of most rows have not the tag's: that is seen in a fifth of what taking them apart costs."""
        template = "EXISTS (SELECT 1 FROM json_each(%(expressions)s))"
        found, params = self.as_sql(compiler, connection, template=template, arg_joiner=") WHERE value = (", **context)
        tags, tag = self.get_source_expressions()
        column, column_params = compiler.compile(tags)
        # Spelled as `JSONField` writes it.
        return f"(instr({column}, %s) AND {found})", (*column_params, json.dumps(tag.value), *params)


class FoldedTextField(models.TextField[str, str]):
    """The row's title and description, folded for searches. Each write of this field computes it anew."""

    def pre_save(self, model_instance: models.Model, add: bool) -> str:  # noqa: ARG002 - Django's interface
        folded = folded_text(getattr(model_instance, "title", ""), getattr(model_instance, "description", ""))
        setattr(model_instance, self.attname, folded)
        return folded


def folded_text(title: str, description: str) -> str:
    """What `Task.folded_text` holds; no search can match across the two."""
    return f"{fold(title)}\x1f{fold(description)}"


class Task(models.Model):
    """
    Allowed status transitions (`TRANSITIONS`; keeping the status is always allowed):

        todo       → inprogress, done
        inprogress → todo, review, done
        review     → todo, inprogress, done
        done       → todo, inprogress

    `version` counts the changes, from 1: it is the ETag of the row, compared with `If-Match`. `changed` is set on a row
    that a service has changed: the names of the fields; it is not stored.
    """

    changed: tuple[str, ...] = ()

    id = models.UUIDField(primary_key=True, default=uuid.uuid4, editable=False)
    title = models.CharField(max_length=200)
    description = models.TextField(blank=True, default="", help_text="Markdown.")
    status = models.CharField(max_length=10, choices=TaskStatus.choices, default=TaskStatus.TODO)
    priority = models.CharField(max_length=6, choices=TaskPriority.choices, default=TaskPriority.MEDIUM)
    assignee = models.CharField(max_length=150, blank=True, default="", help_text="Empty: unassigned.")
    tags = models.JSONField(blank=True, default=list, help_text="A list of strings.")
    artifacts = models.JSONField(blank=True, default=list, help_text="A list of strings: paths or URLs.")
    folded_text = FoldedTextField(
        blank=True, default="", db_default="", editable=False, help_text="Title and description as searches see them."
    )
    private = models.BooleanField(default=False, help_text="Only its assignee and operators see it.")
    ending = models.CharField(
        max_length=9,
        blank=True,
        default="",
        db_default="",
        editable=False,
        help_text="As what its execution is being ended right now: stopped, timed_out. No part of `version`.",
    )
    created_by = models.CharField(
        max_length=150, blank=True, default="", db_default="", editable=False, help_text="Account that made it."
    )
    created_by_agent = models.CharField(
        max_length=100,
        blank=True,
        default="",
        db_default="",
        editable=False,
        help_text="Agent of that account that made it. Empty: a person did, or it is not known.",
    )
    holder = models.CharField(
        max_length=251,
        blank=True,
        default="",
        db_default="",
        editable=False,
        help_text="Agent that holds it, as account/name. Empty: none does.",
    )
    attempts = models.PositiveIntegerField(
        default=0, db_default=0, editable=False, help_text="Claims since review, done, or a person's release."
    )
    failures = models.PositiveIntegerField(
        default=0, db_default=0, editable=False, help_text="Those of them that were lost or failed."
    )
    open_blockers = models.PositiveIntegerField(
        default=0, db_default=0, editable=False, help_text="Tasks that it waits for."
    )
    closed_as = models.CharField(
        max_length=9,
        choices=ClosedAs.choices,
        blank=True,
        default="",
        db_default="",
        help_text="Why nothing came of a task that is done.",
    )
    held_back = models.BooleanField(
        default=False, db_default=False, editable=False, help_text="No agent may claim it until a person releases it."
    )
    handed_over_by = models.ForeignKey(
        "taskhub.Agent",
        null=True,
        editable=False,
        on_delete=models.SET_NULL,
        related_name="+",
        help_text="Agent that handed it over for review; offered to it first where it is sent back.",
    )
    open_question = models.OneToOneField(
        "taskhub.Note",
        null=True,
        editable=False,
        on_delete=models.SET_NULL,
        related_name="asked_by",
        help_text="The question that waits for an answer.",
    )
    environment = models.ForeignKey(
        "taskhub.Environment",
        null=True,
        editable=False,
        on_delete=models.PROTECT,
        db_index=False,
        related_name="+",
        help_text="What its executions run in unless they name another one.",
    )
    verify = models.TextField(
        blank=True, default="", db_default="", help_text="Script that checks the work, beside the environment's."
    )
    verify_policy = models.CharField(
        max_length=8,
        choices=VerifyPolicy.choices,
        default=VerifyPolicy.OFF,
        db_default=VerifyPolicy.OFF,
        help_text="Whether the task needs a passed verification to be done; the environment's counts where stricter.",
    )
    verified = models.CharField(
        max_length=11,
        choices=Verdict.choices,
        blank=True,
        default="",
        db_default="",
        editable=False,
        help_text="Verdict on the work as it is now. Empty: there is none.",
    )
    verified_by = models.ForeignKey(
        "taskhub.Execution",
        null=True,
        editable=False,
        on_delete=models.SET_NULL,
        db_index=False,
        related_name="+",
        help_text="The verification that the last verdict is from.",
    )
    verify_failures = models.PositiveIntegerField(
        default=0, db_default=0, editable=False, help_text="Verifications in a row that failed, since it was told."
    )
    override_reason = models.CharField(
        max_length=OVERRIDE_LENGTH,
        blank=True,
        default="",
        db_default="",
        editable=False,
        help_text="Why an operator set it to done without a passed verification.",
    )
    version = models.PositiveIntegerField(default=1, validators=[MinValueValidator(1)], editable=False)
    created_at = models.DateTimeField(auto_now_add=True)
    updated_at = models.DateTimeField(auto_now=True)

    class Meta:
        ordering = ["-created_at", "-id"]
        indexes = [
            # A condition, not a column: SQLite looks up no `NOT held_back`, and would read all that are blocked. First,
            # for where PostgreSQL takes the table for small, all indexes with a status cost it the same.
            models.Index(
                fields=["status", "open_blockers", "-created_at", "-id"],
                name="task_ready",
                condition=models.Q(held_back=False),
            ),
            models.Index(fields=["-created_at", "-id"], name="task_newest"),
            # Each order of the list, of the tasks of a status: other lists are read in parts (`api/task_pages.py`).
            # Times and titles serve backwards, too: few tasks are equal in them.
            models.Index(fields=["status", "-created_at", "-id"], name="task_status_created"),
            models.Index(fields=["status", "-updated_at", "-created_at", "-id"], name="task_status_updated"),
            models.Index(fields=["status", "title", "-created_at", "-id"], name="task_status_title"),
            models.Index("status", PriorityRank("priority"), *_NEWEST, name="task_status_rank"),
            # Filters, the newest first.
            models.Index(fields=["assignee", "-created_at", "-id"], name="task_assignee_created"),
            models.Index(fields=["created_by", "-created_at", "-id"], name="task_maker_created"),
            models.Index(fields=["-created_at", "-id"], name="task_private", condition=models.Q(private=True)),
            models.Index(fields=["-created_at", "-id"], name="task_held_back", condition=models.Q(held_back=True)),
            models.Index(
                fields=["-created_at", "-id"], name="task_asks", condition=models.Q(open_question__isnull=False)
            ),
            # The order in which ready tasks are claimed: a claim reads the first one, however many wait. The first two
            # are the same in all rows: an index that has more of what is looked up is preferred to others.
            models.Index(
                *("status", "open_blockers", OfferedTo("handed_over_by", "assignee")),
                *(PriorityRank("priority").desc(), "created_at", "id"),
                name="task_claim_order",
                condition=CLAIMABLE,
            ),
            models.Index(
                *("status", "open_blockers", "handed_over_by"),
                *(PriorityRank("priority").desc(), "created_at", "id"),
                name="task_claim_sent_back",
                condition=CLAIMABLE & models.Q(handed_over_by__isnull=False),
            ),
            models.Index(fields=["verified"], name="task_verified", condition=~models.Q(verified="")),
        ]
        constraints = [
            models.CheckConstraint(name="task_status_known", condition=models.Q(status__in=TaskStatus.values)),
            models.CheckConstraint(name="task_priority_known", condition=models.Q(priority__in=TaskPriority.values)),
        ]

    def __str__(self) -> str:
        return self.title

    @property
    def waiting_for(self) -> str:
        """What the task waits for, of people: `person`, `answer`, `review`, or nothing ("")."""
        if self.held_back:
            return "person"
        if self.open_question_id is not None:
            return "answer"
        return "review" if self.status == TaskStatus.REVIEW else ""

    @property
    def ready(self) -> bool:
        return self.status == TaskStatus.TODO and not self.held_back and self.open_blockers == 0
