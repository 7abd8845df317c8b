"""Titles of the tasks that the rows of a list are about, read for the whole page at once."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from django.http import HttpRequest
from django.utils.safestring import SafeString

from taskhub.admin.base import HubModelAdmin, cut, row_link, short_id
from taskhub.models import Task


class TitledRows(HubModelAdmin):
    """A list whose column names tasks by their titles. A deleted task has none left: its short id stands for it."""

    task_of: Callable[[Any], Any] = staticmethod(lambda row: row.task_id)

    def get_changelist_instance(self, request: HttpRequest) -> Any:
        page = super().get_changelist_instance(request)
        ids = {str(task_id) for row in page.result_list if (task_id := type(self).task_of(row))}
        titles = dict(Task.objects.filter(pk__in=ids).values_list("pk", "title"))
        for row in page.result_list:
            row.task_title = titles_of(titles, type(self).task_of(row))
        return page


def titles_of(titles: dict[Any, str], task_id: Any) -> str:
    return next((title for pk, title in titles.items() if str(pk) == str(task_id)), "")


def titled_link(row: Any, task_id: Any) -> SafeString | str:
    """A link to the row's task, named by its title where the list has read it."""
    return row_link("taskhub_task", task_id, cut(getattr(row, "task_title", ""), 36) or short_id(task_id))
