"""Webhook endpoints and deliveries: create, pause, test, send again."""

from __future__ import annotations

from typing import Any, Final
from uuid import UUID

from django import forms
from django.contrib import admin
from django.core.exceptions import ValidationError
from django.db.models import QuerySet
from django.http import HttpRequest, HttpResponse
from django.shortcuts import redirect
from django.template.response import TemplateResponse
from django.urls import reverse
from django.utils import timezone
from django.utils.safestring import SafeString
from unfold.widgets import UnfoldAdminCheckboxSelectMultipleWidget

from taskhub.admin import dashboard
from taskhub.admin.actions import ActingAdmin, Sure
from taskhub.admin.base import (
    COLUMN,
    NOTHING,
    HubModelAdmin,
    actor_of,
    cut,
    json_block,
    label,
    list_link,
    read_id,
    row_link,
    short_id,
)
from taskhub.admin.charts import Picture
from taskhub.admin.dashboard import Figure
from taskhub.admin.list_pages import DateFilter
from taskhub.admin.titles import TitledRows, titled_link
from taskhub.errors import Invalid
from taskhub.events.types import EVENT_TYPES
from taskhub.models import DeliveryStatus, MetricName, WebhookDelivery, WebhookEndpoint
from taskhub.selectors import webhooks as selectors
from taskhub.selectors.dashboard import Window, measured
from taskhub.webhooks.deliveries import delivery_send_again, endpoint_send_test
from taskhub.webhooks.endpoints import endpoint_create, endpoint_delete, endpoint_rotate_secret, endpoint_update
from taskhub.webhooks.ssrf_guard import read_origin, read_target

LABELS: Final = {
    DeliveryStatus.PENDING.value: "info",
    DeliveryStatus.DELIVERED.value: "success",
    DeliveryStatus.FAILED.value: "danger",
}


class EndpointForm(forms.ModelForm[WebhookEndpoint]):
    event_types = forms.MultipleChoiceField(
        choices=[(name, name) for name in EVENT_TYPES],
        required=False,
        widget=UnfoldAdminCheckboxSelectMultipleWidget,
        help_text="None selected: all.",
    )

    class Meta:
        model = WebhookEndpoint
        fields = ["url", "description", "event_types", "private"]

    def clean_url(self) -> str:
        url: str = self.cleaned_data["url"]
        try:
            read_target(url)
        except Invalid as refusal:
            raise ValidationError((refusal.details or {})["url"]) from None
        return url


class HealthFilter(admin.SimpleListFilter):
    title = "health"
    parameter_name = "health"

    def lookups(self, request: HttpRequest, model_admin: Any) -> list[tuple[str, str]]:  # noqa: ARG002 - Django's interface
        return [("well", "well"), ("failing", "failing"), ("long", "failing for a day")]

    def queryset(self, request: HttpRequest, queryset: QuerySet[WebhookEndpoint]) -> QuerySet[WebhookEndpoint]:  # noqa: ARG002 - likewise
        return {
            "well": queryset.filter(failing_since=None),
            "failing": queryset.exclude(failing_since=None),
            "long": queryset.filter(failing_since__lt=timezone.now() - selectors.FAILING_FOR),
        }.get(str(self.value()), queryset)


