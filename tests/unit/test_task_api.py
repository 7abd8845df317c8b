from __future__ import annotations

import uuid
from datetime import timedelta
from typing import Any

import pytest
from rest_framework.test import APIClient

from taskhub import jobs
from taskhub.auth.actor import Actor
from taskhub.models import ApiToken, Task
from taskhub.services.tasks import task_create

pytestmark = pytest.mark.django_db


def error(response: Any) -> dict[str, Any]:
    body = response.json()
    assert set(body) == {"error"}
    assert set(body["error"]) <= {"code", "message", "details"}
    found: dict[str, Any] = body["error"]
    return found


def test_a_created_task_is_returned_with_all_fields(api: APIClient) -> None:
    sent = {
        "title": "Fix the build",
        "description": "# Why\n\nIt is red. ",
        "status": "inprogress",
        "priority": "high",
        "assignee": "alice",
        "tags": ["ci", "red"],
        "artifacts": ["logs/build.txt"],
    }
    created = api.post("/api/tasks/", sent, format="json")
    assert created.status_code == 201
    assert {name: created.json()[name] for name in sent} == sent
    assert created["ETag"] == '"1"'
    again = api.get(f"/api/tasks/{created.json()['id']}/")
    assert created.json().items() <= again.json().items()  # which also has what it waits for


@pytest.mark.parametrize("slash", ["", "/"])
def test_addresses_answer_with_and_without_a_slash(api: APIClient, actor: Actor, slash: str) -> None:
    task = task_create(actor=actor, title="t")
    assert api.get(f"/api/tasks{slash}").status_code == 200
    assert api.get(f"/api/tasks/{task.pk}{slash}").status_code == 200
    assert api.get(f"/api/tasks/{task.pk}/history{slash}").status_code == 200
    assert api.get(f"/api/events/status{slash}").status_code == 200
    changed = api.put(f"/api/tasks/status/{task.pk}{slash}", {"new_status": "inprogress"}, format="json")
    assert changed.json()["status"] == "inprogress"


def test_partial_update_touches_only_what_it_names(api: APIClient, actor: Actor) -> None:
    task = task_create(actor=actor, title="t", assignee="bob", tags=["x"])
    changed = api.patch(f"/api/tasks/{task.pk}/", {"title": "u", "version": 7}, format="json")
    assert changed.status_code == 200
    assert (changed.json()["title"], changed.json()["assignee"], changed.json()["version"]) == ("u", "bob", 2)


def test_status_update_takes_priority_assignee_and_artifacts(api: APIClient, actor: Actor) -> None:
    task = task_create(actor=actor, title="t", artifacts=["old"])
    body = {"new_status": "review", "priority": "low", "assignee": "carol", "artifacts": ["a", "b"]}
    refused = api.put(f"/api/tasks/status/{task.pk}", body, format="json")
    assert refused.status_code == 409
    assert error(refused)["code"] == "transition_refused"
    assert error(refused)["details"]["allowed"] == ["inprogress", "done"]
    changed = api.put(f"/api/tasks/status/{task.pk}", {**body, "new_status": "done"}, format="json").json()
    assert (changed["status"], changed["priority"], changed["assignee"]) == ("done", "low", "carol")
    assert changed["artifacts"] == ["a", "b"]


def test_if_match_guards_against_overwriting(api: APIClient, actor: Actor) -> None:
    task = task_create(actor=actor, title="t")
    address = f"/api/tasks/{task.pk}/"
    assert api.patch(address, {"title": "u"}, format="json", headers={"If-Match": '"1"'}).status_code == 200
    late = api.patch(address, {"title": "v"}, format="json", headers={"If-Match": '"1"'})
    assert (late.status_code, error(late)["details"]) == (412, {"version": 2})
    wrong = api.patch(address, {"title": "v"}, format="json", headers={"If-Match": "one"})
    assert wrong.status_code == 400
    assert Task.objects.get().title == "u"


