"""Base classes of the admin: theme, read-only lists, links between rows, columns of times."""

from __future__ import annotations

import json
from collections.abc import Callable
from datetime import datetime
from functools import cache
from typing import Any, Final
from uuid import UUID

from django.conf import settings
from django.contrib import admin
from django.contrib.admin.helpers import ACTION_CHECKBOX_NAME
from django.contrib.auth.models import User
from django.db.models import CharField, DateTimeField, Model, QuerySet
from django.http import HttpRequest
from django.template.loader import render_to_string
from django.utils import timezone
from django.utils.formats import date_format
from django.utils.html import format_html
from django.utils.http import urlencode
from django.utils.safestring import SafeString
from django.utils.text import capfirst
from unfold.admin import ModelAdmin, checkbox

from taskhub.admin.list_pages import CountedPaginator, HubChangeList, list_address, row_address
from taskhub.auth.actor import Actor

NOTHING: Final = "-"
SHORT: Final = 9
"""Characters of an id in a column."""
COLUMN: Final = 28
"""Characters of other texts in a column, so that all columns are in sight at 1280 px."""


def actor_of(request: HttpRequest) -> Actor:
    """Only operators reach the admin."""
    return Actor(door="admin", user=request.user if isinstance(request.user, User) else None)


def row_link(model: str, pk: str | UUID | int | None, text: object = None) -> SafeString | str:
    """A link to a row's page; `model` is `app_name`. Empty without a key."""
    if not pk:
        return NOTHING
    return format_html('<a href="{}">{}</a>', row_address(model, pk), text or pk)


def list_link(model: str, text: object, **filters: str | UUID) -> SafeString:
    """A link to the rows of `model` that match the lookups, as `task_id__exact=…`."""
    return format_html(
        '<a href="{}?{}">{}</a>',
        list_address(model),
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


def read_id(text: str) -> UUID | None:
    """The id that a search names; None where it names text."""
    try:
        return UUID(text.strip())
    except ValueError:
        return None


def moment(value: datetime | None) -> str:
    """A time as `2026-11-26 14:03:07`, in the zone that the head of the column names."""
    return NOTHING if value is None else date_format(timezone.localtime(value), "Y-m-d H:i:s")


def _moment_column(field: DateTimeField[Any, Any]) -> Callable[[Model], str]:
    def shown(row: Model) -> str:
        return moment(getattr(row, field.name))

    shown.__name__ = field.name  # the class of the column's cells
    description = f"{capfirst(field.verbose_name)} ({settings.TIME_ZONE})"
    return admin.display(shown, description=description, ordering=field.name)


def _text_column(field: CharField[Any, Any]) -> Callable[[Model], SafeString | str]:
    def shown(row: Model) -> SafeString | str:
        return cut(getattr(row, field.name), COLUMN) or NOTHING

    shown.__name__ = field.name
    return admin.display(shown, description=capfirst(field.verbose_name), ordering=field.name)


def json_block(value: object) -> SafeString:
    """A JSON value as text. unfold would colour it by style attributes, which the content security policy forbids."""
    return format_html('<pre class="hub-text">{}</pre>', json.dumps(value, indent=2, ensure_ascii=False))


# As unfold renders it for each row by templates.
_CHECKBOX: Final = checkbox.render(ACTION_CHECKBOX_NAME, "{}")


@cache
def label(text: str, kind: str | None = None) -> SafeString:
    """A text in a coloured box: `kind` is info, success, warning or danger."""
    context = {"label": text, "label_type": kind, "multiple": False}
    return render_to_string("unfold/helpers/display_label.html", context)


def _column(field: Any) -> Callable[[Model], Any] | None:
    """How a column shows the field; None if as Django does."""
    if isinstance(field, DateTimeField):
        return _moment_column(field)
    return _text_column(field) if isinstance(field, CharField) and not field.choices else None


class HubModelAdmin(ModelAdmin):  # type: ignore[misc]  # unfold has no types
    list_per_page = 25
    list_max_show_all = 500
    list_fullwidth = True
    # One count per list is enough; the count without filters would be a second query.
    show_full_result_count = False
    # Facets count the rows of every choice of every filter.
    show_facets = admin.ShowFacets.NEVER
    paginator: type[CountedPaginator] = CountedPaginator
    list_before_template = "admin/among_newest.html"
    row_name = ""
    rows_name = ""
    """What people call a row, and several, where the model's names are another's."""
    what = ""
    """A sentence that an empty list shows: what stands here."""
    time_field = ""
    """Of a table that may be huge: the indexed time of its rows, by which the newest ones are told (`list_pages`)."""
    served_by_index: frozenset[str] = frozenset()
    """Parameters of filters that an index serves in the order of the list."""
    list_without: tuple[str, ...] = ()
    """Fields that may be long and that the list does not show."""

    @admin.display(description=ModelAdmin.action_checkbox.short_description)
    def action_checkbox(self, obj: Model) -> SafeString:
        return format_html(_CHECKBOX, obj.pk)

    def changelist_view(self, request: HttpRequest, extra_context: dict[str, Any] | None = None) -> Any:
        # Django's title is "Select task to view".
        title = capfirst(self.rows_name or str(self.opts.verbose_name_plural))
        return super().changelist_view(request, {"title": title, **(extra_context or {})})

    def get_search_results(
        self, request: HttpRequest, queryset: QuerySet[Any], search_term: str
    ) -> tuple[QuerySet[Any], bool]:
        found = self.search(queryset, search_term, read_id(search_term))
        if found is not None:
            return found, False
        rows, may_repeat = super().get_search_results(request, queryset, search_term)
        return rows, may_repeat

    def search(self, rows: QuerySet[Any], text: str, some_id: UUID | None) -> QuerySet[Any] | None:  # noqa: ARG002 - for subclasses
        """Those that are searched for: by the id that the text is, or by text. None: as Django does it."""
        return None

    def is_search_served(self, text: str) -> bool:
        """Whether an index serves the search for this text: that for an id."""
        return read_id(text) is not None

    def get_changelist(self, request: HttpRequest, **kwargs: Any) -> type[HubChangeList]:  # noqa: ARG002 - Django's interface
        return HubChangeList

    def get_list_display(self, request: HttpRequest) -> Any:
        """Times in one format, with the zone in the head; texts that are cut."""
        by_name = {field.name: field for field in self.opts.concrete_fields}
        return [_column(by_name.get(str(column))) or column for column in super().get_list_display(request)]


class ReadOnlyAdmin(HubModelAdmin):
    def has_add_permission(self, request: HttpRequest) -> bool:  # noqa: ARG002 - Django's interface
        return False

    def has_change_permission(self, request: HttpRequest, obj: Any = None) -> bool:  # noqa: ARG002 - likewise
        return False

    def has_delete_permission(self, request: HttpRequest, obj: Any = None) -> bool:  # noqa: ARG002 - likewise
        return False
