"""Filters of the task and execution lists: query parameters to conditions."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from datetime import datetime
from typing import Any, ClassVar, Final
from uuid import UUID

import django_filters
from django import forms
from django.core.exceptions import ValidationError
from django.db.models import QuerySet
from django.http import QueryDict
from django.utils import timezone
from django_filters.utils import translate_validation
from drf_spectacular.utils import extend_schema_field

from taskhub.auth.account_names import ME, NOBODY
from taskhub.errors import NotAuthenticated
from taskhub.lib.query_values import NOT_A_TIME, must_be_one_of, read_moment
from taskhub.models import READY, WAITING_FOR, Execution, ExecutionStatus, Task, TaskPriority, TaskStatus
from taskhub.roles import Caller
from taskhub.selectors.stale import stale_tasks
from taskhub.selectors.tasks import (
    tasks_containing,
    tasks_last_executed,
    tasks_of_priority,
    tasks_tagged,
    tasks_updated_since,
    tasks_waiting_for,
)

ANYTHING: Final = "any"
_IDS_MOST: Final = 200
_TAGS_MOST: Final = 100
_NO_NUL: Final = r"^[^\u0000]*$"
_TAG_SCHEMA: Final = {
    "type": "array",
    "items": {"type": "string", "pattern": _NO_NUL},
    "maxItems": _TAGS_MOST,
    "description": "All of these: repeat it, or separate them with commas.",
}
_IDS_SCHEMA: Final = {
    "type": "array",
    "items": {"type": "string", "format": "uuid"},
    "maxItems": _IDS_MOST,
    "description": "These tasks: repeat it, or separate them with commas.",
}
_ID_SCHEMA: Final = {
    "type": "string",
    "format": "uuid",
    "description": "Tasks that wait for this one, or waited until it was done.",
}
_MOMENT_SCHEMA: Final = {
    "type": "string",
    "format": "date-time",
    "description": "Changed at this time or later (ISO 8601).",
}
_TEXT_SCHEMA: Final = {
    "type": "string",
    "maxLength": 200,
    "pattern": _NO_NUL,
    "description": "Text in the title or the description, whatever its case and accents.",
}

Choices = Iterable[tuple[str, Any]]


class _TextsField(forms.Field):
    """All values of a parameter that may be repeated. Raises ValidationError."""

    widget = forms.SelectMultiple

    def __init__(self, *, most: int, **options: Any) -> None:
        super().__init__(**options)
        self._most = most

    def clean(self, value: Any) -> list[Any]:
        given = [text for text in value or [] if text]
        if len(given) > self._most:
            raise ValidationError(f"At most {self._most} values.")
        if any("\0" in text for text in given):
            raise ValidationError("Null characters are not allowed.")
        return given


class _IdsField(_TextsField):
    """Likewise, as UUIDs; commas separate them too."""

    def clean(self, value: Any) -> list[UUID]:
        parts = [part for text in value or [] for part in text.split(",")]
        try:
            return [UUID(part) for part in super().clean(parts)]
        except ValueError:
            raise ValidationError("Must be a UUID, or several that are separated by commas.") from None


class _ReadField(forms.Field):
    """One value; `read` raises ValueError for a text that is none."""

    read: Callable[[str], Any]
    refusal: str

    def clean(self, value: Any) -> Any:
        if value is None:
            return None
        try:
            return self.read(value)
        except ValueError:
            raise ValidationError(self.refusal) from None


class _IdField(_ReadField):
    read = UUID
    refusal = "Must be a UUID."


class _MomentField(_ReadField):
    read = staticmethod(read_moment)
    refusal = NOT_A_TIME


@extend_schema_field(_TAG_SCHEMA)
class _TagsFilter(django_filters.Filter):  # type: ignore[misc]  # the library has no types
    field_class = _TextsField


@extend_schema_field(_IDS_SCHEMA)
class _IdsFilter(django_filters.Filter):  # type: ignore[misc]  # likewise
    field_class = _IdsField


@extend_schema_field(_ID_SCHEMA)
class _IdFilter(django_filters.Filter):  # type: ignore[misc]  # likewise
    field_class = _IdField


@extend_schema_field(_TEXT_SCHEMA)
class _TextFilter(django_filters.CharFilter):  # type: ignore[misc]  # likewise
    pass


@extend_schema_field(_MOMENT_SCHEMA)
class _MomentFilter(django_filters.Filter):  # type: ignore[misc]  # likewise
    field_class = _MomentField


def choices_filter(choices: Choices, **options: Any) -> Any:
    """A filter by one or more of these, as often in the query as needed."""
    names = [name for name, _ in choices]
    message = must_be_one_of(names)
    return django_filters.MultipleChoiceFilter(
        choices=list(choices),
        distinct=False,  # no filter joins a table; with DISTINCT all that is found would be sorted
        error_messages={"invalid_choice": message, "invalid_list": message, "invalid_pk_value": message},
        **options,
    )


def choice_filter(choices: Choices, **options: Any) -> Any:
    return django_filters.ChoiceFilter(
        choices=list(choices),
        empty_label=None,
        error_messages={"invalid_choice": must_be_one_of(name for name, _ in choices if name)},
        **options,
    )


class _GivenFilters(django_filters.FilterSet):  # type: ignore[misc]  # the library has no types
    """Makes the form of those filters alone that the query names: to make all of them takes longer than most queries.

    The others would let everything through.
    """

    base_filters: dict[str, Any]

    def __init__(self, data: Any = None, *args: Any, **kwargs: Any) -> None:
        self.base_filters = {name: made for name, made in self.base_filters.items() if name in (data or ())}
        super().__init__(data, *args, **kwargs)


class ExecutionFilter(_GivenFilters):
    status = choices_filter(ExecutionStatus.choices, help_text="One of these; repeat it for several.")

    class Meta:
        model = Execution
        fields: ClassVar[list[str]] = []


class TaskFilter(_GivenFilters):
    status = choices_filter(TaskStatus.choices, help_text="One of these; repeat it for several.")
    priority = choices_filter(
        TaskPriority.choices, method="by_priority", help_text="One of these; repeat it for several."
    )
    assignee = django_filters.CharFilter(
        method="by_assignee",
        help_text="An account's name; `me` is the caller, `nobody` finds tasks without an assignee.",
    )
    created_by = django_filters.CharFilter(
        method="by_maker", help_text="The account that created it; `me` is the caller."
    )
    tags = _TagsFilter(
        method="by_tags",
        most=_TAGS_MOST,
    )
    private = choice_filter(
        [("", "any"), ("true", "true"), ("false", "false")],
        method="by_privacy",
        help_text="Only private tasks, or only public ones.",
    )
    ready = choice_filter(
        [("", "any"), ("true", "true"), ("false", "false")],
        method="by_readiness",
        help_text="Only tasks that an agent may claim, or only others.",
    )
    stale = choice_filter(
        [("", "any"), ("true", "true"), ("false", "false")],
        method="by_staleness",
        help_text="Only tasks in progress that no agent seems to work on, or only others.",
    )
    waiting_for = choices_filter(
        [(name, name) for name in (*WAITING_FOR, ANYTHING)],
        method="by_need",
        help_text="What it needs of people; `any` of these. Repeat it for several.",
    )
    q = _TextFilter(method="by_text", max_length=200)
    ids = _IdsFilter(method="by_ids", most=_IDS_MOST)
    blocked_by = _IdFilter(method="by_blocker")
    updated_since = _MomentFilter(method="by_update")
    last_execution = choices_filter(
        ExecutionStatus.choices,
        method="by_last_execution",
        help_text="Status of the newest execution; repeat it for several.",
    )

    class Meta:
        model = Task
        fields: ClassVar[list[str]] = []

    def __init__(self, *args: Any, caller: Caller | None = None, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._caller: Caller | None = caller if caller is not None else getattr(self.request, "user", None)

    def by_priority(self, tasks: QuerySet[Task], name: str, value: list[str]) -> QuerySet[Task]:  # noqa: ARG002 - its interface
        return tasks_of_priority(tasks, value)

    def by_assignee(self, tasks: QuerySet[Task], name: str, value: str) -> QuerySet[Task]:
        if value == NOBODY:
            return tasks.filter(assignee="")
        return tasks.filter(assignee=self._account(name, value))

    def by_maker(self, tasks: QuerySet[Task], name: str, value: str) -> QuerySet[Task]:
        return tasks.filter(created_by=self._account(name, value))

    def _account(self, parameter: str, value: str) -> str:
        """The name of an account; `me` is the caller's. Raises NotAuthenticated."""
        if value != ME:
            return value
        if self._caller is None or not self._caller.is_authenticated:
            raise NotAuthenticated(f"{parameter}=me is the caller's account. Send Authorization: Bearer <token>.")
        return self._caller.get_username()

    def by_tags(self, tasks: QuerySet[Task], name: str, value: list[str]) -> QuerySet[Task]:  # noqa: ARG002 - its interface
        return tasks_tagged(tasks, value)

    def by_privacy(self, tasks: QuerySet[Task], name: str, value: str) -> QuerySet[Task]:  # noqa: ARG002 - its interface
        return tasks.filter(private=value == "true")

    def by_readiness(self, tasks: QuerySet[Task], name: str, value: str) -> QuerySet[Task]:  # noqa: ARG002 - its interface
        return tasks.filter(READY) if value == "true" else tasks.exclude(READY)

    def by_staleness(self, tasks: QuerySet[Task], name: str, value: str) -> QuerySet[Task]:  # noqa: ARG002 - its interface
        condition = stale_tasks(timezone.now())
        return tasks.filter(condition) if value == "true" else tasks.exclude(condition)

    def by_need(self, tasks: QuerySet[Task], name: str, value: list[str]) -> QuerySet[Task]:  # noqa: ARG002 - its interface
        names = list(WAITING_FOR) if ANYTHING in value else value
        return tasks_waiting_for(tasks, names) if names else tasks

    def by_text(self, tasks: QuerySet[Task], name: str, value: str) -> QuerySet[Task]:  # noqa: ARG002 - its interface
        return tasks_containing(tasks, value)

    def by_ids(self, tasks: QuerySet[Task], name: str, value: list[UUID]) -> QuerySet[Task]:  # noqa: ARG002 - its interface
        return tasks.filter(pk__in=value)

    def by_blocker(self, tasks: QuerySet[Task], name: str, value: UUID) -> QuerySet[Task]:  # noqa: ARG002 - its interface
        return tasks.filter(dependencies__blocker=value)

    def by_update(self, tasks: QuerySet[Task], name: str, value: datetime) -> QuerySet[Task]:  # noqa: ARG002 - its interface
        return tasks_updated_since(tasks, value)

    def by_last_execution(self, tasks: QuerySet[Task], name: str, value: list[str]) -> QuerySet[Task]:  # noqa: ARG002 - its interface
        return tasks_last_executed(tasks, value)


def filter_tasks(query: QueryDict, tasks: QuerySet[Task], caller: Caller) -> QuerySet[Task]:
    """Those that the filters of this query let through. Raises ValidationError, NotAuthenticated."""
    found = TaskFilter(data=query, queryset=tasks, caller=caller)
    if not found.is_valid():
        raise translate_validation(found.errors)
    filtered: QuerySet[Task] = found.qs
    return filtered
