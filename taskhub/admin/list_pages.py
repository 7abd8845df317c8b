"""Pages of large lists: bounded counts, filters among the newest rows, dates by the rows' keys.

A table may have millions of rows. What an index serves in the order of the list is taken from all of them. Any other
filter, search or order looks among the newest `SOUGHT` rows, or the newest ones before the end of the date filter.
"""

from __future__ import annotations

from collections.abc import Iterable
from datetime import date, datetime, time, timedelta
from functools import cache
from typing import Any, Final, cast
from urllib.parse import quote as percent_encoded

from django.contrib.admin.options import IncorrectLookupParameters
from django.contrib.admin.utils import quote
from django.contrib.admin.views.main import IGNORED_PARAMS
from django.core.paginator import InvalidPage, Paginator
from django.db.models import AutoField, Model, QuerySet
from django.http import HttpRequest
from django.urls import reverse
from django.utils import timezone
from django.utils.functional import cached_property
from unfold.contrib.filters.admin import RangeDateFilter
from unfold.templatetags import unfold_list
from unfold.utils import parse_date_str
from unfold.views import ChangeList

COUNT_LIMIT: Final = 10_000
"""Rows of a list that are counted and can be paged through; older rows are found by filters."""
SOUGHT: Final = 25_000
"""Newest rows among which filters look that no index serves: for SQLite 20 to 70 ms of CPU."""
FOUND_LIMIT: Final = 1_000
"""Rows of such a filter that can be paged through."""


@cache
def list_address(model: str) -> str:
    """Of the list of `model`, which is `app_name`. A page asks for one or several addresses with each row."""
    return reverse(f"admin:{model}_changelist")


def row_address(model: str, pk: object) -> str:
    """Of a row's page, as `reverse` makes it."""
    return f"{list_address(model)}{percent_encoded(quote(str(pk)))}/change/"


_result_headers: Final = unfold_list.result_headers


def _headers_once(cl: Any) -> Iterable[Any]:
    """The columns' headings, which unfold asks for with each row: they are half of what a page costs."""
    if not isinstance(cl, HubChangeList):
        return _result_headers(cl)  # type: ignore[no-any-return]  # unfold has no types
    if cl.headers is None:
        cl.headers = list(_result_headers(cl))
    return cl.headers


unfold_list.result_headers = _headers_once


class CountedPaginator(Paginator[Any]):
    """Counts at most `most` rows: the table of events may be huge."""

    template_name = "admin/counted_pages.html"
    most = COUNT_LIMIT

    @cached_property
    def count(self) -> int:
        if isinstance(self.object_list, list):
            return len(self.object_list)
        rows = cast("QuerySet[Any]", self.object_list)
        # Without what the list computes for each row that it shows.
        return rows.order_by().values("pk")[: self.most].count()

    @property
    def is_cut(self) -> bool:
        """Whether there may be more than are counted."""
        return self.count == self.most


class HubChangeList(ChangeList):  # type: ignore[misc]  # unfold has no types
    """A page of a list. Where an index serves what is asked: one statement for the rows and a bounded count.

    Else one statement for the keys of all rows that match, among the newest ones of the table, and one for the rows.
    """

    root_queryset: QuerySet[Any]
    preserved_filters: str
    headers: list[Any] | None = None
    is_sought = False
    """Whether rows are sought among the newest ones alone."""
    sought = f"{SOUGHT:,}"
    leaves_out = False
    """Whether the table has older rows than those."""

    def __init__(self, request: HttpRequest, *args: Any, **kwargs: Any) -> None:
        super().__init__(request, *args, **kwargs)
        # Django would take the address of each row apart and resolve it, to add this.
        self._back_to_filters = f"?{self.preserved_filters}" if self.preserved_filters else ""
        self.preserved_filters = ""

    def url_for_result(self, result: Model) -> str:
        model = f"{self.opts.app_label}_{self.opts.model_name}"
        return f"{row_address(model, getattr(result, self.pk_attname))}{self._back_to_filters}"

    def get_queryset(self, request: HttpRequest, exclude_parameters: list[str | None] | None = None) -> QuerySet[Any]:
        time_field = self.model_admin.time_field
        if time_field and self._needs_a_scan():
            self.is_sought = True
            until = end_of_day(self.params.get(f"{time_field}_to"))
            self.root_queryset, self.leaves_out = newest(self.root_queryset, time_field, until)
        rows: QuerySet[Any] = super().get_queryset(request, exclude_parameters)
        return rows.defer(*self.model_admin.list_without) if self.model_admin.list_without else rows

    def _needs_a_scan(self) -> bool:
        """Whether there is a search, an order, or a filter that no index serves."""
        if "o" in self.params or (self.query and not self.model_admin.is_search_served(self.query)):
            return True
        served = {
            *self.model_admin.served_by_index,
            *(f"{self.model_admin.time_field}_{end}" for end in ("from", "to")),
        }
        given = {name for name, value in self.params.items() if value and name not in IGNORED_PARAMS}
        return not given <= served

    def get_results(self, request: HttpRequest) -> None:
        if not self.is_sought:
            super().get_results(request)
            return
        keys = list(self.queryset.values_list("pk", flat=True)[:FOUND_LIMIT])
        paginator = self.model_admin.get_paginator(request, keys, self.list_per_page)
        paginator.most = FOUND_LIMIT
        self.result_count = len(keys)
        self.multi_page = len(keys) > self.list_per_page
        self.can_show_all = len(keys) <= self.list_max_show_all
        if self.multi_page and not (self.show_all and self.can_show_all):
            try:
                keys = list(paginator.page(self.page_num).object_list)
            except InvalidPage:
                raise IncorrectLookupParameters from None
        self.result_list = self._rows_of(keys)
        self.paginator = paginator
        self.show_full_result_count, self.full_result_count = False, None
        self.show_admin_actions = True

    def _rows_of(self, keys: Iterable[Any]) -> QuerySet[Any]:
        """The rows with these keys, in the order of the list."""
        found: QuerySet[Any] = self.queryset.filter(pk__in=list(keys))
        return found


