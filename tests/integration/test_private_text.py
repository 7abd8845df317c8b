"""What was made while a task was private stays with operators and those who could read it then, also when the task is
public again: history, replays, live streams, executions with their scripts, logs and files, webhooks, sandboxes."""

from __future__ import annotations

import json
import random
from collections.abc import AsyncIterator
from importlib import import_module
from typing import Any

import pytest
from asgiref.sync import sync_to_async
from django.apps import apps
from django.contrib.auth.models import AnonymousUser, User
from django.core.files.base import ContentFile
from django.core.files.storage import default_storage
from django.db import connections
from django.db.models import Max
from rest_framework.test import APIClient

from taskhub.auth.actor import SYSTEM
from taskhub.auth.sandbox_access import hidden_sandboxes
from taskhub.events.channels import TASKS
from taskhub.events.filters import Filters
from taskhub.events.hub import Hub
from taskhub.events.visibility import Privacy, Span
from taskhub.models import Artifact, AuditEntry, Execution, ExecutionStatus, PrivateReader, Task, WebhookDelivery
from taskhub.services import executions, tasks
from taskhub.webhooks.endpoints import endpoint_create, endpoint_update
from taskhub.webhooks.queue import deliveries_claim, deliveries_write
from tests.conftest import client_of, make_account

pytestmark = pytest.mark.django_db(transaction=True)
SECRET = "SECRET-XYZ"


@pytest.fixture
def bob() -> User:
    return make_account("bob", "agent")


@pytest.fixture
def carol() -> User:
    return make_account("carol", "agent")


def make(**fields: Any) -> Task:
    return tasks.task_create(actor=SYSTEM, **{"title": "plan"} | fields)


def change(task: Task, **fields: Any) -> None:
    tasks.task_update(actor=SYSTEM, task_id=task.pk, **fields)


def run(task: Task, script: str = f"echo {SECRET}") -> Execution:
    return executions.execution_queue(actor=SYSTEM, task_id=task.pk, script=script)


def end(execution: Execution) -> None:
    fresh = Execution.objects.get(pk=execution.pk)
    outcome = executions.Outcome(ExecutionStatus.STOPPED, exit_code=7, error_message=SECRET)
    assert executions.execution_finish(execution=fresh, outcome=outcome)


def history(client: APIClient, task: Task) -> list[dict[str, Any]]:
    answer = client.get(f"/api/tasks/{task.pk}/history/")
    assert answer.status_code == 200
    found: list[dict[str, Any]] = answer.json()["results"]
    return found


# --- History -----------------------------------------------------------------------------------------


def test_the_history_of_a_private_time_is_hidden_after_it(
    api: APIClient, anonymous: APIClient, bob: User, operator: User
) -> None:
    task = make(description=SECRET, assignee="bob", private=True)
    change(task, description="clean")
    change(task, private=False)
    change(task, title="public")
    public, *before = history(api, task)
    assert public["changes"] == {"title": ["plan", "public"]}
    assert (public["private"], public["action"]) == (False, "task:update")
    assert len(before) == 3
    for entry in before:
        assert entry == {
            "id": entry["id"],
            "at": entry["at"],
            "private": True,
            "actor": "",
            "door": "",
            "agent": "",
            "token_name": "",
            "execution_id": None,
            "changes": {},
            "action": "task:private",
        }
        assert entry["at"]
    assert history(anonymous, task) == [public, *before]
    for reader in (bob, operator):
        seen = history(client_of(reader), task)
        assert seen[1]["changes"] == {"private": [True, False]}
        assert [entry["private"] for entry in seen] == [False, True, True, True]
        assert SECRET in json.dumps(seen)


def test_the_change_that_makes_a_task_public_tells_nothing_of_before(api: APIClient, bob: User) -> None:
    task = make(description=SECRET, assignee="bob", private=True, status="inprogress")
    change(task, private=False, description="clean", status="done", assignee="")
    assert SECRET not in json.dumps(history(api, task))
    assert SECRET in json.dumps(history(client_of(bob), task))


def test_a_private_task_is_handed_over_with_its_private_past(bob: User, carol: User, api: APIClient) -> None:
    task = make(description=SECRET, assignee="bob", private=True)
    change(task, assignee="carol")
    change(task, title="carol's")
    change(task, private=False)
    shown = {name: [entry["action"] for entry in history(client_of(user), task)] for name, user in users(bob, carol)}
    hidden = "task:private"
    assert shown == {
        "carol": ["task:update", "task:update", "task:update", "task:create"],
        # Until it was taken from him.
        "bob": [hidden, hidden, hidden, "task:create"],
    }
    assert {entry["action"] for entry in history(api, task)} == {hidden}


def users(*these: User) -> list[tuple[str, User]]:
    return [(user.username, user) for user in these]


