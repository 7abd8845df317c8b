from __future__ import annotations

import json
import threading
import uuid
from typing import Any

import pytest
from django.db import connections, transaction
from django_eventstream.models import Event

from taskhub.auth.actor import Actor
from taskhub.errors import Conflict, NotFound, PreconditionFailed, TransitionRefused
from taskhub.models import TRANSITIONS, AuditEntry, Execution, Task, TaskStatus
from taskhub.services.tasks import task_create, task_delete, task_update

pytestmark = pytest.mark.django_db


def events() -> list[dict[str, Any]]:
    return [json.loads(data) for data in Event.objects.order_by("eid").values_list("data", flat=True)]


def test_task_create_appends_its_event_and_its_audit_entry(actor: Actor) -> None:
    task = task_create(actor=actor, title="Fix it", priority="high", tags=["a"])
    (event,) = events()
    assert event["event"] == "task_created"
    assert event["data"]["task_id"] == str(task.pk)
    assert (event["data"]["priority"], event["data"]["tags"], event["data"]["version"]) == ("high", ["a"], 1)
    entry = AuditEntry.objects.get()
    assert (entry.actor_name, entry.door, entry.action) == ("alice", "rest", "task:create")
    assert entry.changes["title"] == [None, "Fix it"]


@pytest.mark.parametrize("before", TaskStatus.values)
@pytest.mark.parametrize("after", TaskStatus.values)
def test_status_follows_the_table_of_transitions(actor: Actor, before: str, after: str) -> None:
    task = task_create(actor=actor, title="t", status=before)
    allowed = TRANSITIONS[TaskStatus(before)]
    if after == before:
        assert task_update(actor=actor, task_id=task.pk, status=after).version == 1
    elif after in allowed:
        assert task_update(actor=actor, task_id=task.pk, status=after).status == after
    else:
        with pytest.raises(TransitionRefused) as refused:
            task_update(actor=actor, task_id=task.pk, status=after)
        assert refused.value.details is not None
        assert set(refused.value.details["allowed"]) == allowed
        assert Task.objects.get().version == 1


def test_an_update_without_changes_writes_no_event_and_no_audit_entry(actor: Actor) -> None:
    task = task_create(actor=actor, title="t", assignee="bob")
    task_update(actor=actor, task_id=task.pk, assignee="bob", title="t")
    assert Task.objects.get().version == 1
    assert AuditEntry.objects.count() == len(events()) == 1


def test_an_update_event_has_changed_and_previous_values(actor: Actor) -> None:
    task = task_create(actor=actor, title="t", assignee="bob")
    task_update(actor=actor, task_id=task.pk, assignee="alice", description="new", status="inprogress")
    data = events()[-1]["data"]
    assert data["changed"] == ["assignee", "description", "status"]
    assert data["previous"] == {"assignee": "bob", "status": "todo"}
    assert data["description"] == "new"
    assert "description" not in _after(actor, task.pk, title="u")


def _after(actor: Actor, task_id: uuid.UUID, **fields: Any) -> dict[str, Any]:
    task_update(actor=actor, task_id=task_id, **fields)
    data: dict[str, Any] = events()[-1]["data"]
    return data


def test_update_under_an_old_version_is_refused(actor: Actor) -> None:
    task = task_create(actor=actor, title="t")
    task_update(actor=actor, task_id=task.pk, title="u", expected_version=1)
    with pytest.raises(PreconditionFailed) as refused:
        task_update(actor=actor, task_id=task.pk, title="v", expected_version=1)
    assert refused.value.details == {"version": 2}
    assert Task.objects.get().title == "u"


def test_unknown_task_is_not_found(actor: Actor) -> None:
    with pytest.raises(NotFound):
        task_update(actor=actor, task_id=uuid.uuid4(), title="x")
    with pytest.raises(NotFound):
        task_delete(actor=actor, task_id=uuid.uuid4())


def test_task_under_execution_is_not_deleted(actor: Actor) -> None:
    task = task_create(actor=actor, title="t")
    Execution.objects.create(task=task, script="true", timeout_s=1, session_name="s", log_file="l")
    with pytest.raises(Conflict) as refused:
        task_delete(actor=actor, task_id=task.pk)
    assert refused.value.code == "execution_active"
    assert Task.objects.exists()


def test_the_delete_event_has_the_assignee(actor: Actor) -> None:
    task = task_create(actor=actor, title="t", assignee="bob")
    task_delete(actor=actor, task_id=task.pk)
    assert events()[-1]["event"] == "task_deleted"
    assert events()[-1]["data"] == {"task_id": str(task.pk), "assignee": "bob", "private": False}


def test_rollback_leaves_neither_the_change_nor_its_event(actor: Actor) -> None:
    class Interrupted(Exception):
        pass

    task = task_create(actor=actor, title="kept")

    def change_and_fail() -> None:
        with transaction.atomic():
            task_update(actor=actor, task_id=task.pk, title="dropped")
            raise Interrupted

    with pytest.raises(Interrupted):
        change_and_fail()
    task_update(actor=actor, task_id=task.pk, title="next")
    assert [event["data"]["title"] for event in events()] == ["kept", "next"]
    # The number was given back with the rest: no hole that a reader could take for a loss.
    assert list(Event.objects.order_by("eid").values_list("eid", flat=True)) == [1, 2]


@pytest.mark.django_db(transaction=True)
def test_concurrent_writers_lose_no_update(actor: Actor) -> None:
    task = task_create(actor=actor, title="t")
    names = ["title", "description", "assignee", "tags", "artifacts", "priority"]
    values: dict[str, Any] = {
        "title": "T",
        "description": "D",
        "assignee": "A",
        "tags": ["x"],
        "artifacts": ["y"],
        "priority": "low",
    }
    ready = threading.Barrier(len(names))
    failures: list[BaseException] = []

    def write(name: str) -> None:
        try:
            ready.wait(60)
            task_update(actor=actor, task_id=task.pk, **{name: values[name]})
        except BaseException as error:  # noqa: BLE001 - told by the assertion below
            failures.append(error)
        finally:
            connections.close_all()

    threads = [threading.Thread(target=write, args=[name]) for name in names]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(30)
    assert failures == []
    task.refresh_from_db()
    assert {name: getattr(task, name) for name in names} == values
    assert task.version == 1 + len(names)
    assert [event["data"]["version"] for event in events()] == list(range(1, 2 + len(names)))
