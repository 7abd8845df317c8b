"""Tasks: list, run, stop, change the status."""

from __future__ import annotations

from typing import Any, Final
from uuid import UUID

from django import forms
from django.contrib import admin
from django.db.models import QuerySet
from django.http import HttpRequest, HttpResponse
from django.utils.safestring import SafeString
from unfold.contrib.filters.admin import TextFilter
from unfold.widgets import (
    UnfoldAdminIntegerFieldWidget,
    UnfoldAdminSelectWidget,
    UnfoldAdminTextareaWidget,
    UnfoldAdminTextInputWidget,
    UnfoldBooleanSwitchWidget,
)

from taskhub.admin.actions import ActingAdmin
from taskhub.admin.base import NOTHING, actor_of, cut, json_block, label, list_link, moment, row_link
from taskhub.admin.list_pages import DateFilter
from taskhub.admin.titles import TASK_WITHOUT
from taskhub.models import ACTIVE_STATUSES, ExecutionStatus, Task, TaskStatus
from taskhub.models.task import OVERRIDE_LENGTH
from taskhub.selectors.executions import Runs, runs_of
from taskhub.selectors.tasks import tasks_last_executed, tasks_searched, tasks_tagged
from taskhub.services.claims import task_release
from taskhub.services.executions import execution_queue, execution_request_stop
from taskhub.services.tasks import task_update
from taskhub.services.verifications import verification_request

MOST_S: Final = 86_400
LABELS: Final = {
    TaskStatus.INPROGRESS.value: "info",
    TaskStatus.REVIEW.value: "warning",
    TaskStatus.DONE.value: "success",
}


class RunForm(forms.Form):
    script = forms.CharField(
        required=False,
        strip=False,
        widget=UnfoldAdminTextareaWidget(attrs={"rows": 10, "spellcheck": "false"}),
        help_text="Run with bash. Empty: the first bash block of the task's description.",
    )
    timeout_s = forms.IntegerField(
        label="Timeout, in seconds",
        required=False,
        min_value=1,
        max_value=MOST_S,
        widget=UnfoldAdminIntegerFieldWidget,
        help_text="Empty: the default of the settings.",
    )
    sandbox_id = forms.CharField(
        label="Sandbox",
        required=False,
        max_length=200,
        widget=UnfoldAdminTextInputWidget,
        help_text="The id of an existing sandbox. Empty: a new one.",
    )


class StatusForm(forms.Form):
    status = forms.ChoiceField(choices=TaskStatus.choices, widget=UnfoldAdminSelectWidget)
    override_reason = forms.CharField(
        label="Override",
        required=False,
        max_length=OVERRIDE_LENGTH,
        widget=UnfoldAdminTextInputWidget,
        help_text="Why a task that needs a passed verification is done without one. It is kept and shown.",
    )


class VerifyForm(forms.Form):
    again = forms.BooleanField(
        required=False, widget=UnfoldBooleanSwitchWidget, help_text="Also where a verdict stands."
    )


class AssigneeFilter(TextFilter):  # type: ignore[misc]  # unfold has no types
    title = "assignee"
    parameter_name = "assignee"

    def queryset(self, request: HttpRequest, queryset: QuerySet[Task]) -> QuerySet[Task]:  # noqa: ARG002 - Django's interface
        return queryset.filter(assignee=self.value()) if self.value() else queryset


class TagFilter(TextFilter):  # type: ignore[misc]  # likewise
    title = "tag"
    parameter_name = "tag"

    def queryset(self, request: HttpRequest, queryset: QuerySet[Task]) -> QuerySet[Task]:  # noqa: ARG002 - likewise
        return tasks_tagged(queryset, [self.value()]) if self.value() else queryset


class LastExecutionFilter(admin.SimpleListFilter):
    title = "last execution"
    parameter_name = "last_execution"

    def lookups(self, request: HttpRequest, model_admin: Any) -> list[tuple[str, str]]:  # noqa: ARG002 - likewise
        return [(status.value, status.label) for status in ExecutionStatus]

    def queryset(self, request: HttpRequest, queryset: QuerySet[Task]) -> QuerySet[Task]:  # noqa: ARG002 - likewise
        chosen = self.value()
        return tasks_last_executed(queryset, [chosen]) if chosen in ExecutionStatus.values else queryset


def _runs(task: Task) -> Runs:
    known: Runs = getattr(task, "runs_known", None) or runs_of([task.pk])[task.pk]
    return known


