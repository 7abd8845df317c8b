"""Open event streams, and the web processes that hold them."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

from django import forms
from django.contrib import admin
from django.db.models import QuerySet
from django.http import HttpRequest, HttpResponse
from django.utils.safestring import SafeString
from unfold.widgets import UnfoldAdminIntegerFieldWidget

from taskhub.admin.actions import ActingAdmin
from taskhub.admin.base import COLUMN, ReadOnlyAdmin, actor_of, cut, json_block, short_id
from taskhub.events.process_status import ALIVE_FOR
from taskhub.models import StreamConnection, StreamProcess
from taskhub.services.replays import REPLAY_LIMIT, replay_request


class RangeForm(forms.Form):
    first = forms.IntegerField(min_value=1, widget=UnfoldAdminIntegerFieldWidget, help_text="The number of an event.")
    last = forms.IntegerField(min_value=1, widget=UnfoldAdminIntegerFieldWidget)

    def clean(self) -> dict[str, Any]:
        given = super().clean() or {}
        span = given.get("last", 0) - given.get("first", 0)
        if not self.errors and not 0 <= span < REPLAY_LIMIT:
            raise forms.ValidationError(f"The range may have at most {REPLAY_LIMIT} events.")
        return given


@admin.register(StreamConnection)
class ListenerAdmin(ActingAdmin):
    """The open event streams of all running processes, a few seconds old."""

    row_name, rows_name = "open stream", "open streams"
    what = "A row for each open event stream."
    list_display = ["short", "account", "address", "short_filters", "process", "opened_at"]
    list_filter = [("account", admin.EmptyFieldListFilter)]
    search_fields = ["id", "account", "address", "process"]
    readonly_fields = ["shown_filters"]
    exclude = ["filters"]
    actions = ["send_again"]
    rows_at_once = 1

    def get_queryset(self, request: HttpRequest) -> QuerySet[StreamConnection]:  # noqa: ARG002 - Django's interface
        return StreamConnection.objects.of_living(ALIVE_FOR)

    @admin.display(description="Stream")
    def short(self, listener: StreamConnection) -> str:
        return short_id(listener.pk)

    @admin.display(description="Shows")
    def shown_filters(self, listener: StreamConnection) -> str:
        return ", ".join(f"{name}: {value}" for name, value in listener.filters.items()) or "everything"

    @admin.display(description="Shows")
    def short_filters(self, listener: StreamConnection) -> SafeString | str:
        return cut(self.shown_filters(listener), COLUMN)

    @admin.action(description="Send events again…")
    def send_again(self, request: HttpRequest, listeners: QuerySet[StreamConnection]) -> HttpResponse | None:
        answers = self.ask(request, listeners, RangeForm, title="Send events again to this stream", button="Send")
        if isinstance(answers, HttpResponse):
            return answers
        numbers = range(answers["first"], answers["last"] + 1)
        self.act_on_each(
            request,
            listeners,
            lambda listener: replay_request(actor=actor_of(request), listener_id=listener.pk, numbers=numbers),
            "streams are sent them again",
        )
        return None


@admin.register(StreamProcess)
class StreamProcessAdmin(ReadOnlyAdmin):
    row_name, rows_name = "process", "processes"
    what = "A row for each web process that holds streams, or held some lately."
    list_display = ["name", "living", "reported_at", "streams", "lag", "hears_redis"]
    fields = ["name", "reported_at", "said"]
    readonly_fields = ["said"]
    ordering = ["-reported_at"]

    @admin.display(boolean=True)
    def living(self, process: StreamProcess) -> bool:
        return process.is_living(ALIVE_FOR)

    @admin.display
    def streams(self, process: StreamProcess) -> int:
        return sum(process.report["clients"].values())

    @admin.display(description="Slowest stream")
    def lag(self, process: StreamProcess) -> str:
        behind = timedelta(seconds=process.report["lag_s"])
        return f"{process.report['lag_events']} events, {behind.total_seconds():.1f} s"

    @admin.display(description="Hears Redis", boolean=True)
    def hears_redis(self, process: StreamProcess) -> bool:
        return bool(process.report["redis"])

    @admin.display(description="Report")
    def said(self, process: StreamProcess) -> SafeString:
        return json_block(process.report)