def test_a_second_private_time_does_not_open_the_first_one(bob: User, carol: User) -> None:
    task = make(description=SECRET, assignee="bob", private=True)
    change(task, private=False, description="clean", assignee="")
    change(task, private=True, assignee="carol", title="carol's")
    assert SECRET not in json.dumps(history(client_of(carol), task))
    change(task, private=False)
    assert [entry["action"] for entry in history(client_of(bob), task)][1:] == [
        "task:private",
        "task:update",
        "task:create",
    ]


def test_the_history_of_a_deleted_task_keeps_its_private_times(api: APIClient, bob: User) -> None:
    task = make(description=SECRET, assignee="bob", private=True)
    change(task, private=False, description="clean")
    tasks.task_delete(actor=SYSTEM, task_id=task.pk)
    assert SECRET not in json.dumps(history(api, task))
    assert SECRET in json.dumps(history(client_of(bob), task))


def test_an_account_without_a_name_reads_nothing_of_unassigned_private_tasks(anonymous: APIClient) -> None:
    task = make(description=SECRET, private=True)
    execution = run(task)
    end(execution)
    change(task, private=False, description="clean")
    assert SECRET not in json.dumps(history(anonymous, task))
    assert anonymous.get(f"/api/executions/{execution.pk}/").status_code == 404


# --- Executions --------------------------------------------------------------------------------------


def addresses(execution: Execution) -> list[str]:
    task, pk = execution.task_id, execution.pk
    return [
        f"/api/executions/{pk}/",
        f"/api/exec/status/{task}?execution_id={pk}",
        f"/api/exec/logs/{task}?execution_id={pk}",
        f"/api/exec/logs/{task}/search?q=a&execution_id={pk}",
        f"/api/exec/artifacts/{task}/?execution_id={pk}",
    ]


def readable(user: User | None, execution: Execution, client: APIClient | None = None) -> bool:
    """Whether all that is there of it is to be had; half of it is an error."""
    client = client or client_of(user)  # type: ignore[arg-type]  # one of the two is given
    answers = {client.get(address).status_code == 200 for address in addresses(execution)}
    for address in ("/api/executions/", f"/api/tasks/{execution.task_id}/executions/"):
        listed = client.get(address).json().get("results", [])
        answers.add(str(execution.pk) in {row["execution_id"] for row in listed})
    (answer,) = answers
    return answer


def test_an_execution_of_a_private_time_stays_private(
    api: APIClient, anonymous: APIClient, alice: User, bob: User, operator: User
) -> None:
    task = make(assignee="bob", private=True)
    execution = run(task)
    executions.execution_finish(execution=execution, outcome=executions.Outcome(ExecutionStatus.COMPLETED))
    Execution.objects.filter(pk=execution.pk).update(sandbox_id="box")
    stored = default_storage.save(f"artifacts/{execution.pk}/1", ContentFile(SECRET.encode()))
    artifact = Artifact.objects.create(execution=execution, path="secret.txt", size=10, stored_as=stored)
    file = f"/api/exec/artifacts/{task.pk}/{artifact.pk}"
    change(task, private=False)
    for client in (api, anonymous):
        assert not readable(None, execution, client)
        for address in (file, f"{file}/preview", f"/api/exec/artifacts/{task.pk}/zip"):
            assert client.get(address).status_code == 404, address
        for address in ("status", "logs", "artifacts"):
            assert client.get(f"/api/exec/{address}/{task.pk}").status_code == 404, address
        assert client.get(f"/api/exec/logs/{task.pk}/stream").status_code == 404
    for user in (bob, operator):
        assert readable(user, execution)
        answer = client_of(user).get(file)
        assert b"".join(answer) == SECRET.encode()  # type: ignore[arg-type]  # a stream
        assert SECRET in client_of(user).get(f"/api/executions/{execution.pk}/").json()["script"]
        assert hidden_sandboxes(user=user, names=["box"]) == set()
    assert "box" in hidden_sandboxes(user=alice, names=["box"])
    assert "box" in hidden_sandboxes(user=AnonymousUser(), names=["box"])
    # A run of the public time is everyone's, and hides nothing of the other.
    later = run(task, "true")
    end(later)
    assert api.get(f"/api/exec/status/{task.pk}").json()["execution_id"] == str(later.pk)
    assert [row["execution_id"] for row in api.get("/api/executions/").json()["results"]] == [str(later.pk)]


def test_an_execution_that_was_public_is_public_again(alice: User, bob: User) -> None:
    task = make(assignee="bob")
    execution = run(task)
    end(execution)
    change(task, private=True)
    assert not readable(alice, execution)
    change(task, private=False)
    assert readable(alice, execution)


