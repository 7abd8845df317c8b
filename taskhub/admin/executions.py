"""Executions: list, detail, stop."""

from __future__ import annotations

from datetime import timedelta
from typing import Any, Final
from uuid import UUID

from django.contrib import admin
from django.db.models import QuerySet
from django.http import HttpRequest
from django.urls import reverse
from django.utils import timezone
from django.utils.html import format_html, format_html_join
from django.utils.safestring import SafeString

from taskhub.admin.actions import ActingAdmin
from taskhub.admin.base import NOTHING, actor_of, cut, label, row_link, short_id
from taskhub.admin.list_pages import DateFilter
from taskhub.admin.titles import TASK_WITHOUT
from taskhub.errors import Conflict
from taskhub.models import Execution, ExecutionStatus
from taskhub.selectors.admission import positions, waiting_of
from taskhub.selectors.executions import executions_of_id, executions_searched
from taskhub.services.executions import execution_request_stop

LABELS: Final = {
    ExecutionStatus.STARTING.value: "info",
    ExecutionStatus.RUNNING.value: "info",
    ExecutionStatus.COMPLETED.value: "success",
    ExecutionStatus.FAILED.value: "danger",
    ExecutionStatus.STOPPED.value: "warning",
    ExecutionStatus.TIMED_OUT.value: "danger",
    ExecutionStatus.LOST.value: "danger",
}


