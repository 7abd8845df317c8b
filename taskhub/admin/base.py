"""Base classes of the admin: theme, read-only lists, counted pages, links between rows."""

from __future__ import annotations

import json
from typing import Any, Final, cast
from uuid import UUID

from django.contrib.admin.utils import quote
from django.contrib.auth.models import User
from django.core.paginator import Paginator
from django.db.models import QuerySet
from django.http import HttpRequest
from django.urls import reverse
from django.utils.functional import cached_property
from django.utils.html import format_html
from django.utils.http import urlencode
from django.utils.safestring import SafeString
from unfold.admin import ModelAdmin

from taskhub.auth.actor import Actor

NOTHING: Final = "-"
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


def json_block(value: object) -> SafeString:
    """A JSON value as text. unfold would colour it by style attributes, which the content security policy forbids."""
    return format_html('<pre class="hub-text">{}</pre>', json.dumps(value, indent=2, ensure_ascii=False))


class CountedPaginator(Paginator[Any]):
    """Counts at most `COUNT_LIMIT` rows: the table of events may be huge."""

    template_name = "admin/counted_pages.html"

    @cached_property
    def count(self) -> int:
        rows = cast("QuerySet[Any]", self.object_list)
        return rows.order_by()[:COUNT_LIMIT].count()

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


class ReadOnlyAdmin(HubModelAdmin):
    def has_add_permission(self, request: HttpRequest) -> bool:  # noqa: ARG002 - Django's interface
        return False

    def has_change_permission(self, request: HttpRequest, obj: Any = None) -> bool:  # noqa: ARG002 - likewise
        return False

    def has_delete_permission(self, request: HttpRequest, obj: Any = None) -> bool:  # noqa: ARG002 - likewise
        return False
