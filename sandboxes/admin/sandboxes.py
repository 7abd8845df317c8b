"""Admin of sandboxes, subscriptions and polls. It writes nothing; only services do."""

from __future__ import annotations

from datetime import datetime
from typing import Any, Final

from django.contrib import admin
from django.db.models import OuterRef, QuerySet, Subquery
from django.http import HttpRequest, HttpResponse
from django.urls import reverse
from django.utils import timezone
from django.utils.dateparse import parse_datetime
from django.utils.html import format_html
from django.utils.safestring import SafeString
from django.utils.timesince import timesince

from sandboxes.gateway.values import NO_ANSWER
from sandboxes.models import Poll, Sandbox, Subscription
from sandboxes.selectors import dashboard as selectors
from sandboxes.services.attention import list_note_look
from sandboxes.services.operator_actions import Action, sandboxes_request
from sandboxes.services.sandboxes import STARTABLE, STOPPABLE
from sandboxes.services.subscriptions import subscription_request_disconnect
from taskhub.admin import dashboard
from taskhub.admin.actions import ActingAdmin, Sure
from taskhub.admin.base import (
    COLUMN,
    NOTHING,
    ReadOnlyAdmin,
    actor_of,
    cut,
    json_block,
    label,
    list_link,
    row_link,
    short_id,
)
from taskhub.admin.charts import Picture
from taskhub.admin.dashboard import Figure
from taskhub.admin.list_pages import DateFilter
from taskhub.errors import Unavailable
from taskhub.models import Execution, MetricName
from taskhub.selectors.dashboard import Window, measured

STATE_LABELS: Final = {
    "started": "success",
    "starting": "info",
    "creating": "info",
    "stopping": "info",
    "stopped": "warning",
    "error": "danger",
    "build_failed": "danger",
}
BAD_STATES: Final = {state for state, label in STATE_LABELS.items() if label == "danger"}


