"""Private tasks are for their assignee and for operators: over REST, in replay, live, and from the event on that hides
them."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from typing import Any

import pytest
from asgiref.sync import sync_to_async
from django.contrib.auth.models import User
from django.db import connections
from rest_framework.test import APIClient

from taskhub.auth.actor import SYSTEM, Actor
from taskhub.events.filters import Filters
from taskhub.events.hub import Hub
from taskhub.roles import viewer_of
from taskhub.services import executions, tasks
from taskhub.services.notes import note_add
from tests.conftest import client_of, make_account

pytestmark = pytest.mark.django_db(transaction=True)


@pytest.fixture
def bob() -> User:
    """An agent, like alice."""
    return make_account("bob", "agent")


def test_private_tasks_are_hidden_over_rest(api: APIClient, anonymous: APIClient, bob: User, operator: User) -> None:
    task = tasks.task_create(actor=SYSTEM, title="secret", assignee="bob", private=True)
    execution = executions.execution_queue(actor=SYSTEM, task_id=task.pk, script="true")
    reads = [
        f"/api/tasks/{task.pk}/",
        f"/api/tasks/{task.pk}/history/",
        f"/api/exec/status/{task.pk}",
        f"/api/exec/status/{task.pk}?execution_id={execution.pk}",
        f"/api/exec/logs/{task.pk}",
        f"/api/exec/logs/{task.pk}/search?q=a",
    ]
    for address in reads:
        assert api.get(address).status_code == anonymous.get(address).status_code == 404, address
        assert client_of(bob).get(address).status_code == client_of(operator).get(address).status_code == 200, address
    for method, address, body in [
        ("patch", f"/api/tasks/{task.pk}/", {"title": "mine"}),
        ("delete", f"/api/tasks/{task.pk}/", None),
        ("put", f"/api/tasks/status/{task.pk}", {"new_status": "done"}),
        ("post", f"/api/exec/{task.pk}", {"script_content": "true"}),
        ("post", f"/api/exec/stop/{task.pk}", None),
    ]:
        answer = getattr(api, method)(address, body, format="json")
        assert (answer.status_code, answer.json()["error"]["code"]) == (404, "task_not_found"), address
    for client, count in ((api, 0), (anonymous, 0), (client_of(bob), 1), (client_of(operator), 1)):
        assert len(client.get("/api/tasks/").json()["results"]) == count
        assert len(client.get("/api/tasks/?q=secret&private=true").json()["results"]) == count
    log = anonymous.get(f"/api/exec/logs/{task.pk}/stream")
    assert log.status_code == 404


def test_the_history_of_a_deleted_private_task_stays_private(api: APIClient, bob: User, operator: User) -> None:
    task = tasks.task_create(actor=SYSTEM, title="secret", assignee="bob", private=True)
    tasks.task_delete(actor=SYSTEM, task_id=task.pk)
    address = f"/api/tasks/{task.pk}/history/"
    assert api.get(address).status_code == 404
    assert client_of(bob).get(address).status_code == client_of(operator).get(address).status_code == 200


def test_reassigning_a_private_task_loses_access(api: APIClient, alice: User) -> None:
    made = api.post("/api/tasks/", {"title": "t", "private": True, "assignee": "alice"}, format="json").json()
    assert made["private"] is True
    assert api.patch(f"/api/tasks/{made['id']}/", {"assignee": "bob"}, format="json").status_code == 200
    assert api.get(f"/api/tasks/{made['id']}/").status_code == 404


def test_an_unassigned_private_task_is_hidden(anonymous: APIClient, alice: User) -> None:
    task = tasks.task_create(actor=SYSTEM, title="secret", private=True)
    assert anonymous.get(f"/api/tasks/{task.pk}/").status_code == 404


@pytest.mark.parametrize("value", ["yes", 1, 0, None, "false", []])
def test_private_is_true_or_false(api: APIClient, value: Any) -> None:
    answer = api.post("/api/tasks/", {"title": "t", "private": value}, format="json")
    assert answer.status_code == 400
    assert "private" in answer.json()["error"]["details"]


# --- The stream --------------------------------------------------------------------------------------


@pytest.fixture
async def hub() -> AsyncIterator[Hub]:
    made = Hub()
    yield made
    await made.close()
    await sync_to_async(connections.close_all)()


async def seen_by(hub: Hub, viewer: str | None, *, cursor: int = 0, **filters: Any) -> list[tuple[str, str]]:
    """The events after `cursor` as this viewer gets them, up to the task titled "end": names and titles or ids."""
    feed = await hub.feed("tasks")
    found = []
    async with asyncio.timeout(20):
        async for piece in feed.follow(cursor, Filters(viewer=viewer, **filters)):
            for line in piece.decode().splitlines():
                if line.startswith("data: "):
                    event = json.loads(line[6:])
                    found.append((event["event"], event["data"].get("title", event["data"]["task_id"])))
            if ("task_created", "end") in found:
                return found[:-1]
    raise AssertionError("the feed ended")


@sync_to_async
def make(**fields: Any) -> Any:
    return tasks.task_create(actor=SYSTEM, **fields)


@sync_to_async
def change(task: Any, **fields: Any) -> None:
    tasks.task_update(actor=SYSTEM, task_id=task.pk, **fields)


async def watch(hub: Hub, *viewers: str | None) -> dict[str | None, asyncio.Task[list[tuple[str, str]]]]:
    """Live watchers, from here on."""
    head = (await hub.feed("tasks")).head
    started = {viewer: asyncio.create_task(seen_by(hub, viewer, cursor=head)) for viewer in viewers}
    await asyncio.sleep(0)
    return started


async def test_live_a_private_task_is_shown_to_its_assignee_and_to_operators(hub: Hub) -> None:
    watchers = await watch(hub, None, "bob", "carol", "")
    task = await make(title="secret", assignee="bob", private=True)
    await change(task, title="more secret")
    await sync_to_async(tasks.task_delete)(actor=SYSTEM, task_id=task.pk)
    await make(title="end")
    story = [("task_created", "secret"), ("task_updated", "more secret"), ("task_deleted", str(task.pk))]
    assert await watchers[None] == await watchers["bob"] == story
    assert await watchers["carol"] == await watchers[""] == []


async def test_making_a_task_private_sends_task_deleted_to_others(hub: Hub) -> None:
    watchers = await watch(hub, None, "bob", "carol", "")
    task = await make(title="open", assignee="bob")
    await change(task, private=True, title="secret", assignee="carol")
    await change(task, title="more secret")
    await make(title="end")
    gone = [("task_created", "open"), ("task_deleted", str(task.pk))]
    story = [("task_created", "open"), ("task_updated", "secret"), ("task_updated", "more secret")]
    # What was said while it was open may have been read before it was hidden, or not.
    assert await watchers["bob"] in (gone, gone[1:])
    assert await watchers[""] in (gone, gone[1:])
    assert await watchers["carol"] == await watchers[None] == story


async def test_a_replay_leaves_out_tasks_that_are_private_now(hub: Hub) -> None:
    task = await make(title="open", description="words", assignee="bob")
    await change(task, title="still open")
    await change(task, private=True)
    await make(title="end")
    for viewer in ("carol", ""):
        assert await seen_by(hub, viewer) == [("task_deleted", str(task.pk))]
    assert len(await seen_by(hub, "bob")) == len(await seen_by(hub, None)) == 3
    # The same from a process that knew the task while it was open, and where it is deleted by now.
    await sync_to_async(tasks.task_delete)(actor=SYSTEM, task_id=task.pk)
    fresh = Hub()
    try:
        assert await seen_by(fresh, "carol") == [("task_deleted", str(task.pk))]
    finally:
        await fresh.close()


async def test_task_deleted_of_a_private_task_reveals_nothing_new(hub: Hub) -> None:
    task = await make(title="open", assignee="bob")
    await change(task, private=True, assignee="carol", title="secret")
    feed = await hub.feed("tasks")
    piece = (await anext(feed.follow(0, Filters(viewer="")))).decode()
    assert json.loads(piece.split("data: ")[1])["data"] == {
        "task_id": str(task.pk),
        "assignee": "bob",
        "private": False,
    }
    assert "secret" not in piece
    assert "carol" not in piece


async def test_the_new_assignee_of_a_private_task_receives_the_whole_task(hub: Hub) -> None:
    task = await make(title="secret", assignee="bob", private=True, description="words")
    head = (await hub.feed("tasks")).head
    await change(task, assignee="carol")
    await make(title="end")
    feed = await hub.feed("tasks")
    piece = (await anext(feed.follow(head, Filters(viewer="carol", task_id=str(task.pk))))).decode()
    assert json.loads(piece.split("data: ")[1])["data"]["description"] == "words"
    assert (await seen_by(hub, "bob", cursor=0)) == [("task_deleted", str(task.pk))]


async def test_a_task_that_becomes_public_is_sent_to_all(hub: Hub) -> None:
    task = await make(title="secret", assignee="bob", private=True, description="words")
    watchers = await watch(hub, "carol")
    await change(task, private=False)
    await change(task, title="public")
    await make(title="end")
    assert await watchers["carol"] == [("task_updated", "secret"), ("task_updated", "public")]


async def test_filters_apply_to_task_deleted_of_private_tasks(hub: Hub) -> None:
    task = await make(title="open", assignee="bob")
    await change(task, private=True)
    await make(title="end", assignee="bob")
    told = [("task_deleted", str(task.pk))]
    assert await seen_by(hub, "", assignee="bob") == told
    assert await seen_by(hub, "", types=frozenset({"task_created"})) == []


async def test_execution_events_of_private_tasks_are_hidden(hub: Hub) -> None:
    task = await make(title="secret", assignee="bob", private=True)
    queued = await sync_to_async(executions.execution_queue)(actor=SYSTEM, task_id=task.pk, script="true")
    await sync_to_async(executions.execution_finish)(
        execution=queued, outcome=executions.Outcome(executions.ExecutionStatus.STOPPED)
    )
    await make(title="end")
    assert await seen_by(hub, "carol") == []
    assert [name for name, _ in await seen_by(hub, "bob")] == ["task_created", "task_updated", "execution_event"]


async def test_notes_and_readiness_of_private_tasks_are_hidden(hub: Hub) -> None:
    first = await make(title="first")
    hidden = await make(title="hidden", private=True, assignee="bob", blocked_by=[first.pk])
    watchers = await watch(hub, None, "bob", "carol", "")
    await change(first, status="done")
    await sync_to_async(note_add)(actor=SYSTEM, task_id=hidden.pk, kind="note", text="secret")
    await make(title="end")
    told = [("task_updated", "first"), ("task_ready", "hidden"), ("note_added", str(hidden.pk))]
    for viewer, watcher in watchers.items():
        assert await watcher == (told if viewer in {None, "bob"} else told[:1]), viewer


def test_viewer_of_each_role(alice: User, operator: User) -> None:
    assert viewer_of(alice) == "alice"
    assert viewer_of(operator) is None
    assert Actor(door="rest", user=alice).token is None