def test_an_execution_is_private_if_its_task_was_at_any_moment(alice: User, bob: User, carol: User) -> None:
    task = make(assignee="bob")
    execution = run(task)
    change(task, private=True)
    change(task, private=False)
    end(execution)
    assert not readable(alice, execution)
    assert readable(bob, execution)
    assert not readable(carol, execution)


def test_an_execution_that_is_handed_over_is_its_new_owners(bob: User, carol: User) -> None:
    task = make(assignee="bob", private=True)
    ended = run(task)
    end(ended)
    running = run(task)
    change(task, assignee="carol")
    assert readable(carol, ended)
    assert readable(carol, running)
    end(running)
    change(task, private=False)
    assert readable(carol, ended)
    assert readable(carol, running)
    assert readable(bob, ended)
    # Carol's part of it was never his.
    assert not readable(bob, running)


# --- Events ------------------------------------------------------------------------------------------


@pytest.fixture
async def hub() -> AsyncIterator[Hub]:
    made = Hub()
    yield made
    await made.close()
    await sync_to_async(connections.close_all)()


async def replayed(hub: Hub, viewer: str | None, **filters: Any) -> list[dict[str, Any]]:
    """Every kept event as this viewer gets it, until the task that `ended` makes."""
    feed = await hub.feed(TASKS)
    found: list[dict[str, Any]] = []
    async for piece in feed.follow(0, Filters(viewer=viewer, **filters)):
        lines = piece.decode().splitlines()
        found += [json.loads(line[6:]) for line in lines if line.startswith("data: ")]
        if found and found[-1]["data"].get("title") == "end":
            return found[:-1]
    raise AssertionError("the feed ended")


def names(events: list[dict[str, Any]]) -> list[str]:
    return [event["event"] for event in events]


async def test_a_replay_leaves_out_what_was_private_then(hub: Hub) -> None:
    def story() -> None:
        task = make(description=SECRET, assignee="bob", private=True)
        end(run(task))
        change(task, description="clean")
        change(task, private=False, status="done", title="public", assignee="")
        make(title="end")

    await sync_to_async(story)()
    fresh = Hub()
    try:
        for source in (hub, fresh):
            for viewer in ("carol", ""):
                (shown,) = await replayed(source, viewer)
                assert (shown["event"], shown["data"]["title"]) == ("task_updated", "public")
                assert shown["data"]["description"] == "clean"
                # Nothing of what it was before, not even its status.
                assert shown["data"]["previous"] == {"private": True}
                assert shown["data"]["changed"] == ["private"]
            for viewer in ("bob", None):
                seen = await replayed(source, viewer)
                updated = "task_updated"
                assert names(seen) == ["task_created", updated, "execution_event", updated, updated]
                assert SECRET in json.dumps(seen)
                assert seen[-1]["data"]["previous"]["assignee"] == "bob"
    finally:
        await fresh.close()


async def test_filters_apply_to_the_event_that_makes_a_task_public(hub: Hub) -> None:
    def story() -> None:
        task = make(assignee="bob", private=True)
        change(task, private=False, assignee="carol")
        make(title="end", assignee="bob")
        make(title="end", assignee="carol")

    await sync_to_async(story)()
    assert names(await replayed(hub, "dave", assignee="carol")) == ["task_updated"]
    assert names(await replayed(hub, "dave", assignee="bob")) == []


@pytest.mark.parametrize("seed", range(4))
async def test_a_live_feed_and_a_new_one_agree_for_every_viewer(hub: Hub, seed: int) -> None:
    """What a feed followed event by event is what another reads from the tables."""
    await hub.feed(TASKS)
    chance = random.Random(seed)

    def moves() -> None:
        made = [make(title="t", private=chance.random() < 0.5, assignee=chance.choice(["", "bob", "carol"]))]
        for number in range(25):
            fields: dict[str, Any] = {"title": f"t{number}"}
            if chance.random() < 0.4:
                fields["private"] = chance.random() < 0.5
            if chance.random() < 0.4:
                fields["assignee"] = chance.choice(["", "bob", "carol"])
            change(made[0], **fields)
        make(title="end")

    await sync_to_async(moves)()
    live = {viewer: await replayed(hub, viewer) for viewer in ("bob", "carol", "dave", "", None)}
    fresh = Hub()
    try:
        for viewer, seen in live.items():
            assert await replayed(fresh, viewer) == seen
    finally:
        await fresh.close()
    assert len(live[None]) == 26
    for event in live["dave"]:
        assert event["event"] == "task_deleted" or event["data"]["private"] is False


