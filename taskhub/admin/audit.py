"""Audit entries: list and detail."""

from __future__ import annotations

from typing import Any, get_args
from uuid import UUID

from django.contrib import admin
from django.db.models import QuerySet
from django.http import HttpRequest
from django.utils.safestring import SafeString
from unfold.contrib.filters.admin import FieldTextFilter

from taskhub.admin.base import NOTHING, ReadOnlyAdmin, cut, json_block, read_id, row_link, short_id
from taskhub.admin.list_pages import DateFilter
from taskhub.admin.titles import TitledRows, titled_link
from taskhub.models import AuditEntry
from taskhub.roles import Door
from taskhub.selectors.audit import entries_of_id, entries_searched, is_task_audited


class DoorFilter(admin.SimpleListFilter):
    """The interfaces are known: the table is not asked which ones it has."""

    title = "interface"
    parameter_name = "door__exact"

    def lookups(self, request: HttpRequest, model_admin: Any) -> list[tuple[str, str]]:  # noqa: ARG002 - Django's interface
        return [(door, door) for door in get_args(Door)]

    def queryset(self, request: HttpRequest, queryset: QuerySet[AuditEntry]) -> QuerySet[AuditEntry]:  # noqa: ARG002 - likewise
        return queryset.filter(door=self.value()) if self.value() else queryset


@admin.register(AuditEntry)
class AuditEntryAdmin(TitledRows, ReadOnlyAdmin):
    what = "Every change of a task, execution, sandbox, account or token writes an entry here."
    list_display = ["at", "actor_name", "action", "task", "about", "interface", "short_token"]
    list_filter = [DoorFilter, ("action", FieldTextFilter), ("at", DateFilter)]
    list_filter_submit = True
    time_field = "at"
    list_without = ("changes",)
    search_fields = ["subject"]
    search_help_text = "The id of a task, execution or token, or text in an actor, token, sandbox or other subject."
    readonly_fields = ["task", "execution", "sandbox", "shown_changes"]
    exclude = ["task_id", "execution_id", "sandbox_id", "changes"]

    def is_search_served(self, text: str) -> bool:
        some_id = read_id(text)
        return some_id is not None and is_task_audited(some_id)

    def search(self, rows: QuerySet[AuditEntry], text: str, some_id: UUID | None) -> QuerySet[AuditEntry]:
        return entries_of_id(rows, some_id) if some_id else entries_searched(rows, text)

    # The rows may be deleted: an entry outlives its object, and the link then says so.

    @admin.display(ordering="task_id")
    def task(self, entry: AuditEntry) -> SafeString | str:
        return titled_link(entry, entry.task_id)

    @admin.display(description="Execution, sandbox or other")
    def about(self, entry: AuditEntry) -> SafeString | str:
        if entry.execution_id:
            return row_link("taskhub_execution", entry.execution_id, f"execution {short_id(entry.execution_id)}")
        if entry.sandbox_id:
            return row_link("sandboxes_sandbox", entry.sandbox_id, f"sandbox {short_id(entry.sandbox_id)}")
        return cut(entry.subject, 30) or NOTHING

    @admin.display(description="Interface", ordering="door")
    def interface(self, entry: AuditEntry) -> str:
        return entry.door

    @admin.display(description="Token", ordering="token_name")
    def short_token(self, entry: AuditEntry) -> SafeString | str:
        return cut(entry.token_name, 20) or NOTHING

    @admin.display(ordering="execution_id")
    def execution(self, entry: AuditEntry) -> SafeString | str:
        return row_link("taskhub_execution", entry.execution_id)

    @admin.display(ordering="sandbox_id")
    def sandbox(self, entry: AuditEntry) -> SafeString | str:
        # A page of another app, which may not be installed.
        return row_link("sandboxes_sandbox", entry.sandbox_id)

    @admin.display(description="Changes: before, after")
    def shown_changes(self, entry: AuditEntry) -> SafeString:
        return json_block(entry.changes)
