"""Tasks, and the allowed transitions of their status."""

from __future__ import annotations

import uuid
from typing import Any, Final

from django.core.validators import MinValueValidator
from django.db import models

from taskhub.lib.text_folding import fold


class TaskStatus(models.TextChoices):
    TODO = "todo", "To do"
    INPROGRESS = "inprogress", "In progress"
    REVIEW = "review", "Review"
    DONE = "done", "Done"


class TaskPriority(models.TextChoices):
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


PRIORITY_RANK: Final = models.Case(
    *(models.When(priority=name, then=models.Value(rank)) for rank, name in enumerate(TaskPriority.values)),
    output_field=models.IntegerField(),
)
"""0 low, 2 high."""


class HasTag(models.Func):
    """Whether a JSON list of strings contains a value: `HasTag(F("tags"), Value("urgent"))`."""

    output_field = models.BooleanField()

    def as_postgresql(self, compiler: Any, connection: Any, **context: Any) -> Any:
        template = "(%(expressions)s::text))"
        return self.as_sql(compiler, connection, template=template, arg_joiner=" @> to_jsonb(", **context)

    def as_sqlite(self, compiler: Any, connection: Any, **context: Any) -> Any:
        template = "EXISTS (SELECT 1 FROM json_each(%(expressions)s))"
        return self.as_sql(compiler, connection, template=template, arg_joiner=") WHERE value = (", **context)


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

    `version` counts the changes, from 1: it is the ETag of the row, compared with `If-Match`.
    """

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
    version = models.PositiveIntegerField(default=1, validators=[MinValueValidator(1)], editable=False)
    created_at = models.DateTimeField(auto_now_add=True)
    updated_at = models.DateTimeField(auto_now=True)

    class Meta:
        ordering = ["-created_at", "-id"]
        indexes = [
            models.Index(fields=["-created_at", "-id"], name="task_newest"),
            models.Index(fields=["status", "-created_at"], name="task_status_newest"),
            models.Index(fields=["assignee", "-created_at"], name="task_assignee_newest"),
        ]
        constraints = [
            models.CheckConstraint(name="task_status_known", condition=models.Q(status__in=TaskStatus.values)),
            models.CheckConstraint(name="task_priority_known", condition=models.Q(priority__in=TaskPriority.values)),
        ]

    def __str__(self) -> str:
        return self.title
