"""Base classes of the admin: theme, read-only lists, counted pages, links between rows."""

from __future__ import annotations

import json
from collections.abc import Callable
from datetime import datetime
from typing import Any, Final, cast
from uuid import UUID

from django.conf import settings
from django.contrib import admin
from django.contrib.admin.utils import quote
from django.contrib.auth.models import User
from django.core.paginator import Paginator
from django.db.models import DateTimeField, Model, QuerySet
from django.http import HttpRequest
from django.urls import reverse
from django.utils import timezone
from django.utils.formats import date_format
from django.utils.functional import cached_property
from django.utils.html import format_html
from django.utils.http import urlencode
from django.utils.safestring import SafeString
from django.utils.text import capfirst
from unfold.admin import ModelAdmin

from taskhub.auth.actor import Actor

NOTHING: Final = "-"
SHORT: Final = 9
"""Characters of an id in a column."""
COUNT_LIMIT: Final = 10_000
"""Rows of a list that are counted and can be paged through; older rows are found by filters."""


def actor_of(request: HttpRequest) -> Actor:
    """Only operators reach the admin."""
    return Actor(door="admin", user=request.user if isinstance(request.user, User) else None)


def row_link(model: str, pk: str | UUID | int | None, text: object = None) -> SafeString | str:
    """A link to a row's page; `model` is `app_name`. Empty without a key."""
    if not pk:
        return NOTHING
    return format_html('<a href="{}">{}</a>', reverse(f"admin:{model}_change", args=[quote(pk)]), text or pk)


def list_link(model: str, text: object, **filters: str | UUID) -> SafeString:
    """A link to the rows of `model` that match the lookups, as `task_id__exact=…`."""
    return format_html(
        '<a href="{}?{}">{}</a>',
        reverse(f"admin:{model}_changelist"),
        urlencode({name: str(value) for name, value in filters.items()}),
        text,
    )


def cut(text: object, most: int = 48) -> SafeString | str:
    """A text for a column: at most `most` characters, the whole one as its title."""
    whole = str(text)
    if len(whole) <= most:
        return whole
    return format_html('<span title="{}">{}…</span>', whole, whole[: most - 1].rstrip())


def short_id(pk: object) -> str:
    """The beginning of an id, for a column that links to the row."""
    text = str(pk)
    return text if len(text) <= SHORT else f"{text[: SHORT - 1]}…"


def moment(value: datetime | None) -> str:
    """A time as `2026-11-26 14:03:07`, in the zone that the head of the column names."""
    return NOTHING if value is None else date_format(timezone.localtime(value), "Y-m-d H:i:s")


def _moment_column(field: DateTimeField[Any, Any]) -> Callable[[Model], str]:
    def shown(row: Model) -> str:
        return moment(getattr(row, field.name))

    shown.__name__ = field.name  # the class of the column's cells
    description = f"{capfirst(field.verbose_name)} ({settings.TIME_ZONE})"
    return admin.display(shown, description=description, ordering=field.name)


def json_block(value: object) -> SafeString:
    """A JSON value as text. unfold would colour it by style attributes, which the content security policy forbids."""
    return format_html('<pre class="hub-text">{}</pre>', json.dumps(value, indent=2, ensure_ascii=False))


class CountedPaginator(Paginator[Any]):
    """Counts at most `COUNT_LIMIT` rows: the table of events may be huge."""

    template_name = "admin/counted_pages.html"

    @cached_property
    def count(self) -> int:
        rows = cast("QuerySet[Any]", self.object_list)
        # Without what the list computes for each row that it shows.
        return rows.order_by().values("pk")[:COUNT_LIMIT].count()

    @property
    def is_cut(self) -> bool:
        """Whether there may be more than are counted."""
        return self.count == COUNT_LIMIT


class HubModelAdmin(ModelAdmin):  # type: ignore[misc]  # unfold has no types
    list_per_page = 50
    list_max_show_all = 500
    list_fullwidth = True
    # One count per list is enough; the count without filters would be a second query.
    show_full_result_count = False
    paginator: type[Paginator[Any]] = CountedPaginator
    what = ""
    """A sentence that an empty list shows: what stands here."""

    def get_list_display(self, request: HttpRequest) -> Any:
        """Times in one format, with the zone in the head."""
        by_name = {field.name: field for field in self.opts.concrete_fields}
        return [
            _moment_column(field) if isinstance(field := by_name.get(str(column)), DateTimeField) else column
            for column in super().get_list_display(request)
        ]


class ReadOnlyAdmin(HubModelAdmin):
    def has_add_permission(self, request: HttpRequest) -> bool:  # noqa: ARG002 - Django's interface
        return False

    def has_change_permission(self, request: HttpRequest, obj: Any = None) -> bool:  # noqa: ARG002 - likewise
        return False

    def has_delete_permission(self, request: HttpRequest, obj: Any = None) -> bool:  # noqa: ARG002 - likewise
        return False
