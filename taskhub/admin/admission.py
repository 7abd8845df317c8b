"""Admission: limits and pauses of the hub and of accounts."""

from __future__ import annotations

from typing import Any

from django import forms
from django.contrib import admin, messages
from django.http import HttpRequest
from django.shortcuts import redirect

from taskhub.admin.base import HubModelAdmin, actor_of
from taskhub.errors import HubError
from taskhub.models import AdmissionRule
from taskhub.services.admission import admission_rule_set


@admin.register(AdmissionRule)
class AdmissionRuleAdmin(HubModelAdmin):
    """A rule is made or changed here, by the service, and audited. Without an account it is for the whole hub."""

    list_display = ["shown_account", "at_once", "paused", "paused_until", "changed_by", "changed_at"]
    readonly_fields = ["changed_by", "changed_at"]
    search_fields = ["account"]

    @admin.display(description="Account", ordering="account")
    def shown_account(self, rule: AdmissionRule) -> str:
        return str(rule)

    def get_form(self, request: HttpRequest, obj: Any = None, change: bool = False, **kwargs: Any) -> Any:
        form: type[forms.ModelForm[AdmissionRule]] = super().get_form(request, obj, change=change, **kwargs)
        if "account" in form.base_fields:
            form.base_fields["account"].required = False
        return form

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
