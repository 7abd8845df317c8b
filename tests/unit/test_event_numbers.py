from __future__ import annotations

import threading
import time

import pytest
from django.core.management import call_command
from django_eventstream.models import Event
from django_eventstream.storage import EventDoesNotExist

from taskhub.events import numbering, outbox
from taskhub.models import AuditEntry
from taskhub.services.event_numbers import LEAP

pytestmark = pytest.mark.django_db


def test_after_a_restore_no_number_is_given_that_may_have_been_given_before() -> None:
    store = outbox.OutboxStorage()
    for channel, count in {"tasks": 3, "other": 1}.items():
        for _ in range(count):
            store.append_event(channel, "message", "1")
    call_command("after_restore", verbosity=0)
    store.append_event("tasks", "message", "1")
    assert list(Event.objects.filter(channel="tasks").order_by("eid").values_list("eid", flat=True)) == [
        *(1, 2, 3),
        LEAP + 4,
    ]
    (entry,) = AuditEntry.objects.filter(action="event_numbers:leap")
    assert (entry.door, entry.changes) == ("command", {"other": [1, LEAP + 1], "tasks": [3, LEAP + 3]})


@pytest.mark.parametrize("remembered", [3, 4, 50])
def test_who_resumes_with_a_number_from_before_the_leap_is_told_that_events_are_missing(remembered: int) -> None:
    store = outbox.OutboxStorage()
    for _ in range(3):
        store.append_event("tasks", "message", "1")
    call_command("after_restore", verbosity=0)
    store.append_event("tasks", "message", "1")
    with pytest.raises(EventDoesNotExist):
        store.get_events("tasks", remembered)


def test_a_thread_that_cannot_be_started_is_tried_again(monkeypatch: pytest.MonkeyPatch) -> None:
    begin = threading.Thread.start
    monkeypatch.setattr(numbering, "number_events", lambda: True)
    numberer = numbering.Numberer()

    def refuse(_: threading.Thread) -> None:
        raise RuntimeError("can't start new thread")

    monkeypatch.setattr(threading.Thread, "start", refuse)
    with pytest.raises(RuntimeError):
        numberer.request()
    monkeypatch.setattr(threading.Thread, "start", begin)
    numberer.request()
    numberer.finish(60)
    assert numberer.is_idle()


def test_between_two_passes_there_is_a_rest_and_what_is_committed_meanwhile_is_one_pass(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    passes: list[int] = []
    monkeypatch.setattr(numbering, "number_events", lambda: not passes.append(1))
    monkeypatch.setattr(numbering, "REST_S", 1.0)
    numberer = numbering.Numberer()
    numberer.request()
    numberer.finish(60)
    for _ in range(10):
        numberer.request()
        time.sleep(0.001)
    numberer.finish(60)
    assert numberer.is_idle()
    assert len(passes) == 2
