"""Audit entries: list and detail."""

from __future__ import annotations

from django.contrib import admin
from django.utils.safestring import SafeString

from taskhub.admin.base import ReadOnlyAdmin, json_block, row_link
from taskhub.models import AuditEntry


@admin.register(AuditEntry)
class AuditEntryAdmin(ReadOnlyAdmin):
    list_display = ["at", "actor_name", "door", "token_name", "action", "task", "execution", "sandbox", "subject"]
    list_filter = ["door", "action", ("at", admin.DateFieldListFilter)]
    search_fields = ["actor_name", "token_name", "token_id", "task_id", "execution_id", "sandbox_id", "subject"]
    date_hierarchy = "at"
    readonly_fields = ["task", "execution", "sandbox", "shown_changes"]
    exclude = ["task_id", "execution_id", "sandbox_id", "changes"]

    # The rows may be deleted: an entry outlives its object, and the link then says so.

    @admin.display(ordering="task_id")
    def task(self, entry: AuditEntry) -> SafeString | str:
        return row_link("taskhub_task", entry.task_id)

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