@admin.register(Sandbox)
class SandboxAdmin(ActingAdmin):
    """Sandboxes in the last state that Daytona reported. While the list is looked at, a job refreshes it every 5 s."""

    what = "Sandboxes that were watched or used lately; one is made for each execution that names none."
    list_display = ["short", "shown_state", "task", "age", "cost", "seen", "shown_action"]
    list_filter = ["state", ("seen_at", DateFilter)]
    list_filter_submit = True
    search_fields = ["id", "name"]
    readonly_fields = ["executions", "watchers", "shown_document", "shown_sessions"]
    exclude = ["document", "sessions"]
    actions = ["start", "stop", "remove"]
    dangerous = ("stop", "remove")

    def changelist_view(self, request: HttpRequest, extra_context: dict[str, Any] | None = None) -> Any:
        list_note_look()
        return super().changelist_view(request, extra_context)

    @admin.display(description="State", ordering="state")
    def shown_state(self, sandbox: Sandbox) -> SafeString:
        return label(sandbox.state, STATE_LABELS.get(sandbox.state))

    @admin.display(description="Seen", ordering="seen_at")
    def seen(self, sandbox: Sandbox) -> str:
        return ago(sandbox.seen_at)

    @admin.display(description="Last action", ordering="last_action_at")
    def shown_action(self, sandbox: Sandbox) -> SafeString | str:
        if sandbox.last_action_at is None:
            return NOTHING
        return format_html("{} ({})", cut(sandbox.last_action, 56), ago(sandbox.last_action_at))

    def applies(self, action: str, row: Sandbox) -> bool:
        return {"start": row.state in STARTABLE, "stop": row.state in STOPPABLE}.get(action, True)

    def get_queryset(self, request: HttpRequest) -> QuerySet[Sandbox]:
        latest = Execution.objects.filter(sandbox_id=OuterRef("pk")).order_by("-queued_at", "-id")
        sandboxes: QuerySet[Sandbox] = super().get_queryset(request)
        return sandboxes.annotate(
            for_task=Subquery(latest.values("task_id")[:1]), for_title=Subquery(latest.values("task__title")[:1])
        )

    @admin.display(description="Sandbox")
    def short(self, sandbox: Sandbox) -> SafeString | str:
        return cut(sandbox.name, 24) if sandbox.name and sandbox.name != sandbox.pk else short_id(sandbox.pk)

    @admin.display(description="Task, the latest")
    def task(self, sandbox: Sandbox) -> SafeString | str:
        task_id, title = sandbox.for_task, sandbox.for_title  # type: ignore[attr-defined]
        return row_link("taskhub_task", task_id, cut(title or "", 32))

    @admin.display(description="Age")
    def age(self, sandbox: Sandbox) -> str:
        made = parse_datetime(str(sandbox.document.get("createdAt", "")))
        return timesince(made, depth=1) if made else NOTHING

    @admin.display(description="CPU, memory")
    def cost(self, sandbox: Sandbox) -> str:
        """What Daytona reserves for it; a stopped one takes its disk alone."""
        cpu, memory = sandbox.document.get("cpu"), sandbox.document.get("memory")
        return f"{cpu} CPU, {memory} GiB" if cpu is not None and memory is not None else NOTHING

    @admin.display
    def executions(self, sandbox: Sandbox) -> SafeString:
        return list_link("taskhub_execution", "executions", sandbox_id__exact=sandbox.pk)

    @admin.display
    def watchers(self, sandbox: Sandbox) -> SafeString:
        return list_link("sandboxes_subscription", "subscriptions", sandbox_id__exact=sandbox.pk)

    @admin.display(description="Document")
    def shown_document(self, sandbox: Sandbox) -> SafeString:
        return json_block(sandbox.document)

    @admin.display(description="Sessions")
    def shown_sessions(self, sandbox: Sandbox) -> SafeString:
        return json_block(sandbox.sessions)

    @admin.action(description="Start")
    def start(self, request: HttpRequest, sandboxes: QuerySet[Sandbox]) -> None:
        self._send(request, sandboxes, "start", "started")

    @admin.action(description="Stop")
    def stop(self, request: HttpRequest, sandboxes: QuerySet[Sandbox]) -> None:
        self._send(request, sandboxes, "stop", "stopped")

    @admin.action(description="Delete…")
    def remove(self, request: HttpRequest, sandboxes: QuerySet[Sandbox]) -> HttpResponse | None:
        title = "Delete these sandboxes, with their processes and files?"
        answers = self.ask(request, sandboxes, Sure, title=title, button="Delete permanently")
        if isinstance(answers, HttpResponse):
            return answers
        self._send(request, sandboxes, "delete", "deleted")
        return None

    def _send(self, request: HttpRequest, sandboxes: QuerySet[Sandbox], action: Action, done: str) -> None:
        """Queue the job for all of them; Daytona may hold each request for up to 30 s."""
        if self.are_too_many(request, sandboxes):
            return
        chosen = [sandbox.pk for sandbox in sandboxes]
        try:
            sandboxes_request(actor=actor_of(request), action=action, sandbox_ids=chosen)
        except Unavailable as error:
            self.tell(request, "Nothing was done.", [error.message])
        else:
            self.tell(request, f"{len(chosen)} will be {done}; the column Last action shows the outcome.", [])


def ago(moment: datetime) -> str:
    """Its age in one unit: `4 s ago`."""
    age_s = max(0, int((timezone.now() - moment).total_seconds()))
    for unit, unit_s in (("d", 86400), ("h", 3600), ("min", 60)):
        if age_s >= 2 * unit_s:
            return f"{age_s // unit_s} {unit} ago"
    return f"{age_s} s ago"