@admin.register(WebhookEndpoint)
class WebhookEndpointAdmin(ActingAdmin):
    """Endpoints are created here; their secret is shown once. Lists hide the path of URLs: it may be a credential."""

    form = EndpointForm
    what = "An endpoint receives events by HTTP."
    dangerous = ("deactivate", "rotate_secret", "remove")
    list_display = ["name", "origin", "is_active", "shown_health", "shown_types", "deliveries", "notice"]
    list_filter = ["is_active", HealthFilter, "private"]
    search_fields = ["id", "description", "url", "created_by_name"]
    readonly_fields = [
        *("id", "is_active", "deliveries", "cursor", "failing_since", "resting_until", "notice"),
        *("created_by_name", "created_at", "updated_at"),
    ]
    actions = ["activate", "deactivate", "send_test", "rotate_secret", "remove"]

    def applies(self, action: str, row: WebhookEndpoint) -> bool:
        return {"activate": not row.is_active, "deactivate": row.is_active}.get(action, True)

    def get_fields(self, request: HttpRequest, obj: Any = None) -> Any:  # noqa: ARG002 - Django's interface
        asked = EndpointForm.Meta.fields
        return asked if obj is None else [*asked, *self.readonly_fields]

    def has_add_permission(self, request: HttpRequest) -> bool:
        return bool(HubModelAdmin.has_add_permission(self, request))

    def has_change_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return bool(HubModelAdmin.has_change_permission(self, request, obj))

    @admin.display(description="Endpoint", ordering="description")
    def name(self, endpoint: WebhookEndpoint) -> SafeString | str:
        return cut(str(endpoint), COLUMN)

    @admin.display(description="Address")
    def origin(self, endpoint: WebhookEndpoint) -> SafeString | str:
        return cut(read_origin(endpoint.url), COLUMN)

    @admin.display(description="Health")
    def shown_health(self, endpoint: WebhookEndpoint) -> SafeString:
        if endpoint.failing_since is None:
            return label("well", "success")
        is_long = endpoint.failing_since < timezone.now() - selectors.FAILING_FOR
        return label("failing for a day", "danger") if is_long else label("failing", "warning")

    @admin.display(description="Receives")
    def shown_types(self, endpoint: WebhookEndpoint) -> SafeString | str:
        types = ", ".join(endpoint.event_types) or "everything"
        return cut(f"private, too; {types}" if endpoint.private else types, COLUMN)

    @admin.display
    def deliveries(self, endpoint: WebhookEndpoint) -> SafeString:
        return list_link("taskhub_webhookdelivery", "deliveries", endpoint__id__exact=endpoint.pk)

    def save_model(self, request: HttpRequest, obj: WebhookEndpoint, form: Any, change: bool) -> None:
        values = {name: form.cleaned_data[name] for name in form.changed_data}
        if change:
            endpoint_update(actor=actor_of(request), endpoint_id=obj.pk, **values)
            return
        made, secret = endpoint_create(actor=actor_of(request), **values)
        # The secret goes with the object into the response to this request, and nowhere else.
        obj.__dict__ |= {**made.__dict__, "secret": secret}

    def response_add(
        self,
        request: HttpRequest,
        obj: Any,
        post_url_continue: str | None = None,  # noqa: ARG002 - Django's interface
    ) -> HttpResponse:
        return self._show_secrets(request, [(obj, obj.secret)])

    def _show_secrets(self, request: HttpRequest, made: list[tuple[WebhookEndpoint, str]]) -> HttpResponse:
        context = {**self.admin_site.each_context(request), "title": "Secret", "made": made, "opts": self.opts}
        return TemplateResponse(request, "admin/taskhub/webhookendpoint/made.html", context)

    @admin.action(description="Activate")
    def activate(self, request: HttpRequest, endpoints: QuerySet[WebhookEndpoint]) -> None:
        self._set_active(request, endpoints, is_active=True, done="active")

    @admin.action(description="Deactivate")
    def deactivate(self, request: HttpRequest, endpoints: QuerySet[WebhookEndpoint]) -> None:
        self._set_active(request, endpoints, is_active=False, done="not active")

    def _set_active(
        self, request: HttpRequest, endpoints: QuerySet[WebhookEndpoint], *, is_active: bool, done: str
    ) -> None:
        def act(endpoint: WebhookEndpoint) -> None:
            endpoint_update(actor=actor_of(request), endpoint_id=endpoint.pk, is_active=is_active)

        self.act_on_each(request, endpoints, act, done)

    @admin.action(description="Send a test event")
    def send_test(self, request: HttpRequest, endpoints: QuerySet[WebhookEndpoint]) -> None:
        def act(endpoint: WebhookEndpoint) -> None:
            endpoint_send_test(actor=actor_of(request), endpoint_id=endpoint.pk)

        self.act_on_each(request, endpoints, act, "being sent a test event")

    @admin.action(description="Make a new secret…")
    def rotate_secret(self, request: HttpRequest, endpoints: QuerySet[WebhookEndpoint]) -> HttpResponse:
        asked = self.ask(
            request, endpoints, Sure, title="Make new secrets? For a day the old ones sign as well.", button="Make"
        )
        if isinstance(asked, HttpResponse):
            return asked
        chosen = endpoints.values_list("pk", flat=True)
        made = [endpoint_rotate_secret(actor=actor_of(request), endpoint_id=pk) for pk in chosen]
        return self._show_secrets(request, made)

    @admin.action(description="Delete…")
    def remove(self, request: HttpRequest, endpoints: QuerySet[WebhookEndpoint]) -> HttpResponse | None:
        asked = self.ask(
            request, endpoints, Sure, title="Delete these endpoints, with their deliveries?", button="Delete"
        )
        if isinstance(asked, HttpResponse):
            return asked

        def act(endpoint: WebhookEndpoint) -> None:
            endpoint_delete(actor=actor_of(request), endpoint_id=endpoint.pk)

        self.act_on_each(request, endpoints, act, "deleted")
        return redirect("admin:taskhub_webhookendpoint_changelist")


