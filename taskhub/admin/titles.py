"""Titles of the tasks that the rows of a list are about, read for the whole page at once."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final

from django.http import HttpRequest
from django.utils.safestring import SafeString

from taskhub.admin.base import HubModelAdmin, cut, row_link, short_id
from taskhub.models import Task

TASK_WITHOUT: Final = ("description", "folded_text", "tags", "artifacts", "verify")
"""Fields of a task that no list shows, and that may be long."""


class TitledRows(HubModelAdmin):
    """A list whose column names tasks by their titles. A deleted task has none left: its short id stands for it."""

    task_of: Callable[[Any], Any] = staticmethod(lambda row: row.task_id)

    def get_changelist_instance(self, request: HttpRequest) -> Any:
        page = super().get_changelist_instance(request)
        ids = {str(task_id) for row in page.result_list if (task_id := type(self).task_of(row))}
        found = Task.objects.filter(pk__in=ids).order_by().values_list("pk", "title") if ids else ()
        titles = {str(pk): title for pk, title in found}
        for row in page.result_list:
            row.task_title = titles.get(str(type(self).task_of(row)), "")
        return page


def titled_link(row: Any, task_id: Any) -> SafeString | str:
    """A link to the row's task, named by its title where the list has read it."""
    return row_link("taskhub_task", task_id, cut(getattr(row, "task_title", ""), 36) or short_id(task_id))
