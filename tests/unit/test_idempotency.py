from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest
from django.utils import timezone
from rest_framework.test import APIClient

from taskhub import jobs
from taskhub.models import Announcement, ApiToken, Execution, IdempotencyKey, Task
from tests.conftest import make_account

pytestmark = pytest.mark.django_db
KEY = {"Idempotency-Key": "one"}


def code(answer: Any) -> str:
    found: str = answer.json()["error"]["code"]
    return found


def test_a_repeat_makes_nothing_and_gets_the_same_answer(api: APIClient) -> None:
    first = api.post("/api/tasks/", {"title": "t", "tags": ["a"]}, format="json", headers=KEY)
    again = api.post("/api/tasks", {"tags": ["a"], "title": "t"}, format="json", headers=KEY)
    assert (first.status_code, again.status_code) == (201, 201)
    assert again.json() == first.json()
    assert (again["ETag"], again["Idempotency-Replayed"]) == ('"1"', "true")
    assert "Idempotency-Replayed" not in first
    assert Task.objects.count() == 1


def test_another_body_with_the_key_is_a_conflict(api: APIClient) -> None:
    api.post("/api/tasks/", {"title": "t"}, format="json", headers=KEY)
    refused = api.post("/api/tasks/", {"title": "u"}, format="json", headers=KEY)
    assert (refused.status_code, code(refused)) == (409, "idempotency_key_reused")
    assert Task.objects.count() == 1


def test_a_key_belongs_to_its_account_token_and_operation(api: APIClient, alice, operator) -> None:
    def client(user, name: str) -> APIClient:
        made = APIClient()
        made.credentials(HTTP_AUTHORIZATION=f"Bearer {ApiToken.objects.create(user=user, name=name)[1]}")
        return made

    for each in (api, client(alice, "other agent"), client(make_account("bob", "agent"), "")):
        assert each.post("/api/tasks/", {"title": "t"}, format="json", headers=KEY).status_code == 201
    assert Task.objects.count() == 3
    one, two, _ = Task.objects.all()
    for task in (one, two):
        body = {"script_content": "true"}
        assert api.post(f"/api/exec/{task.pk}", body, format="json", headers=KEY).status_code == 202
        assert api.post(f"/api/exec/{task.pk}", body, format="json", headers=KEY).status_code == 202
    assert Execution.objects.count() == 2


def test_a_refused_request_stores_nothing(api: APIClient) -> None:
    task = api.post("/api/tasks/", {"title": "t"}, format="json").json()
    assert api.post(f"/api/exec/{task['id']}", {}, format="json", headers=KEY).status_code == 400
    api.patch(f"/api/tasks/{task['id']}/", {"description": "```bash\ntrue\n```"}, format="json")
    assert api.post(f"/api/exec/{task['id']}", {}, format="json", headers=KEY).status_code == 202


def test_a_claim_that_found_nothing_is_tried_again(api: APIClient) -> None:
    assert api.post("/api/tasks/claim", {}, format="json", headers=KEY).json() == {"task": None, "lease": None}
    api.post("/api/tasks/", {"title": "a"}, format="json")
    api.post("/api/tasks/", {"title": "b"}, format="json")
    first = api.post("/api/tasks/claim", {}, format="json", headers=KEY).json()
    assert first["task"]["title"] == "a"
    assert api.post("/api/tasks/claim", {}, format="json", headers=KEY).json() == first


def test_secrets_are_repeated_and_stored_encrypted(operator) -> None:
    client = APIClient()
    client.force_login(operator)
    body = {"name": "a program"}
    first = client.post("/api/tokens/", body, format="json", headers=KEY)
    again = client.post("/api/tokens/", body, format="json", headers=KEY)
    assert first.json() == again.json()
    assert again["Cache-Control"] == "no-store"
    assert ApiToken.objects.count() == 1
    row = IdempotencyKey.objects.get()
    assert row.encrypted
    assert first.json()["token"] not in row.answer


def test_announcements_take_keys(operator) -> None:
    client = APIClient()
    client.force_login(operator)
    body = {"level": "info", "text": "hello"}
    answers = [client.post("/api/announcements/", body, format="json", headers=KEY).json() for _ in range(2)]
    assert answers[0] == answers[1]
    assert Announcement.objects.count() == 1


@pytest.mark.parametrize("key", ["", " ", "two words", "x" * 256, "ü"])
def test_a_malformed_key_is_refused(api: APIClient, key: str) -> None:
    refused = api.post("/api/tasks/", {"title": "t"}, format="json", headers={"Idempotency-Key": key})
    assert refused.status_code == 400
    assert "Idempotency-Key" in refused.json()["error"]["details"]
    assert not Task.objects.exists()


def test_keys_are_kept_for_a_day(api: APIClient) -> None:
    api.post("/api/tasks/", {"title": "t"}, format="json", headers=KEY)
    jobs.idempotency_keys_trim()
    assert IdempotencyKey.objects.count() == 1
    IdempotencyKey.objects.update(created_at=timezone.now() - timedelta(hours=24, seconds=1))
    assert api.post("/api/tasks/", {"title": "other"}, format="json", headers=KEY).status_code == 201
    IdempotencyKey.objects.update(created_at=timezone.now() - timedelta(hours=24, seconds=1))
    jobs.idempotency_keys_trim()
    assert not IdempotencyKey.objects.exists()


def test_a_list_of_tasks_is_created_as_a_whole_or_not_at_all(api: APIClient) -> None:
    refused = api.post("/api/tasks/", [{"title": "a"}, {"title": ""}, {"titel": "c"}], format="json")
    assert refused.status_code == 400
    assert set(refused.json()["error"]["details"]) == {"1", "2"}
    assert not Task.objects.exists()
    made = api.post("/api/tasks/", [{"title": str(n)} for n in range(100)], format="json", headers=KEY)
    assert [task["title"] for task in made.json()] == [str(n) for n in range(100)]
    assert (
        api.post("/api/tasks/", [{"title": str(n)} for n in range(100)], format="json", headers=KEY).json()
        == made.json()
    )
    for bad in ([], [{"title": "x"}] * 101, [1]):
        assert api.post("/api/tasks/", bad, format="json").status_code == 400
    assert Task.objects.count() == 100
