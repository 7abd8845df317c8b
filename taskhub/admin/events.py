"""Events in the outbox: list, search, send again."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any, Final, cast
from uuid import UUID

from django import forms
from django.contrib import admin
from django.db.models import QuerySet
from django.forms.models import ModelChoiceIterator
from django.http import HttpRequest, HttpResponse
from django.utils.safestring import SafeString
from django_eventstream.models import Event
from unfold.widgets import UnfoldAdminSelectWidget

from taskhub.admin.actions import ActingAdmin
from taskhub.admin.base import actor_of, json_block
from taskhub.admin.list_pages import DateFilter
from taskhub.admin.titles import TitledRows, titled_link
from taskhub.errors import HubError
from taskhub.events.channels import TASKS
from taskhub.events.process_status import ALIVE_FOR
from taskhub.events.types import EVENT_TYPES
from taskhub.models import StreamConnection
from taskhub.selectors.events import events_named
from taskhub.services.replays import REPLAY_LIMIT, replay_request

OFFERED: Final = 100


class StreamField(forms.ModelChoiceField[StreamConnection]):
    """Offers the newest streams; the list of streams has all of them, and this action, too."""

    def label_from_instance(self, obj: StreamConnection) -> str:
        return f"{obj} ({obj.id})"

    class iterator(ModelChoiceIterator[StreamConnection]):  # noqa: N801 - Django's name for it
        def __iter__(self) -> Iterator[Any]:
            yield ("", "Choose one")
            yield from map(self.choice, self.queryset[:OFFERED])


class NamedFilter(admin.SimpleListFilter):
    """By the event's name in the envelope; the column `type` is `message` for all of ours."""

    title = "event"
    parameter_name = "event"

    def lookups(self, request: HttpRequest, model_admin: Any) -> list[tuple[str, str]]:  # noqa: ARG002 - Django's interface
        return [(name, name) for name in EVENT_TYPES]

    def queryset(self, request: HttpRequest, queryset: QuerySet[Event]) -> QuerySet[Event]:  # noqa: ARG002 - likewise
        return queryset if self.value() is None else events_named(queryset, str(self.value()))


class StreamForm(forms.Form):
    stream = StreamField(queryset=StreamConnection.objects.none(), widget=UnfoldAdminSelectWidget)

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        field = cast("StreamField", self.fields["stream"])
        field.queryset = StreamConnection.objects.of_living(ALIVE_FOR)


def read_envelope(event: Event) -> dict[str, Any]:
    """The envelope; empty for events without one, which a plain `send_event` may publish."""
    try:
        envelope = json.loads(event.data)
    except ValueError:
        return {}
    is_ours = isinstance(envelope, dict) and isinstance(envelope.get("data"), dict)
    return envelope if is_ours else {}


def _task_id(event: Event) -> str:
    try:
        return str(UUID(str(read_envelope(event).get("data", {}).get("task_id", ""))))
    except ValueError:
        return ""


@admin.register(Event)
class EventAdmin(TitledRows, ActingAdmin):
    what = "Events are kept for the time of TASKHUB_EVENTS_KEEP_DAYS."
    task_of = staticmethod(_task_id)
    list_display = ["eid", "name", "task", "assignee", "channel", "created"]
    list_filter = [NamedFilter, ("created", DateFilter)]
    list_filter_submit = True
    time_field = "created"
    search_fields = ["data"]
    search_help_text = "Text in the event: a task's id, a name, a title."
    ordering = ["-id"]
    fields = ["channel", "eid", "name", "task", "assignee", "created", "type", "content"]
    readonly_fields = ["name", "task", "assignee", "content"]
    list_disable_select_all = True
    actions = ["send_again"]
    rows_at_once = REPLAY_LIMIT

    def is_search_served(self, text: str) -> bool:  # noqa: ARG002 - for subclasses
        return False

    @admin.action(description="Send again to a stream…")
    def send_again(self, request: HttpRequest, events: QuerySet[Event]) -> HttpResponse | None:
        answers = self.ask(request, events, StreamForm, title="Send these events again", button="Send")
        if isinstance(answers, HttpResponse):
            return answers
        chosen = list(events.values_list("channel", "eid"))
        numbers = [number for channel, number in chosen if channel == TASKS]
        others = [f"{channel}:{number}" for channel, number in chosen if channel != TASKS]
        refusals = [f"{event}: No open stream delivers this channel." for event in others]
        sent = 0
        if numbers:
            try:
                sent = replay_request(actor=actor_of(request), listener_id=answers["stream"].pk, numbers=numbers)
            except HubError as error:
                refusals.append(error.message)
        self.tell(request, f"{sent} of {len(chosen)} events are sent again to {answers['stream']}.", refusals)
        return None

    @admin.display(description="Event")
    def name(self, event: Event) -> str:
        return str(read_envelope(event).get("event", event.type))

    @admin.display
    def task(self, event: Event) -> SafeString | str:
        return titled_link(event, _task_id(event))

    @admin.display
    def assignee(self, event: Event) -> str:
        return str(read_envelope(event).get("data", {}).get("assignee") or "")

    @admin.display
    def content(self, event: Event) -> SafeString:
        return json_block(read_envelope(event) or event.data)