@admin.register(Execution)
class ExecutionAdmin(ActingAdmin):
    what = "An execution runs a task's script in a sandbox."
    list_display = [
        *("short", "shown_status", "for_task", "state", "result", "sandbox", "queued_at", "took"),
    ]
    list_filter = ["status", "kind", "verdict", ("error_code", admin.EmptyFieldListFilter), ("queued_at", DateFilter)]
    list_filter_submit = True
    time_field = "queued_at"
    served_by_index = frozenset({"status__exact", "task__id__exact", "sandbox_id__exact"})
    list_without = ("script", "env", "secret_env", "error_detail", *(f"task__{field}" for field in TASK_WITHOUT))
    search_fields = ["sandbox_id"]
    search_help_text = "The id of an execution or a task, or text in a task's title or a sandbox's id."
    list_select_related = ["task"]
    # The environments may hold secrets, and so may the token of the log's marks.
    fieldsets = [
        ("What ran", {"fields": ["whole_task", "kind", "script", "account", "timeout_s", "merge_output", "all_files"]}),
        (
            "How it went",
            {
                "fields": [
                    *(
                        "shown_status",
                        "verdict",
                        "checked_run",
                        "state",
                        "exit_code",
                        "error_code",
                        "error_message",
                        "service_says",
                        "log",
                        "files",
                    ),
                    *("artifacts_left_out", "took", "queued_at", "started_at", "finished_at"),
                ]
            },
        ),
        (
            "Inside",
            {
                "fields": [
                    *(
                        "id",
                        "runs_in",
                        "commit",
                        "whole_sandbox",
                        "requested_sandbox_id",
                        "session_name",
                        "command_id",
                        "log_file",
                    ),
                    *("log_lines", "log_truncated", "waiting_reason", "waiting_since", "admitted_at", "attempts"),
                    *("stop_requested_at", "leftover", "released_at", "fence", "lease_until", "was_private"),
                ]
            },
        ),
    ]
    readonly_fields = [
        "verdict",
        "checked_run",
        "runs_in",
        "commit",
        "service_says",
        "whole_task",
        "shown_status",
        "state",
        "log",
        "files",
        "took",
        "whole_sandbox",
    ]
    actions = ["stop"]
    dangerous = ("stop",)

    def search(self, rows: QuerySet[Execution], text: str, some_id: UUID | None) -> QuerySet[Execution]:
        return executions_of_id(rows, some_id) if some_id else executions_searched(rows, text)

    def applies(self, action: str, row: Execution) -> bool:
        return row.is_active if action == "stop" else True

    @admin.display
    def result(self, execution: Execution) -> str:
        """What a verification says, why it failed, else its exit code."""
        if execution.verdict:
            return f"verification {execution.verdict}"
        return execution.error_code or (NOTHING if execution.exit_code is None else f"exit code {execution.exit_code}")

    @admin.display(description="Execution")
    def short(self, execution: Execution) -> str:
        return short_id(execution.pk)

    @admin.display(description="Task")
    def whole_task(self, execution: Execution) -> SafeString | str:
        return row_link("taskhub_task", execution.task_id, execution.task)

    @admin.display(description="Environment")
    def runs_in(self, execution: Execution) -> SafeString | str:
        """With its version; a deleted one has no page."""
        version = execution.environment
        if version is None:
            return NOTHING
        text = f"{version.name}, version {version.number}"
        is_there = version.environment.deleted_at is None
        return row_link("taskhub_environment", version.environment_id, text) if is_there else text

    @admin.display(description="The sandbox service says")
    def service_says(self, execution: Execution) -> SafeString | str:
        """Of a build that failed, its last lines."""
        said = execution.error_detail
        return format_html("<pre>{}</pre>", said) if said else NOTHING

    @admin.display(description="Checks the execution")
    def checked_run(self, execution: Execution) -> SafeString | str:
        """Of a verification: the run whose files it checks."""
        return row_link("taskhub_execution", execution.checks_id) if execution.checks_id else NOTHING

    @admin.display(description="Sandbox")
    def whole_sandbox(self, execution: Execution) -> SafeString | str:
        return row_link("sandboxes_sandbox", execution.sandbox_id)

    @admin.display
    def log(self, execution: Execution) -> SafeString | str:
        """Links to the task's page, which shows it live, and to its last lines."""
        if execution.task_id is None:
            return NOTHING
        page = reverse("task-page", args=[execution.task_id])
        tail = f"{reverse('exec-logs', args=[execution.task_id])}?execution_id={execution.pk}&tail=1000"
        return format_html('<a href="{}">on the task\'s page</a>, <a href="{}">the last 1000 lines</a>', page, tail)

    @admin.display(description="Task")
    def for_task(self, execution: Execution) -> SafeString | str:
        return row_link("taskhub_task", execution.task_id, cut(execution.task, 36))

    @admin.display(description="Status", ordering="status")
    def shown_status(self, execution: Execution) -> SafeString:
        return label(execution.get_status_display(), LABELS.get(execution.status))

    def get_changelist_instance(self, request: HttpRequest) -> Any:
        """With the positions in the queue of all rows of the page, looked up together."""
        page = super().get_changelist_instance(request)
        places = positions(row.pk for row in page.result_list if row.status == ExecutionStatus.QUEUED)
        for row in page.result_list:
            row.places = places
        return page

    @admin.display
    def state(self, execution: Execution) -> str:
        """Why it waits and its position in the queue, or as what it is being ended."""
        if execution.shown_ending:
            return f"being ended: {ExecutionStatus(execution.shown_ending).label.lower()}"
        waiting = waiting_of(execution, getattr(execution, "places", None))
        if waiting is None:
            return execution.get_leftover_display() if execution.leftover else NOTHING
        place = "" if waiting.position is None else f", position {waiting.position}"
        return f"{execution.get_waiting_reason_display()}{place}"

    @admin.display(ordering="sandbox_id")
    def sandbox(self, execution: Execution) -> SafeString | str:
        return row_link("sandboxes_sandbox", execution.sandbox_id, short_id(execution.sandbox_id))

    @admin.display
    def files(self, execution: Execution) -> SafeString | str:
        """Links to download the artifacts."""
        if execution.task_id is None:
            return NOTHING  # they are downloaded by their task
        kept = [
            (reverse("exec-artifact", args=[execution.task_id, artifact.pk]), artifact.path, artifact.size)
            for artifact in execution.artifacts.all()
        ]
        return format_html_join(SafeString("<br>"), '<a href="{}">{}</a> ({} bytes)', kept) or NOTHING

    @admin.display
    def took(self, execution: Execution) -> str:
        """How long it ran, or has been running."""
        if execution.started_at is None:
            return NOTHING
        took = (execution.finished_at or timezone.now()) - execution.started_at
        return str(timedelta(seconds=round(took.total_seconds())))

    @admin.action(description="Stop")
    def stop(self, request: HttpRequest, executions: QuerySet[Execution]) -> None:
        def stop(execution: Execution) -> None:
            if execution.task_id is None:
                raise Conflict("Its task was deleted; the execution has ended.", code="execution_not_active")
            execution_request_stop(actor=actor_of(request), task_id=execution.task_id, execution_id=execution.pk)

        self.act_on_each(request, executions, stop, "being stopped")
