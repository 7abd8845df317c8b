"""What an agent may do with a task that another one holds, and while new work is paused."""

from __future__ import annotations

import json
from collections.abc import Callable
from datetime import timedelta
from typing import Any

import pytest
from django.contrib.auth.models import User
from django.utils import timezone
from django_eventstream.models import Event

from taskhub.api.pause_watch import read_pauses
from taskhub.auth.actor import SYSTEM, Actor
from taskhub.errors import Conflict, Held, LeaseLost
from taskhub.events import publish
from taskhub.models import HUB, Announcement, AuditEntry, Claim, Execution, Task
from taskhub.services import announcements, executions
from taskhub.services.admission_rules import admission_rule_set
from taskhub.services.announcements import announcement_create
from taskhub.services.claims import task_claim, task_release
from taskhub.services.notes import note_add
from taskhub.services.tasks import task_create, task_delete, task_update
from tests.agents.calls import acting
from tests.conftest import make_account

pytestmark = pytest.mark.django_db
Write = Callable[[Actor, Task], Any]
WRITES: dict[str, Write] = {
    "change": lambda actor, task: task_update(actor=actor, task_id=task.pk, title="u"),
    "finish": lambda actor, task: task_update(actor=actor, task_id=task.pk, status="done"),
    "run": lambda actor, task: executions.execution_queue(actor=actor, task_id=task.pk, script="true"),
    "release": lambda actor, task: task_release(actor=actor, task_id=task.pk),
    "delete": lambda actor, task: task_delete(actor=actor, task_id=task.pk),
}
writes = pytest.mark.parametrize("write", WRITES.values(), ids=WRITES.keys())


@pytest.fixture
def bob(db: None) -> User:
    return make_account("bob", "agent")


def person(user: User) -> Actor:
    return Actor(door="rest", user=user)


def held_by_alice(maker: Actor) -> Task:
    """Made by this one, held by alice/one."""
    task = task_create(actor=maker, title="t")
    assert task_claim(actor=acting(User.objects.get(username="alice"), "one"), task_id=task.pk) is not None
    return Task.objects.get(pk=task.pk)


def overrides() -> int:
    return AuditEntry.objects.filter(action="claim:override").count()


@writes
def test_the_maker_of_a_task_may_do_with_it_what_its_holder_may(alice: User, bob: User, write: Write) -> None:
    task = held_by_alice(acting(bob, "planner"))
    write(acting(bob, "planner"), task)
    assert overrides() == 1


@writes
def test_other_agents_of_the_makers_account_are_not_its_maker(alice: User, bob: User, write: Write) -> None:
    task = held_by_alice(acting(bob, "planner"))
    with pytest.raises(Held):
        write(acting(bob, "worker"), task)
    assert overrides() == 0


@writes
def test_what_a_person_made_has_no_agent_as_its_maker(alice: User, bob: User, write: Write) -> None:
    task = held_by_alice(person(bob))
    with pytest.raises(Held):
        write(acting(bob, "planner"), task)


@writes
def test_a_setting_opens_what_others_hold(alice: User, bob: User, settings: Any, write: Write) -> None:
    task = held_by_alice(SYSTEM)
    settings.TASKHUB_OPEN_CHANGES = True
    write(acting(bob, "any"), task)


def test_a_holder_whose_task_its_maker_finished_is_told(alice: User, bob: User) -> None:
    task = held_by_alice(acting(bob, "planner"))
    WRITES["finish"](acting(bob, "planner"), task)
    with pytest.raises(LeaseLost) as told:
        WRITES["change"](acting(alice, "one"), task)
    assert told.value.details == {"status": "done", "assignee": "alice", "reason": "taken", "by": "bob"}


# Pauses


def test_while_the_hub_is_paused_no_agent_begins_work(alice: User) -> None:
    agent = acting(alice, "one")
    held, free = task_create(actor=SYSTEM, title="held"), task_create(actor=SYSTEM, title="free")
    claim = task_claim(actor=agent, task_id=held.pk)
    until = timezone.now() + timedelta(hours=1)
    admission_rule_set(actor=SYSTEM, paused=True, paused_until=until)
    begins: list[Callable[[], Any]] = [
        lambda: task_claim(actor=agent),
        lambda: task_claim(actor=agent, task_id=free.pk),
        lambda: task_update(actor=agent, task_id=free.pk, status="inprogress"),
        lambda: executions.execution_queue(actor=agent, task_id=free.pk, script="true"),
    ]
    for begin in begins:
        with pytest.raises(Conflict) as refused:
            begin()
        assert (refused.value.code, "the hub" in refused.value.message) == ("paused", True)
        assert refused.value.details is not None
        assert refused.value.details["paused_until"]
    assert Claim.objects.count() == 1
    # What it holds it goes on with: it claims it again, runs it (the run waits), changes it.
    again = task_claim(actor=agent, task_id=held.pk)
    assert claim is not None
    assert again is not None
    executions.execution_queue(actor=agent, task_id=held.pk, script="true")
    note_add(actor=agent, task_id=held.pk, kind="note", text="going on")
    assert Execution.objects.get().status == "queued"
    # People are not bound.
    assert task_claim(actor=person(alice), task_id=free.pk) is not None


