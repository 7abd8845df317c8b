"""What the hub knows of sandboxes beside Daytona's object: facts, history, files; against the local sandbox server."""

from __future__ import annotations

import uuid
from functools import partial
from typing import Any

import pytest
from django.contrib.auth.models import User
from django.utils import timezone
from rest_framework.test import APIClient

from sandboxes.models import DESTROYED, Sandbox, StateChange, Subscription, Watching
from sandboxes.selectors import files
from sandboxes.services.sandbox_state import sandboxes_mark_destroyed, sandboxes_store
from sandboxes.services.sandboxes import command_run, sandbox_create, sandbox_delete, sandbox_stop, session_create
from taskhub.auth.actor import SYSTEM, Actor
from taskhub.models import Execution, StreamProcess
from taskhub.services import tasks
from taskhub.services.executions import execution_queue
from taskhub.web.thread_pool import wait_here
from tests.conftest import client_of, make_account
from tests.processes import wait_until

pytestmark = pytest.mark.django_db


def made(actor: Actor = SYSTEM) -> str:
    return str(wait_here(partial(sandbox_create, actor=actor, fields={}))["id"])


def got(client: APIClient, address: str, **query: Any) -> Any:
    answer = client.get(address, query)
    assert answer.status_code == 200, answer.content
    return answer.json()


def facts(client: APIClient, sandbox_id: str) -> dict[str, Any]:
    """Those of the list, which are those of the sandbox."""
    rows = got(client, "/api/sandboxes/", facts="true", limit=200)["items"]
    (found,) = [row["hub"] for row in rows if row["id"] == sandbox_id]
    assert got(client, f"/api/sandboxes/{sandbox_id}/", facts="true")["hub"] == found
    hub: dict[str, Any] = found
    return hub


def executed(actor: Actor, sandbox_id: str, **fields: Any) -> Execution:
    task = tasks.task_create(actor=SYSTEM, title="in it", **fields)
    execution = execution_queue(actor=actor, task_id=task.pk, script="true")
    Execution.objects.filter(pk=execution.pk).update(sandbox_id=sandbox_id)
    return execution


def test_a_sandbox_has_its_task_its_owner_and_its_watchers(alice: User, operator: User, sandboxes: None) -> None:
    sandbox_id = made()
    nothing = {"own": False, "execution": None, "watchers": []}
    refused = dict.fromkeys(("may_start", "may_stop", "may_delete", "may_read_files"), False)
    found = facts(client_of(alice), sandbox_id)
    assert [found.pop(name) > 0 for name in ("cpu", "memory", "disk")] == [True] * 3
    assert found == nothing | refused
    executed(SYSTEM, sandbox_id)
    newest = executed(Actor(door="rest", user=alice), sandbox_id)
    StreamProcess.objects.create(name="web", reported_at=timezone.now(), report={})
    for user in (alice, operator, None):
        Subscription.objects.create(
            user=user,
            user_name=user.username if user else "",
            kind=Watching.STATUS,
            sandbox_id=sandbox_id,
            process="web",
            opened_at=timezone.now(),
        )
    mine = facts(client_of(alice), sandbox_id)
    assert (mine["own"], mine["execution"]["execution_id"], mine["execution"]["title"]) == (
        True,
        str(newest.pk),
        "in it",
    )
    assert mine["watchers"] == [{"user": "alice", "streams": 1}]
    of_operator = facts(client_of(operator), sandbox_id)
    assert of_operator["own"] is False
    assert [each["user"] for each in of_operator["watchers"]] == ["", "alice", "operator"]
    assert [of_operator[name] for name in refused] == [False, True, True, True]
    assert "hub" not in got(client_of(alice), f"/api/sandboxes/{sandbox_id}/")


def test_one_that_an_account_has_made_is_its_own(operator: User, sandboxes: None) -> None:
    sandbox_id = made(Actor(door="rest", user=operator))
    assert facts(client_of(operator), sandbox_id)["own"] is True
    other = User.objects.create_superuser("another", password="another")
    assert facts(client_of(other), sandbox_id)["own"] is False


def test_an_execution_is_known_by_the_sandboxs_name_before_its_script_runs(alice: User, sandboxes: None) -> None:
    task = tasks.task_create(actor=SYSTEM, title="t")
    execution = execution_queue(actor=Actor(door="rest", user=alice), task_id=task.pk, script="true")
    fields = {"name": execution.session_name}
    sandbox_id = str(wait_here(partial(sandbox_create, actor=SYSTEM, fields=fields))["id"])
    assert facts(client_of(alice), sandbox_id)["execution"]["execution_id"] == str(execution.pk)


