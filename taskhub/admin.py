"""The admin: a view of what is there. It writes nothing; only services do."""

from __future__ import annotations

from typing import Any

from django.contrib import admin
from django.http import HttpRequest

from taskhub.models import ApiToken, AuditEntry, Execution, Task


class ReadOnlyAdmin(admin.ModelAdmin[Any]):
    def has_add_permission(self, request: HttpRequest) -> bool:  # noqa: ARG002 - Django's interface
        return False

    def has_change_permission(self, request: HttpRequest, obj: Any = None) -> bool:  # noqa: ARG002 - likewise
        return False

    def has_delete_permission(self, request: HttpRequest, obj: Any = None) -> bool:  # noqa: ARG002 - likewise
        return False


@admin.register(Task)
class TaskAdmin(ReadOnlyAdmin):
    list_display = ["title", "status", "priority", "assignee", "updated_at"]
    list_filter = ["status", "priority"]
    search_fields = ["title", "description", "assignee"]
    date_hierarchy = "created_at"


@admin.register(Execution)
class ExecutionAdmin(ReadOnlyAdmin):
    list_display = ["session_name", "task", "status", "exit_code", "sandbox_id", "queued_at", "finished_at"]
    list_filter = ["status"]
    search_fields = ["id", "sandbox_id", "task__title"]
    list_select_related = ["task"]
    # The environment may hold secrets.
    exclude = ["env"]


@admin.register(AuditEntry)
class AuditEntryAdmin(ReadOnlyAdmin):
    list_display = ["at", "actor_name", "door", "action", "task_id", "execution_id"]
    list_filter = ["door", "action"]
    search_fields = ["actor_name", "task_id", "execution_id"]


@admin.register(ApiToken)
class ApiTokenAdmin(ReadOnlyAdmin):
    """A token can be deleted here: it is worth nothing from then on."""

    list_display = ["name", "user", "created", "expiry"]
    list_select_related = ["user"]
    exclude = ["digest"]

    def has_delete_permission(self, request: HttpRequest, obj: ApiToken | None = None) -> bool:  # noqa: ARG002 - Django's
        return bool(request.user.is_active and request.user.is_staff and request.user.is_superuser)
