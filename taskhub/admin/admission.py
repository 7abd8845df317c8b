"""Admission: limits and pauses of the hub and of accounts."""

from __future__ import annotations

from typing import Any

from django import forms
from django.contrib import admin, messages
from django.http import HttpRequest
from django.shortcuts import redirect
from django.utils import timezone
from unfold.widgets import UnfoldAdminIntegerFieldWidget

from taskhub.admin.base import HubModelAdmin, actor_of
from taskhub.errors import HubError
from taskhub.models import HUB, AdmissionRule
from taskhub.selectors.admission import account_exists
from taskhub.services.admission import AT_ONCE_LIMIT, admission_rule_set


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
            self.add_error("paused_until", "The pause would be over already.")
        return cleaned


@admin.register(AdmissionRule)
class AdmissionRuleAdmin(HubModelAdmin):
    """A rule is made or changed here, by the service, and audited. Without an account it is for the whole hub."""

    form = RuleForm
    list_display = ["shown_account", "at_once", "paused", "paused_until", "changed_by", "changed_at"]
    readonly_fields = ["changed_by", "changed_at"]
    search_fields = ["account"]

    @admin.display(description="Account", ordering="account")
    def shown_account(self, rule: AdmissionRule) -> str:
        return str(rule)

    def get_readonly_fields(self, request: HttpRequest, obj: Any = None) -> Any:  # noqa: ARG002 - likewise
        return [*self.readonly_fields, "account"] if obj is not None else self.readonly_fields

    def has_delete_permission(self, request: HttpRequest, obj: Any = None) -> bool:  # noqa: ARG002 - likewise
        return False

    def changeform_view(
        self,
        request: HttpRequest,
        object_id: str | None = None,
        form_url: str = "",
        extra_context: dict[str, Any] | None = None,
    ) -> Any:
        try:
            return super().changeform_view(request, object_id, form_url, extra_context)
        except HubError as error:
            self.message_user(request, error.message, messages.ERROR)
            return redirect(request.path)

    def save_model(self, request: HttpRequest, obj: AdmissionRule, form: Any, change: bool) -> None:  # noqa: ARG002 - likewise
        made = admission_rule_set(
            actor=actor_of(request),
            account=obj.account,
            at_once=obj.at_once,
            paused=obj.paused,
            paused_until=obj.paused_until,
        )
        obj.__dict__ |= made.__dict__