def test_list_filters_searches_and_orders(api: APIClient, actor: Actor) -> None:
    for title, status, priority, assignee in [
        ("alpha", "todo", "low", "bob"),
        ("beta", "inprogress", "high", "bob"),
        ("gamma", "done", "medium", "carol"),
    ]:
        task_create(actor=actor, title=title, status=status, priority=priority, assignee=assignee, description="Text")

    def titles(query: str) -> list[str]:
        return [task["title"] for task in api.get(f"/api/tasks/?{query}").json()["results"]]

    assert titles("") == ["gamma", "beta", "alpha"]
    assert titles("status=todo&status=done") == ["gamma", "alpha"]
    assert titles("priority=high") == ["beta"]
    assert titles("assignee=bob") == ["beta", "alpha"]
    assert titles("q=ALPH") == ["alpha"]
    assert titles("q=text&ordering=title") == ["alpha", "beta", "gamma"]
    assert titles("ordering=-priority_rank") == ["beta", "gamma", "alpha"]
    assert api.get("/api/tasks/?status=nope").status_code == 400


def test_pages_follow_the_cursor_without_loss_or_repetition(api: APIClient, actor: Actor) -> None:
    for n in range(7):
        task_create(actor=actor, title=str(n))
    seen = []
    address = "/api/tasks/?page_size=3"
    while address:
        page = api.get(address).json()
        seen += [task["title"] for task in page["results"]]
        address = page["next"]
    assert seen == ["6", "5", "4", "3", "2", "1", "0"]


def test_history_lists_changes_also_after_deletion(api: APIClient, actor: Actor) -> None:
    task = task_create(actor=actor, title="t")
    api.patch(f"/api/tasks/{task.pk}/", {"title": "u"}, format="json")
    assert api.delete(f"/api/tasks/{task.pk}/").status_code == 204
    assert api.get(f"/api/tasks/{task.pk}/").status_code == 404
    history = api.get(f"/api/tasks/{task.pk}/history/").json()["results"]
    assert [step["action"] for step in history] == ["task:delete", "task:update", "task:create"]
    assert history[1]["changes"] == {"title": ["t", "u"]}
    assert history[1]["actor"] == "alice"


def test_unknown_task_is_404_on_every_address(api: APIClient) -> None:
    nobody = uuid.uuid4()
    for method, address in [
        ("get", f"/api/tasks/{nobody}/"),
        ("patch", f"/api/tasks/{nobody}/"),
        ("delete", f"/api/tasks/{nobody}/"),
        ("get", f"/api/tasks/{nobody}/history/"),
        ("put", f"/api/tasks/status/{nobody}"),
        ("post", f"/api/exec/{nobody}"),
        ("get", f"/api/exec/status/{nobody}"),
        ("get", f"/api/exec/logs/{nobody}"),
        ("post", f"/api/exec/stop/{nobody}"),
    ]:
        body = {"put": {"new_status": "done"}, "post": {"script_content": "true"}}.get(method, {})
        if "stop" in address:
            body = {}
        response = getattr(api, method)(address, body, format="json") if method != "get" else api.get(address)
        assert (response.status_code, error(response)["code"]) == (404, "task_not_found"), address
    assert error(api.get("/api/tasks/not-a-uuid/"))["code"] == "not_found"


@pytest.mark.parametrize(
    ("body", "field"),
    [
        ({}, "title"),
        ({"title": ""}, "title"),
        ({"title": "x" * 201}, "title"),
        ({"title": 5}, "title"),
        ({"title": None}, "title"),
        ({"title": "a\0b"}, "title"),
        ({"title": "t", "status": "open"}, "status"),
        ({"title": "t", "priority": "urgent"}, "priority"),
        ({"title": "t", "tags": "a"}, "tags"),
        ({"title": "t", "tags": [1]}, "tags"),
        ({"title": "t", "artifacts": [["a"]]}, "artifacts"),
        ({"title": "t", "artifacts": ["x"] * 101}, "artifacts"),
        ({"title": "t", "stauts": "todo"}, "stauts"),
        ({"title": "t", "description": "x" * 65_537}, "description"),
    ],
)
def test_a_wrong_field_is_named(api: APIClient, body: dict[str, Any], field: str) -> None:
    response = api.post("/api/tasks/", body, format="json")
    assert response.status_code == 400
    assert field in error(response)["details"]
    assert not Task.objects.exists()