def test_states_are_kept_with_who_asked_for_them(alice: User, operator: User, sandboxes: None) -> None:
    actor = Actor(door="rest", user=operator)
    sandbox_id = made(actor)
    history = f"/api/sandboxes/{sandbox_id}/history/"

    def states() -> list[tuple[str, str, str]]:
        found = got(client_of(alice), history)["states"]
        return [(each["state"], each["action"], each["by"]) for each in reversed(found)]

    created = states()
    assert [each[1:] for each in created] == [("create", "operator")]
    stopped = wait_here(partial(sandbox_stop, actor=actor, sandbox_id=sandbox_id))
    assert states()[1:] == [(stopped["state"], "stop", "operator")]
    wait_until(lambda: facts(client_of(operator), sandbox_id)["may_start"], "it is stopped")
    assert [facts(client_of(operator), sandbox_id)[name] for name in ("cpu", "memory")] == [0, 0]
    # As a poll sees it, twice; then an older state is seen no more.
    for _ in range(2):
        sandboxes_store(documents=[{"id": sandbox_id, "state": "archived", "updatedAt": "2999-01-01T00:00:00Z"}])
    assert states()[2:] == [("archived", "", "")]
    wait_here(partial(sandbox_delete, actor=actor, sandbox_id=sandbox_id))
    sandboxes_mark_destroyed(sandbox_ids=[sandbox_id])
    sandboxes_mark_destroyed(sandbox_ids=[sandbox_id])
    assert states()[3][1] == "delete"
    assert states()[-1][0] == DESTROYED
    assert [each[0] for each in states()].count(DESTROYED) == 1
    # Its history outlives it.
    wait_until(lambda: client_of(alice).get(f"/api/sandboxes/{sandbox_id}/").status_code == 404, "it is gone")
    execution = executed(actor, sandbox_id)
    assert [each["execution_id"] for each in got(client_of(alice), history)["executions"]] == [str(execution.pk)]


def test_what_is_private_has_no_history_for_others(alice: User, operator: User, sandboxes: None) -> None:
    sandbox_id = made()
    executed(Actor(door="rest", user=alice), sandbox_id, private=True, assignee="alice")
    bob = make_account("bob", "agent")
    for address in (f"/api/sandboxes/{sandbox_id}/history/", f"/api/sandboxes/{sandbox_id}/?facts=true"):
        assert client_of(bob).get(address).status_code == 404
        assert client_of(alice).get(address).status_code == client_of(operator).get(address).status_code == 200
    Sandbox.objects.create(id=sandbox_id, name="by-name", state="started", seen_at=timezone.now())
    assert client_of(bob).get("/api/sandboxes/by-name/history/").status_code == 404


def test_a_sandbox_that_the_hub_has_not_seen_has_no_history(alice: User) -> None:
    assert client_of(alice).get(f"/api/sandboxes/{uuid.uuid4()}/history/").status_code == 404
    StateChange.objects.create(sandbox_id="box", state="started", at=timezone.now())
    assert got(client_of(alice), "/api/sandboxes/box/history/")["executions"] == []


def test_operators_see_the_files_of_a_sandbox(
    alice: User, operator: User, sandboxes: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    sandbox_id = made()
    address = f"/api/sandboxes/{sandbox_id}/files/"
    wait_here(partial(session_create, actor=SYSTEM, sandbox_id=sandbox_id, session_id="s"))
    line = "mkdir -p 'a folder' && printf 12345 > 'a folder/ü.txt' && touch z"
    wait_here(partial(command_run, actor=SYSTEM, sandbox_id=sandbox_id, session_id="s", command=line))
    client = client_of(operator)
    wait_until(lambda: "z" in [item["name"] for item in got(client, address)["items"]], "the files are there")
    folder = got(client, address)
    shown = [(item["name"], item["is_dir"]) for item in folder["items"] if item["name"] in {"a folder", "z"}]
    assert shown == [("a folder", True), ("z", False)]
    (item,) = got(client, address, path=f"{folder['path']}/a folder")["items"]
    assert (item["name"], item["size"], item["path"]) == ("ü.txt", 5, f"{folder['path']}/a folder/ü.txt")
    answer = client.get(f"{address}content/", {"path": item["path"]})
    assert (answer.status_code, answer.content) == (200, b"12345")
    assert answer["Content-Disposition"] == "attachment; filename*=UTF-8''%C3%BC.txt"
    assert client.get(f"{address}content/", {"path": "/none/of/this"}).status_code in {403, 404, 409}
    assert client.get(f"{address}content/").status_code == 400
    monkeypatch.setattr(files, "CONTENT_BYTES", 4)
    assert client.get(f"{address}content/", {"path": item["path"]}).json()["error"]["code"] == "file_too_large"
    monkeypatch.setattr(files, "LISTED_BYTES", 4)
    assert client.get(address).json()["error"]["code"] == "folder_too_large"
    for path in (address, f"{address}content/?path=z"):
        assert client_of(alice).get(path).status_code == 403


def test_the_pages_are_for_readers(alice: User, settings: Any) -> None:
    settings.TASKHUB_OPEN_READING = False
    for address in ("/sandboxes/", "/sandboxes/some-box/"):
        assert APIClient().get(address).status_code == 302
        client = APIClient()
        client.force_login(alice)
        assert client.get(address).status_code == 200
    assert client.get("/sandboxes/../").status_code == 404