@admin.register(Subscription)
class SubscriptionAdmin(ActingAdmin):
    list_display = ["kind", "short_sandbox", "short_account", "address", "opened_at", "events"]
    list_filter = ["kind"]
    search_fields = ["sandbox_id", "user_name", "address"]
    readonly_fields = ["sandbox", "account"]
    exclude = ["user", "sandbox_id"]
    what = "Open streams of sandboxes."
    actions = ["disconnect"]
    dangerous = ("disconnect",)

    @admin.display(description="Sandbox", ordering="sandbox_id")
    def short_sandbox(self, subscription: Subscription) -> SafeString | str:
        return row_link("sandboxes_sandbox", subscription.sandbox_id, short_id(subscription.sandbox_id))

    @admin.display(description="Account", ordering="user_name")
    def short_account(self, subscription: Subscription) -> SafeString | str:
        return row_link("auth_user", subscription.user_id, cut(subscription.user_name, COLUMN))

    @admin.display(ordering="sandbox_id")
    def sandbox(self, subscription: Subscription) -> SafeString | str:
        return row_link("sandboxes_sandbox", subscription.sandbox_id)

    @admin.display(ordering="user_name")
    def account(self, subscription: Subscription) -> SafeString | str:
        return row_link("auth_user", subscription.user_id, subscription.user_name)

    @admin.action(description="Disconnect")
    def disconnect(self, request: HttpRequest, subscriptions: QuerySet[Subscription]) -> None:
        self.act_on_each(
            request,
            subscriptions,
            lambda subscription: subscription_request_disconnect(actor=actor_of(request), subscription=subscription),
            "being closed",
        )


@admin.register(Poll)
class PollAdmin(ReadOnlyAdmin):
    what = "The last look at Daytona of each kind; they run while a sandbox has viewers."
    list_display = ["name", "started_at", "took_ms", "watched", "requests", "ticks", "skipped", "error_code"]


def sandbox_figures() -> list[Figure]:
    listed = reverse("admin:sandboxes_sandbox_changelist")
    watching = reverse("admin:sandboxes_subscription_changelist")
    return [
        *(
            Figure(f"Sandboxes {state}", f"{count:,}", f"{listed}?state__exact={state}", state in BAD_STATES)
            for state, count in selectors.sandboxes_by_state().items()
        ),
        *(
            Figure(f"Subscriptions to {kind}", f"{count:,}", f"{watching}?kind__exact={kind}")
            for kind, count in selectors.subscriptions_by_kind().items()
        ),
        *(
            Figure(
                f"Last poll of {poll.name}",
                poll.error_code or f"{poll.took_ms:,} ms",
                reverse("admin:sandboxes_poll_change", args=[poll.pk]),
                is_bad=bool(poll.error_code),
            )
            for poll in selectors.polls()
        ),
    ]


def polls_picture(window: Window) -> Picture:
    """The longest tick of each part: a tick that takes its whole period causes the next one to be skipped."""
    most = measured(window, MetricName.POLL_MS).most
    series = {f"of {name}": [float(round(value)) for value in values] for name, values in sorted(most.items())}
    return Picture("polls", "Longest poll, in ms", dashboard.labels_of(window), series, total=max)


def errors_picture(window: Window) -> Picture:
    counted = measured(window, MetricName.UPSTREAM_REQUESTS).count
    series = {
        "no answer" if status == NO_ANSWER else f"status {status}": values
        for status, values in sorted(counted.items())
        if _tells_of_trouble(status)
    }
    title = "Failed requests to Daytona"
    return Picture("upstream", title, dashboard.labels_of(window), series)


def _tells_of_trouble(status: str) -> bool:
    """Whether the status shows a failure of Daytona, rather than a deleted sandbox or a wrong request."""
    return status in {NO_ANSWER, "401", "403", "429"} or (status.startswith("5") and status.isdigit())


def sandboxes_picture(_window: Window) -> Picture:
    counted = selectors.sandboxes_by_state()
    series = {state: [float(count * (state == label)) for label in counted] for state, count in counted.items()}
    return Picture(
        "sandboxes",
        "Recently watched sandboxes by state, now",
        list(counted),
        series,
        axis="State",
        is_over_time=False,
        nothing="No recently watched sandbox.",
    )


dashboard.FIGURES.append(sandbox_figures)
dashboard.PICTURES.extend([polls_picture, errors_picture, sandboxes_picture])