def test_a_log_stream_ends_where_the_task_was_hidden_meanwhile() -> None:
    spans = {"t": [Span("bob", 5, 9), Span("carol", 5, 12)]}
    privacy = Privacy({}, spans)
    follow = {
        name: [Filters(viewer=name).may_follow("t", privacy, since=since) for since in (3, 7, 10, 12)]
        for name in ("bob", "carol", "dave", "")
    }
    assert follow == {
        "bob": [False, False, False, True],
        "carol": [True, True, True, True],
        "dave": [False, False, False, True],
        "": [False, False, False, True],
    }
    assert Filters(viewer=None).may_follow("t", privacy, since=3)


# --- Webhooks ----------------------------------------------------------------------------------------


def bodies() -> list[str]:
    return [delivery.body for delivery in WebhookDelivery.objects.order_by("sequence")]


def test_webhooks_receive_what_was_not_private_then(settings) -> None:
    settings.TASKHUB_WEBHOOKS_ALLOW_PRIVATE = True
    endpoint_create(actor=SYSTEM, url="http://127.0.0.1:9/")
    task = make(description=SECRET, assignee="bob", private=True)
    change(task, description="clean")
    change(task, private=False, status="done")
    assert deliveries_write() is False
    (told,) = bodies()
    assert json.loads(told)["data"]["previous"] == {"private": True}
    assert [delivery.event_type for delivery in deliveries_claim()] == ["task_updated"]


def test_an_endpoint_that_is_no_longer_private_gets_nothing_of_its_queue(settings) -> None:
    settings.TASKHUB_WEBHOOKS_ALLOW_PRIVATE = True
    endpoint, _ = endpoint_create(actor=SYSTEM, url="http://127.0.0.1:9/", private=True)
    task = make(description=SECRET, assignee="bob", private=True)
    change(task, private=False, description="clean", status="done")
    change(task, title="public")
    deliveries_write()
    endpoint_update(actor=SYSTEM, endpoint_id=endpoint.pk, private=False)
    (sent,) = deliveries_claim()
    assert json.loads(sent.body)["data"]["title"] == "public"
    withheld = WebhookDelivery.objects.exclude(pk=sent.pk)
    assert set(withheld.values_list("error", flat=True)) == {"Not sent: the task is private, or was then."}


# --- The maker, and the upgrade ----------------------------------------------------------------------


def test_a_private_task_of_an_agent_is_its_makers(api: APIClient, operator: User) -> None:
    made = api.post("/api/tasks/", {"title": "mine", "private": True}, format="json").json()
    assert made["assignee"] == "alice"
    assert api.get(f"/api/tasks/{made['id']}/").status_code == 200
    assert api.post("/api/tasks/", {"title": "open"}, format="json").json()["assignee"] == ""
    named = {"title": "hers", "private": True, "assignee": ""}
    assert api.post("/api/tasks/", named, format="json").json()["assignee"] == ""


migration = import_module("taskhub.migrations.0064_private_readers")


def rows() -> list[tuple[Any, ...]]:
    found = PrivateReader.objects.order_by("task_id", "since_entry", "pk")
    return list(found.values_list("task_id", "account", "since_entry", "until_entry"))


def test_the_migration_reads_the_same_from_the_audit_as_was_written() -> None:
    made = [make(assignee="bob", private=True), make(assignee="carol"), make()]
    first = run(made[0])
    end(first)
    change(made[0], assignee="carol")
    second = run(made[0])
    change(made[0], private=False, assignee="dave")
    end(second)
    change(made[0], private=True)
    change(made[1], private=True, title="x")
    change(made[1], private=False)
    third = run(made[1])
    end(third)
    written, marked = rows(), entries_of()
    PrivateReader.objects.all().delete()
    Execution.objects.update(private_entry=None)
    migration.read_spans(apps, None)
    assert rows() == written
    assert marked[third.pk] is None
    found = entries_of()
    for execution in (first, second):
        assert readers(execution.task_id, found[execution.pk]) == readers(execution.task_id, marked[execution.pk])
    assert found[third.pk] is None


def entries_of() -> dict[Any, int | None]:
    return dict(Execution.objects.values_list("pk", "private_entry"))


def readers(task_id: Any, entry: int | None) -> set[str]:
    assert entry is not None
    of_task = PrivateReader.objects.filter(task_id=task_id, since_entry__lte=entry)
    return {row.account for row in of_task if row.until_entry is None or row.until_entry >= entry}


def test_what_the_previous_release_makes_private_is_private_from_its_beginning(api: APIClient) -> None:
    task = make(description=SECRET, assignee="bob")
    Task.objects.filter(pk=task.pk).update(private=True)  # as a release writes it that knows no readers
    change(task, private=False, description="clean")
    assert SECRET not in json.dumps(history(api, task))
    last = AuditEntry.objects.aggregate(last=Max("id"))["last"]
    assert rows() == [(task.pk, "bob", 0, last)]