def test_a_lone_surrogate_is_refused(api: APIClient) -> None:
    response = api.post("/api/tasks/", b'{"title": "\\ud800"}', content_type="application/json")
    assert (response.status_code, list(error(response)["details"])) == (400, ["title"])


def test_malformed_json_names_the_place(api: APIClient) -> None:
    response = api.post("/api/tasks/", b'{"title":\n "a",}', content_type="application/json")
    assert response.status_code == 400
    assert error(response)["code"] == "malformed_json"
    assert error(response)["details"] == {"line": 2, "column": 6, "position": 15}
    assert api.post("/api/tasks/", b"\xff\xfe", content_type="application/json").status_code == 400
    deep = b"[" * 200_000
    assert error(api.post("/api/tasks/", deep, content_type="application/json"))["code"] == "malformed_json"


def test_other_media_types_methods_and_sizes_are_refused(api: APIClient, settings) -> None:
    assert api.post("/api/tasks/", b"a=b", content_type="application/x-www-form-urlencoded").status_code == 415
    response = api.put("/api/tasks/", {}, format="json")
    assert (response.status_code, error(response)["code"]) == (405, "method_not_allowed")
    settings.DATA_UPLOAD_MAX_MEMORY_SIZE = 100
    response = api.post("/api/tasks/", {"title": "x" * 150}, format="json")
    assert (response.status_code, error(response)["code"]) == (413, "body_too_large")


def test_reading_is_open_and_writing_is_not(anonymous: APIClient, settings) -> None:
    assert anonymous.get("/api/tasks/").status_code == 200
    response = anonymous.post("/api/tasks/", {"title": "t"}, format="json")
    assert (response.status_code, error(response)["code"]) == (401, "not_authenticated")
    assert response["WWW-Authenticate"] == "Bearer"
    settings.TASKHUB_OPEN_READING = False
    assert anonymous.get("/api/tasks/").status_code == 401
    assert anonymous.get("/api/events/stream").status_code == 401


@pytest.mark.parametrize("header", ["Bearer nope", "Bearer", "Bearer a b", "Bearer ünî", "Bearer \0"])
def test_a_wrong_token_is_refused(anonymous: APIClient, header: str) -> None:
    response = anonymous.get("/api/tasks/", headers={"Authorization": header})
    assert (response.status_code, error(response)["code"]) == (401, "not_authenticated")


def test_a_token_is_valid_while_it_exists_and_its_account_is_active(anonymous: APIClient, alice) -> None:
    made, token = ApiToken.objects.create(user=alice)

    def answer() -> int:
        credentials = {"Authorization": f"Bearer {token}"}
        status: int = anonymous.post("/api/tasks/", {"title": "t"}, format="json", headers=credentials).status_code
        return status

    assert answer() == 201
    alice.is_active = False
    alice.save()
    assert answer() == 401
    alice.is_active = True
    alice.save()
    assert answer() == 201
    made.delete()
    assert answer() == 401


def test_an_expired_token_is_refused_and_deleted(anonymous: APIClient, alice) -> None:
    _, token = ApiToken.objects.create(user=alice, expiry=timedelta(seconds=-1))
    _, kept = ApiToken.objects.create(user=alice, expiry=timedelta(hours=1))
    header = {"Authorization": f"Bearer {token}"}
    assert anonymous.post("/api/tasks/", {"title": "t"}, format="json", headers=header).status_code == 401
    jobs.tokens_expire()
    assert [found.token_key for found in ApiToken.objects.all()] == [kept[:15]]