@admin.register(Task)
class TaskAdmin(ActingAdmin):
    what = "Tasks are made on the board, over REST and by agents over MCP."
    list_display = [
        "short_title",
        "shown_status",
        "priority",
        "short_assignee",
        "held_by",
        "who_sees",
        "runs",
        "last_run",
        "updated_at",
    ]
    list_filter = [
        *(
            "status",
            "priority",
            "private",
            "held_back",
            "verify_policy",
            "verified",
            AssigneeFilter,
            TagFilter,
            LastExecutionFilter,
        ),
        ("created_at", DateFilter),
    ]
    list_filter_submit = True
    time_field = "created_at"
    served_by_index = frozenset({"status__exact", "assignee"})
    list_without = TASK_WITHOUT
    search_fields = ["title"]
    search_help_text = "An id, or text in title, description or assignee."
    readonly_fields = [
        *("shown_tags", "shown_artifacts", "runs", "last_run"),
        *("created_by", "holder", "held_back", "attempts", "failures", "open_blockers"),
        *("runs_in", "verification", "override_reason"),
    ]
    exclude = ["tags", "artifacts"]
    actions = ["run", "stop", "verify", "change_status", "release"]
    dangerous = ("stop",)

    def applies(self, action: str, row: Task) -> bool:
        is_active = row.executions.filter(status__in=ACTIVE_STATUSES).exists()
        is_held = bool(row.holder) or row.held_back
        return {"run": not is_active, "stop": is_active, "release": is_held}.get(action, True)

    @admin.display(description="Title", ordering="title")
    def short_title(self, task: Task) -> SafeString | str:
        return cut(task.title)

    @admin.display(description="Assignee", ordering="assignee")
    def short_assignee(self, task: Task) -> SafeString | str:
        return cut(task.assignee, 20) or NOTHING

    @admin.display(description="Held by", ordering="holder")
    def held_by(self, task: Task) -> SafeString | str:
        return "held back" if task.held_back else cut(task.holder, 20) or NOTHING

    def search(self, rows: QuerySet[Task], text: str, some_id: UUID | None) -> QuerySet[Task]:
        return rows.filter(pk=some_id) if some_id else tasks_searched(rows, text)

    def get_changelist_instance(self, request: HttpRequest) -> Any:
        """With the executions of all tasks of the page, looked up together."""
        page = super().get_changelist_instance(request)
        page.result_list = list(page.result_list)
        known = runs_of(task.pk for task in page.result_list)
        for task in page.result_list:
            task.runs_known = known[task.pk]
        return page

    @admin.display(description="Status", ordering="status")
    def shown_status(self, task: Task) -> SafeString:
        return label(task.get_status_display(), LABELS.get(task.status))

    @admin.display(description="Private", ordering="private")
    def who_sees(self, task: Task) -> str:
        return "private" if task.private else ""

    @admin.display(description="Tags")
    def shown_tags(self, task: Task) -> str:
        return ", ".join(map(str, task.tags))

    @admin.display(description="Artifacts")
    def shown_artifacts(self, task: Task) -> SafeString:
        return json_block(task.artifacts)

    @admin.display(description="Executions")
    def runs(self, task: Task) -> SafeString:
        return list_link("taskhub_execution", _runs(task).count, task__id__exact=task.pk)

    @admin.display(description="Last execution")
    def last_run(self, task: Task) -> str:
        status = _runs(task).last_status
        return ExecutionStatus(status).label if status else NOTHING

    @admin.action(description="Run…")
    def run(self, request: HttpRequest, tasks: QuerySet[Task]) -> HttpResponse | None:
        answers = self.ask(request, tasks, RunForm, title="Run a script for these tasks", button="Run")
        if isinstance(answers, HttpResponse):
            return answers

        def run(task: Task) -> None:
            execution_queue(
                actor=actor_of(request),
                task_id=task.pk,
                script=answers["script"].replace("\r\n", "\n") or None,
                sandbox_id=answers["sandbox_id"],
                timeout_s=answers["timeout_s"],
            )

        self.act_on_each(request, tasks, run, "queued")
        return None

    @admin.action(description="Stop")
    def stop(self, request: HttpRequest, tasks: QuerySet[Task]) -> None:
        def stop(task: Task) -> None:
            execution_request_stop(actor=actor_of(request), task_id=task.pk)

        self.act_on_each(request, tasks, stop, "being stopped")

    @admin.action(description="Verify…")
    def verify(self, request: HttpRequest, tasks: QuerySet[Task]) -> HttpResponse | None:
        answers = self.ask(request, tasks, VerifyForm, title="Verify the work on these tasks", button="Verify")
        if isinstance(answers, HttpResponse):
            return answers

        def verify(task: Task) -> None:
            verification_request(actor=actor_of(request), task_id=task.pk, again=answers["again"])

        self.act_on_each(request, tasks, verify, "verified, or being verified")
        return None

    @admin.display(description="Environment")
    def runs_in(self, task: Task) -> SafeString | str:
        """What its executions run in that name no other one."""
        if task.environment is None:
            return NOTHING
        return row_link("taskhub_environment", task.environment_id, task.environment.name)

    @admin.display(description="Verified")
    def verification(self, task: Task) -> SafeString | str:
        """The verdict that stands, with a link to the verification."""
        if not task.verified or task.verified_by is None:
            return NOTHING
        told = f"{task.get_verified_display()}, {moment(task.verified_by.finished_at)}"
        return row_link("taskhub_execution", task.verified_by_id, told)

    @admin.action(description="Release")
    def release(self, request: HttpRequest, tasks: QuerySet[Task]) -> None:
        def release(task: Task) -> None:
            task_release(actor=actor_of(request), task_id=task.pk)

        self.act_on_each(request, tasks, release, "released")

    @admin.action(description="Change status…")
    def change_status(self, request: HttpRequest, tasks: QuerySet[Task]) -> HttpResponse | None:
        answers = self.ask(request, tasks, StatusForm, title="Change the status of these tasks", button="Change")
        if isinstance(answers, HttpResponse):
            return answers
        status = TaskStatus(answers["status"])
        reason = answers["override_reason"]
        override = {"override_reason": reason} if reason else {}
        self.act_on_each(
            request,
            tasks,
            lambda task: task_update(actor=actor_of(request), task_id=task.pk, status=status.value, **override),
            f"now {status.label}",
        )
        return None