def test_a_pause_of_an_account_is_for_its_agents_alone(alice: User, bob: User) -> None:
    task_create(actor=SYSTEM, title="t")
    admission_rule_set(actor=SYSTEM, account="alice", paused=True)
    with pytest.raises(Conflict, match="paused for alice until an operator ends"):
        task_claim(actor=acting(alice, "one"))
    assert not Announcement.objects.exists()
    assert task_claim(actor=acting(bob, "one")) is not None


def test_a_pause_that_is_over_binds_none(alice: User, monkeypatch: pytest.MonkeyPatch) -> None:
    task_create(actor=SYSTEM, title="t")
    admission_rule_set(actor=SYSTEM, paused=True, paused_until=timezone.now() + timedelta(hours=1))
    later = timezone.now() + timedelta(hours=1, seconds=1)
    monkeypatch.setattr("django.utils.timezone.now", lambda: later)
    assert task_claim(actor=acting(alice, "one")) is not None


def test_web_processes_are_told_of_a_pause_and_read_all_of_them(
    monkeypatch: pytest.MonkeyPatch, django_capture_on_commit_callbacks: Any
) -> None:
    messages: list[dict[str, Any]] = []
    monkeypatch.setattr(publish, "notify", lambda message: messages.append(json.loads(message)))
    until = timezone.now() + timedelta(hours=1)
    with django_capture_on_commit_callbacks(execute=True):
        admission_rule_set(actor=SYSTEM, account="alice", paused=True, paused_until=until)
        admission_rule_set(actor=SYSTEM, account="bob", at_once=1)
    told = [message for message in messages if message["channel"] == "admission"]
    assert [(each["pub_id"], json.loads(each["data"])) for each in told] == [
        *((None, {"account": "alice"}), (None, {"account": "bob"}))
    ]
    found = read_pauses()
    assert {account: is_paused for account, (_, is_paused) in found.rules.items()} == {"alice": True, "bob": False}
    assert found.next_end == until
    admission_rule_set(actor=SYSTEM, paused=True)
    monkeypatch.setattr("django.utils.timezone.now", lambda: until)
    over = read_pauses()
    # At its end a pause is over, without a change of its rule.
    assert (over.rules["alice"], over.rules[HUB][1], over.next_end) == ((found.rules["alice"][0], False), True, None)


def told() -> list[tuple[str, bool]]:
    """The announcements that were told, and whether each was current then."""
    events = [json.loads(text) for text in Event.objects.order_by("eid").values_list("data", flat=True)]
    return [
        (event["data"]["text"], not event["data"]["withdrawn"]) for event in events if event["event"] == "announcement"
    ]


def test_a_pause_of_the_hub_is_announced_and_its_end_too(operator: User) -> None:
    actor = person(operator)
    admission_rule_set(actor=actor, paused=True)
    forever = "New work is paused: agents claim no tasks and executions wait. What runs goes on."
    assert told() == [(forever, True)]
    admission_rule_set(actor=actor, paused=True, at_once=5)
    assert len(told()) == 1, "the pause is as it was"
    until = timezone.now().replace(hour=18, minute=30) + timedelta(days=1)
    admission_rule_set(actor=actor, paused=True, paused_until=until)
    limited = forever.replace("paused:", f"paused until {until:%Y-%m-%d} 18:30 UTC:")
    assert told()[1:] == [(forever, False), (limited, True)]
    assert Announcement.objects.current().get().ends_at == until
    admission_rule_set(actor=actor, paused=False)
    assert told()[3:] == [(limited, False)]
    assert not Announcement.objects.current().exists()


def test_a_pause_does_not_wait_for_room_among_the_announcements(
    operator: User, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(announcements, "CURRENT_LIMIT", 1)
    announcement_create(actor=person(operator), text="another", level="info")
    assert admission_rule_set(actor=person(operator), paused=True).paused
    assert [text for text, _ in told()] == ["another"]
    assert not admission_rule_set(actor=person(operator), paused=False).paused
