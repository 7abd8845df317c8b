"""Admission: who waits and why, limits and pauses of the hub and of accounts."""

from __future__ import annotations

from datetime import timedelta
from typing import Any, Final

from django import forms
from django.conf import settings
from django.contrib import admin
from django.db.models import QuerySet
from django.http import HttpRequest, HttpResponse
from django.utils import timezone
from django.utils.safestring import SafeString
from unfold.widgets import UnfoldAdminIntegerFieldWidget

from taskhub.admin.actions import ActingMixin
from taskhub.admin.base import COLUMN, NOTHING, HubModelAdmin, actor_of, cut, moment, row_link, short_id
from taskhub.models import HUB, AdmissionRule, Execution, WaitingReason
from taskhub.selectors.admission import account_exists, admission_overview, queue_first
from taskhub.services.admission_rules import AT_ONCE_LIMIT, admission_rule_set

SHOWN: Final = 50
"""Waiting executions that the page shows."""


class PauseForm(forms.Form):
    minutes = forms.IntegerField(
        required=False,
        min_value=1,
        max_value=60 * 24 * 30,
        widget=UnfoldAdminIntegerFieldWidget(),
        help_text="Minutes until starts go on by themselves; empty: until the pause is lifted.",
    )


class RuleForm(forms.ModelForm[AdmissionRule]):
    """Refuses what REST refuses: accounts that are not there, limits below 1."""

    at_once = forms.IntegerField(
        required=False,
        min_value=1,
        max_value=AT_ONCE_LIMIT,
        label="At once",
        help_text="Executions at once; empty: what the setting says.",
        widget=UnfoldAdminIntegerFieldWidget(),
    )

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        if "account" in self.fields:
            self.fields["account"].required = False

    def clean_account(self) -> str:
        account = str(self.cleaned_data["account"] or "")
        if account and not account_exists(account):
            raise forms.ValidationError("Account not found.", code="account_not_found")
        return account or HUB

    def clean(self) -> dict[str, Any]:
        cleaned: dict[str, Any] = super().clean() or {}
        until = cleaned.get("paused_until")
        if cleaned.get("paused") and until is not None and until <= timezone.now():
            self.add_error("paused_until", "The pause would have ended already; give a later time.")
        return cleaned


def waiting_row(place: int, execution: Execution) -> dict[str, Any]:
    """What the page shows of an execution in the queue."""
    reason = WaitingReason(execution.waiting_reason).label if execution.waiting_reason else "Is about to be started"
    return {
        "place": place,
        "task": row_link("taskhub_task", execution.task_id, cut(execution.task, 48)),
        "execution": row_link("taskhub_execution", execution.pk, short_id(execution.pk)),
        "account": execution.account or NOTHING,
        "reason": reason,
        "since": moment(execution.waiting_since or execution.queued_at),
    }


@admin.register(AdmissionRule)
class AdmissionRuleAdmin(ActingMixin, HubModelAdmin):
    """A rule is made or changed here, by the service, and audited. Without an account it is for the whole hub.

    Above the rules the page shows what runs, and who waits why, in the order in which they will be started.
    """

    row_name, rows_name = "rule", "limits and pauses"
    what = "Without a rule the limits of the settings hold, and nothing is paused."
    form = RuleForm
    list_before_template = "admin/who_waits.html"
    actions = ["pause", "resume"]
    dangerous = ("pause",)
    list_display = ["shown_account", "at_once", "paused", "paused_until", "changed_by", "changed_at"]
    readonly_fields = ["changed_by", "changed_at"]
    search_fields = ["account"]

    def changelist_view(self, request: HttpRequest, extra_context: dict[str, Any] | None = None) -> Any:
        overview = admission_overview()
        waiting = [waiting_row(place, execution) for place, execution in enumerate(queue_first(SHOWN), start=1)]
        context = {
            "overview": overview,
            "reasons": [(WaitingReason(reason).label, count) for reason, count in overview.waiting.items() if count],
            "waiting": waiting,
            "are_all_shown": len(waiting) < SHOWN,
            "zone": settings.TIME_ZONE,
        }
        return super().changelist_view(request, {**(extra_context or {}), **context})

    def applies(self, action: str, row: AdmissionRule) -> bool:
        is_paused = row.is_paused(timezone.now())
        return {"pause": not is_paused, "resume": is_paused}.get(action, True)

    @admin.action(description="Pause…")
    def pause(self, request: HttpRequest, rules: QuerySet[AdmissionRule]) -> HttpResponse | None:
        answers = self.ask(request, rules, PauseForm, title="Start nothing new for a while?", button="Pause")
        if isinstance(answers, HttpResponse):
            return answers
        minutes = answers["minutes"]
        until = timezone.now() + timedelta(minutes=minutes) if minutes else None

        def pause(rule: AdmissionRule) -> None:
            admission_rule_set(
                actor=actor_of(request), account=rule.account, at_once=rule.at_once, paused=True, paused_until=until
            )

        self.act_on_each(request, rules, pause, "paused; what runs goes on")
        return None

    @admin.action(description="Lift the pause")
    def resume(self, request: HttpRequest, rules: QuerySet[AdmissionRule]) -> None:
        def resume(rule: AdmissionRule) -> None:
            admission_rule_set(actor=actor_of(request), account=rule.account, at_once=rule.at_once, paused=False)

        self.act_on_each(request, rules, resume, "not paused")

    @admin.display(description="Account", ordering="account")
    def shown_account(self, rule: AdmissionRule) -> SafeString | str:
        return cut(rule, COLUMN)

    def get_readonly_fields(self, request: HttpRequest, obj: Any = None) -> Any:  # noqa: ARG002 - likewise
        return [*self.readonly_fields, "account"] if obj is not None else self.readonly_fields

    def has_delete_permission(self, request: HttpRequest, obj: Any = None) -> bool:  # noqa: ARG002 - likewise
        return False

    def save_model(self, request: HttpRequest, obj: AdmissionRule, form: Any, change: bool) -> None:  # noqa: ARG002 - likewise
        made = admission_rule_set(
            actor=actor_of(request),
            account=obj.account,
            at_once=obj.at_once,
            paused=obj.paused,
            paused_until=obj.paused_until,
        )
        obj.__dict__ |= made.__dict__
