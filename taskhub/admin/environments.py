"""Environments: make, change, delete. Each save makes a version; an environment's page lists them."""

from __future__ import annotations

from functools import partial
from typing import Any, Final

from django.contrib import admin
from django.contrib.admin.utils import unquote
from django.db.models import OuterRef, QuerySet, Subquery
from django.http import HttpRequest, HttpResponse
from django.http.response import HttpResponseBase
from django.shortcuts import redirect
from django.utils.html import format_html, format_html_join
from django.utils.safestring import SafeString

from taskhub.admin.actions import ActingAdmin, Sure
from taskhub.admin.awaited import awaited_page, page_made
from taskhub.admin.base import COLUMN, NOTHING, HubModelAdmin, actor_of, cut, moment
from taskhub.admin.environment_form import EnvironmentForm
from taskhub.executions.environment_look import NO_LOOK, environment_look
from taskhub.models import Environment, EnvironmentSpec, EnvironmentVersion, PreparedState
from taskhub.selectors.environments import prepared_of, version_of
from taskhub.services.environment_references import warnings_of
from taskhub.services.environments import environment_create, environment_delete, environment_update
from taskhub.web.thread_pool import thread_slot, with_database

_VERSIONS_SHOWN: Final = 20
_LOOK: Final = "environment_look"
"""Attribute of a request whose form was held against the sandbox service."""