def newest(rows: QuerySet[Any], time_field: str, until: datetime | None) -> tuple[QuerySet[Any], bool]:
    """The newest `SOUGHT` rows, before `until` where it is given, and whether there are older ones.

    By the keys where they ascend with time: a condition on an indexed time could lead the database to sort all rows
    that fulfil it.
    """
    model = rows.model
    before = model._default_manager.filter(**({f"{time_field}__lt": until} if until else {}))  # noqa: SLF001 - Django's
    if ascends(model):
        last = before.order_by(f"-{time_field}" if until else "-pk").values_list("pk", flat=True).first() or 0
        first = last - SOUGHT
        return rows.filter(pk__gt=first, pk__lte=last), model._default_manager.filter(pk__lte=first).exists()  # noqa: SLF001 - likewise
    moments = before.order_by(f"-{time_field}").values_list(time_field, flat=True)
    oldest = list(moments[SOUGHT : SOUGHT + 1])
    if not oldest:
        return rows, False
    # With both ends, or SQLite would rather read all rows in the order that is asked for.
    return rows.filter(**{f"{time_field}__gt": oldest[0], f"{time_field}__lte": moments.first()}), True


def ascends(model: type[Model]) -> bool:
    """Whether the keys of the table are numbers that ascend with time."""
    return isinstance(model._meta.pk, AutoField)  # noqa: SLF001 - likewise


class DateFilter(RangeDateFilter):  # type: ignore[misc]  # likewise
    """From one day to another, both included, in the time zone of the settings.

    The rows of a table with ascending keys are picked by the keys of the first and the last one: see `newest`.
    """

    def queryset(self, request: HttpRequest, queryset: QuerySet[Any]) -> QuerySet[Any]:  # noqa: ARG002 - Django's interface
        first = start_of_day(self.used_parameters.get(f"{self.field_path}_from"))
        end = end_of_day(self.used_parameters.get(f"{self.field_path}_to"))
        if not ascends(queryset.model):
            return queryset.filter(**self._bounds(first, end))
        every = queryset.model._default_manager  # noqa: SLF001 - Django's name for it
        if first is not None:
            oldest = every.filter(**self._bounds(first, None)).order_by(self.field_path).values_list("pk", flat=True)
            queryset = queryset.filter(pk__gte=key) if (key := oldest.first()) is not None else queryset.none()
        if end is not None:
            latest = (
                every.filter(**self._bounds(None, end)).order_by(f"-{self.field_path}").values_list("pk", flat=True)
            )
            queryset = queryset.filter(pk__lte=key) if (key := latest.first()) is not None else queryset.none()
        return queryset

    def _bounds(self, first: datetime | None, end: datetime | None) -> dict[str, datetime]:
        bounds = {f"{self.field_path}__gte": first, f"{self.field_path}__lt": end}
        return {lookup: moment for lookup, moment in bounds.items() if moment is not None}


def start_of_day(text: Any) -> datetime | None:
    """Midnight at the beginning of a day that is written as a form takes it; None if it is no day."""
    day: date | None = parse_date_str(text) if text else None
    return None if day is None else timezone.make_aware(datetime.combine(day, time()))


def end_of_day(text: Any) -> datetime | None:
    """Midnight at its end."""
    day: date | None = parse_date_str(text) if text else None
    if day is None or day == date.max:
        return None
    return timezone.make_aware(datetime.combine(day + timedelta(days=1), time()))
