"""Admin actions: each calls a service for every selected row, and reports refusals row by row.

An action can be applied to any number of rows in their list; a row's own page has a button for each action. An action
that needs input (`ask`) first shows a form, and is called again with the answers.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final

from django import forms
from django.contrib import messages
from django.contrib.admin import helpers
from django.contrib.admin.utils import quote, unquote
from django.core.exceptions import ValidationError
from django.db.models import QuerySet
from django.http import HttpRequest, HttpResponse
from django.http.response import HttpResponseBase, HttpResponseRedirect
from django.shortcuts import redirect
from django.template.response import TemplateResponse
from django.urls import reverse

from taskhub.admin.base import HubModelAdmin, ReadOnlyAdmin
from taskhub.errors import HubError
from taskhub.executions.executor import ExecutorError

REFUSALS_TOLD: Final = 10
_ROW: Final = "_row"
_ANSWERED: Final = "_answered"


class ActingMixin(HubModelAdmin):
    """`rows_at_once` limits the rows of one request, and so its duration."""

    rows_at_once = 100
    change_form_outer_before_template = "admin/row_actions.html"
    dangerous: tuple[str, ...] = ()
    """Actions whose button warns: they end something."""

    def applies(self, action: str, row: Any) -> bool:  # noqa: ARG002 - for subclasses
        """Whether a row's own page offers the action."""
        return True

    def _row_actions(self, request: HttpRequest, object_id: str) -> list[tuple[str, str, bool]]:
        row = self.get_object(request, unquote(object_id))
        return [
            (name, label, name in self.dangerous)
            for name, (_, _, label) in self.get_actions(request).items()
            if name != "delete_selected" and row is not None and self.applies(name, row)
        ]

    def changeform_view(
        self,
        request: HttpRequest,
        object_id: str | None = None,
        form_url: str = "",
        extra_context: dict[str, Any] | None = None,
    ) -> Any:
        context = {
            "row_actions": [] if object_id is None else self._row_actions(request, object_id),
            "list_address": reverse(f"admin:{self.opts.app_label}_{self.opts.model_name}_changelist"),
        }
        try:
            return super().changeform_view(request, object_id, form_url, {**(extra_context or {}), **context})
        except HubError as error:  # the service's, when the row is saved
            self.message_user(request, error.message, messages.ERROR)
            return redirect(request.path)

    def response_action(self, request: HttpRequest, queryset: QuerySet[Any]) -> HttpResponseBase | None:
        """After an action on a row's own page, redirect to that page."""
        if not self._are_keys(request.POST.getlist(helpers.ACTION_CHECKBOX_NAME)):
            self.message_user(request, "The selected rows do not exist.", messages.ERROR)
            return redirect(request.get_full_path())
        answer: HttpResponseBase | None = super().response_action(request, queryset)
        row = request.POST.get(_ROW)
        if row and isinstance(answer, HttpResponseRedirect):
            return redirect(f"admin:{self.opts.app_label}_{self.opts.model_name}_change", quote(row))
        return answer

    def _are_keys(self, chosen: list[str]) -> bool:
        """Whether the values are valid keys; lists offer only those, but a request can be forged."""
        try:
            for key in chosen:
                self.opts.pk.run_validators(self.opts.pk.to_python(key))
        except ValidationError:
            return False
        return not any("\0" in key for key in chosen)

    def ask(
        self, request: HttpRequest, rows: QuerySet[Any], form: type[forms.Form], *, title: str, button: str
    ) -> dict[str, Any] | HttpResponse:
        """The answers of the form, or the page with the form if it has not been submitted."""
        if self.are_too_many(request, rows):
            return redirect(request.get_full_path())
        asked = form(request.POST) if _ANSWERED in request.POST else form()
        if asked.is_bound and asked.is_valid():
            return asked.cleaned_data
        context = {
            **self.admin_site.each_context(request),
            "title": title,
            "opts": self.opts,
            "media": self.media + asked.media,
            "form": asked,
            "rows": rows,
            "button": button,
            "action": request.POST.getlist("action")[-1],
            "row": request.POST.get(_ROW, ""),
            "selected_name": helpers.ACTION_CHECKBOX_NAME,
        }
        return TemplateResponse(request, "admin/ask.html", context)

    def are_too_many(self, request: HttpRequest, rows: QuerySet[Any]) -> bool:
        """Also shows the message."""
        if rows[: self.rows_at_once + 1].count() <= self.rows_at_once:
            return False
        self.message_user(request, f"At most {self.rows_at_once} at once; nothing was done.", messages.ERROR)
        return True

    def act_on_each(self, request: HttpRequest, rows: QuerySet[Any], act: Callable[[Any], object], done: str) -> None:
        """Call `act` for each row. `done` ends the sentence after the numbers: "stopped" gives "2 of 3 stopped."."""
        if self.are_too_many(request, rows):
            return
        refusals: list[str] = []
        chosen = list(rows)
        for row in chosen:
            try:
                act(row)
            except (HubError, ExecutorError) as error:
                refusals.append(f"{row}: {error.message}")
        self.tell(request, f"{len(chosen) - len(refusals)} of {len(chosen)} {done}.", refusals)

    def tell(self, request: HttpRequest, outcome: str, refusals: list[str]) -> None:
        self.message_user(request, outcome, messages.WARNING if refusals else messages.SUCCESS)
        for refusal in refusals[:REFUSALS_TOLD]:
            self.message_user(request, refusal, messages.ERROR)
        if len(refusals) > REFUSALS_TOLD:
            self.message_user(request, f"{len(refusals) - REFUSALS_TOLD} more were refused.", messages.ERROR)


class ActingAdmin(ActingMixin, ReadOnlyAdmin):
    """Rows that only services change, by actions."""


class Sure(forms.Form):
    """A form without fields, for confirmation."""