@admin.register(Environment)
class EnvironmentAdmin(ActingAdmin):
    """Deleted ones are not listed; what ran in them names their version."""

    form = EnvironmentForm
    change_form_before_template = "admin/hidden_fields.html"
    what = "An environment is what executions run in: image, size, network, variables, limits."
    dangerous = ("remove",)
    list_display = [
        *("shown_name", "version", "shown_description", "runs_in", "network", "shown_prepared", "open_to_all"),
        "updated_at",
    ]
    list_filter = ["open_to_all"]
    search_fields = ["name"]
    readonly_fields = [
        "warnings",
        "unchecked",
        "prepared",
        "version",
        "versions",
        "created_by",
        "created_at",
        "updated_at",
    ]
    actions = ["remove"]

    def get_queryset(self, request: HttpRequest) -> QuerySet[Environment]:
        present = EnvironmentVersion.objects.filter(environment=OuterRef("pk"), number=OuterRef("version"))
        rows: QuerySet[Environment] = super().get_queryset(request).filter(deleted_at=None)
        return rows.annotate(
            present=Subquery(present.values("document")[:1]),
            prepared_state=Subquery(present.values("prepared__state")[:1]),
        )

    def get_fields(self, request: HttpRequest, obj: Any = None) -> Any:  # noqa: ARG002 - Django's interface
        asked = ["name", *(name for name in EnvironmentForm.base_fields if name not in {"name", "seen_version"})]
        return asked if obj is None else [*asked, *self.readonly_fields]

    def get_readonly_fields(self, request: HttpRequest, obj: Any = None) -> Any:  # noqa: ARG002 - likewise
        return self.readonly_fields if obj is None else ["name", *self.readonly_fields]

    def has_add_permission(self, request: HttpRequest) -> bool:
        return bool(HubModelAdmin.has_add_permission(self, request))

    def has_change_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return bool(HubModelAdmin.has_change_permission(self, request, obj))

    def changeform_view(
        self,
        request: HttpRequest,
        object_id: str | None = None,
        form_url: str = "",
        extra_context: dict[str, Any] | None = None,
    ) -> Any:
        """A form that is sent is held against the sandbox service first: on the loop, for at most 5 s."""
        if request.method != "POST":
            return super().changeform_view(request, object_id, form_url, extra_context)
        save = partial(super().changeform_view, request, object_id, form_url, extra_context)

        async def work() -> HttpResponseBase:
            look = await environment_look(await with_database(self._draft, request, object_id))
            setattr(request, _LOOK, look)
            async with thread_slot(writes=True):
                return await page_made(request, save)

        return awaited_page(request, work)

    def _draft(self, request: HttpRequest, object_id: str | None) -> EnvironmentSpec | None:
        row = self.get_object(request, unquote(object_id)) if object_id is not None else None
        if object_id is not None and row is None:
            return None
        draft: EnvironmentSpec | None = self.get_form(request, row)(request.POST, instance=row).draft()
        return draft

    def get_form(self, request: HttpRequest, obj: Any = None, change: bool = False, **kwargs: Any) -> Any:
        form = super().get_form(request, obj, change=change, **kwargs)
        form.look = getattr(request, _LOOK, NO_LOOK)
        return form

    def save_model(self, request: HttpRequest, obj: Environment, form: Any, change: bool) -> None:
        given = {"actor": actor_of(request), "name": obj.name, "look": form.look, **form.cleaned_data["document"]}
        if change:
            environment_update(**given)
            return
        obj.__dict__ |= environment_create(**given).environment.__dict__

    @admin.display(description="Name", ordering="name")
    def shown_name(self, environment: Environment) -> SafeString | str:
        return cut(environment.name, COLUMN)

    @admin.display(description="Description")
    def shown_description(self, environment: Environment) -> SafeString | str:
        return cut(_spec_of(environment).description, COLUMN) or NOTHING

    @admin.display(description="Runs in")
    def runs_in(self, environment: Environment) -> SafeString | str:
        spec = _spec_of(environment)
        return cut(spec.snapshot or spec.image or ("a Dockerfile" if spec.dockerfile else NOTHING), COLUMN)

    @admin.display
    def network(self, environment: Environment) -> str:
        return _spec_of(environment).network.kind

    @admin.display(description="Snapshot")
    def shown_prepared(self, environment: Any) -> str:
        state = environment.prepared_state
        return NOTHING if state is None else PreparedState(state).label

    @admin.display
    def warnings(self, environment: Environment) -> SafeString | str:
        told = warnings_of(version_of(environment).spec)
        return format_html_join(SafeString("<br>"), "{}", ((each,) for each in told)) or NOTHING

    @admin.display
    def unchecked(self, environment: Environment) -> str:
        """What the sandbox service did not confirm at the last save."""
        return version_of(environment).unchecked or NOTHING

    @admin.display(description="Snapshot of prepare")
    def prepared(self, environment: Environment) -> SafeString | str:
        """How it stands, and why it is not there."""
        row = prepared_of(version_of(environment))
        if row is None:
            return NOTHING
        told = [f"{row.name}: {row.get_state_display().lower()}", *filter(None, (row.error_message, row.log_tail))]
        shown = format_html_join(SafeString("<br>"), "{}", ((line,) for each in told for line in each.splitlines()))
        return format_html("{}<br>Since {}", shown, moment(row.since))

    @admin.display
    def versions(self, environment: Environment) -> SafeString:
        """The last ones, with who made them; `/api/environments/<name>/?version=` has each."""
        rows = environment.versions.select_related("prepared").order_by("-number")[:_VERSIONS_SHOWN]
        told = [(row.number, moment(row.made_at), row.made_by or "the hub", _snapshot_of(row)) for row in rows]
        return format_html_join(SafeString("<br>"), "{}: {}, by {}{}", told)

    @admin.action(description="Delete")
    def remove(self, request: HttpRequest, environments: QuerySet[Environment]) -> HttpResponse | None:
        asked = self.ask(request, environments, Sure, title="Delete these environments?", button="Delete")
        if isinstance(asked, HttpResponse):
            return asked

        def act(environment: Environment) -> None:
            environment_delete(actor=actor_of(request), name=environment.name)

        self.act_on_each(request, environments, act, "deleted")
        return redirect("admin:taskhub_environment_changelist")


def _snapshot_of(version: EnvironmentVersion) -> str:
    row = prepared_of(version)
    return "" if row is None else f"; its snapshot: {row.get_state_display().lower()}"


def _spec_of(environment: Any) -> EnvironmentSpec:
    return EnvironmentSpec.read(environment.present)