@admin.register(WebhookDelivery)
class WebhookDeliveryAdmin(TitledRows, ActingAdmin):
    what = "A delivery is one event on its way to one endpoint."
    list_display = [
        *("short", "shown_status", "event_type", "for_endpoint", "task", "answer"),
        *("short_error", "created_at"),
    ]
    list_filter = [
        *("status", "endpoint", ("error", admin.EmptyFieldListFilter)),
        ("created_at", DateFilter),
    ]
    list_filter_submit = True
    time_field = "created_at"
    served_by_index = frozenset({"status__exact", "endpoint__id__exact"})
    list_without = ("body", "tries")
    search_fields = ["event_type"]
    search_help_text = "The id of a delivery, an event or a task, or text in the event's type or the error."
    list_select_related = ["endpoint"]
    readonly_fields = ["id", "for_endpoint", "task", "shown_tries", "created_at"]
    exclude = ["endpoint", "task_id", "tries"]
    actions = ["send_again"]

    def is_search_served(self, text: str) -> bool:
        some_id = read_id(text)
        return some_id is not None and WebhookDelivery.objects.filter(pk=some_id).exists()

    def search(self, rows: QuerySet[WebhookDelivery], text: str, some_id: UUID | None) -> QuerySet[WebhookDelivery]:
        return selectors.deliveries_searched(rows, text, some_id)

    def applies(self, action: str, row: WebhookDelivery) -> bool:  # noqa: ARG002 - send_again is the only one
        return row.status != DeliveryStatus.PENDING

    @admin.display(description="Delivery")
    def short(self, delivery: WebhookDelivery) -> str:
        return short_id(delivery.pk)

    @admin.display(description="Attempts, answer", ordering="attempts")
    def answer(self, delivery: WebhookDelivery) -> str:
        return f"{delivery.attempts}, {delivery.response_status or NOTHING}"

    @admin.display(description="Error", ordering="error")
    def short_error(self, delivery: WebhookDelivery) -> SafeString | str:
        return cut(delivery.error, 30) or NOTHING

    @admin.display(description="Endpoint", ordering="endpoint")
    def for_endpoint(self, delivery: WebhookDelivery) -> SafeString | str:
        return row_link("taskhub_webhookendpoint", delivery.endpoint_id, cut(delivery.endpoint, 24))

    @admin.display(ordering="task_id")
    def task(self, delivery: WebhookDelivery) -> SafeString | str:
        return titled_link(delivery, delivery.task_id)

    @admin.display(description="Status", ordering="status")
    def shown_status(self, delivery: WebhookDelivery) -> SafeString:
        return label(delivery.get_status_display(), LABELS.get(delivery.status))

    @admin.display(description="Attempts, the latest")
    def shown_tries(self, delivery: WebhookDelivery) -> SafeString:
        return json_block(delivery.tries)

    @admin.action(description="Send again")
    def send_again(self, request: HttpRequest, deliveries: QuerySet[WebhookDelivery]) -> None:
        def act(delivery: WebhookDelivery) -> None:
            delivery_send_again(actor=actor_of(request), delivery_id=delivery.pk)

        self.act_on_each(request, deliveries, act, "being sent again")


def webhook_figures() -> list[Figure]:
    failing, _ = selectors.webhooks_failing_now()
    endpoints = reverse("admin:taskhub_webhookendpoint_changelist")
    deliveries = reverse("admin:taskhub_webhookdelivery_changelist")
    return [
        Figure(
            "Webhooks failing now",
            str(failing),
            f"{endpoints}?health=failing",
            is_bad=bool(failing),
            is_good=not failing,
        ),
        Figure(
            "Webhook deliveries waiting",
            f"{selectors.webhook_deliveries_waiting():,}",
            f"{deliveries}?status__exact={DeliveryStatus.PENDING}",
        ),
    ]


def webhooks_picture(window: Window) -> Picture:
    counted = measured(window, MetricName.WEBHOOK_ATTEMPTS).count
    series = {outcome: counted.get(outcome, window.nothing) for outcome in ("delivered", "failed")}
    return Picture("webhooks", "Webhook delivery attempts", dashboard.labels_of(window), series)


dashboard.FIGURES.append(webhook_figures)
dashboard.PICTURES.append(webhooks_picture)
