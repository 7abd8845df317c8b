"""`?wait_s=` over real connections, against a process with one web thread."""

from __future__ import annotations

import signal
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import Any

import httpx
import pytest

from tests.servers.hubs import PATIENCE_S, Installation


@pytest.fixture(scope="module")
def installation(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Installation]:
    with Installation(tmp_path_factory.mktemp("waiting")) as made:
        made.env["TASKHUB_WEB_THREADS"] = "1"
        made.start_web("one")
        yield made


@pytest.fixture
def client(installation: Installation) -> Iterator[httpx.Client]:
    with installation.client("one") as made:
        yield made


@pytest.fixture
def pool() -> Iterator[ThreadPoolExecutor]:
    with ThreadPoolExecutor(8) as made:
        yield made


def get_soon(pool: ThreadPoolExecutor, client: httpx.Client, address: str, **headers: str) -> Future[httpx.Response]:
    return pool.submit(client.get, address, headers=headers)


def make(client: httpx.Client, **fields: Any) -> dict[str, Any]:
    answer = client.post("/api/tasks/", json={"title": "t", **fields})
    assert answer.status_code == 201, answer.text
    made: dict[str, Any] = answer.json()
    return made


def test_a_task_is_answered_when_its_version_is_newer(client: httpx.Client, pool: ThreadPoolExecutor) -> None:
    task = make(client)
    address = f"/api/tasks/{task['id']}/"
    waiting = [get_soon(pool, client, f"{address}?wait_s=50&version=1") for _ in range(5)]
    # The one web thread is free while they wait.
    assert client.patch(address, json={"title": "u"}).status_code == 200
    for answer in (each.result() for each in waiting):
        assert (answer.json()["title"], answer.json()["timed_out"]) == ("u", False)
        assert answer.headers["ETag"] == '"2"'
        assert answer.headers["Content-Type"] == "application/json"
    assert client.get(f"{address}?wait_s=50&version=1").json()["version"] == 2


def test_at_the_limit_the_present_state_is_answered(client: httpx.Client) -> None:
    task = make(client)
    for address in (f"/api/tasks/{task['id']}/?wait_s=1", "/api/executions/?wait_s=1"):
        answer = client.get(address)
        assert (answer.status_code, answer.json()["timed_out"]) == (200, True), answer.text
        assert answer.elapsed.total_seconds() >= 1
    assert "timed_out" not in client.get(f"/api/tasks/{task['id']}/").json()
    assert client.get("/api/executions/?wait_s=51").status_code == 400


def test_an_execution_is_answered_when_it_has_ended(client: httpx.Client, pool: ThreadPoolExecutor) -> None:
    task = make(client)
    queued = client.post(f"/api/exec/{task['id']}", json={"script_content": "echo hello"}).json()
    addresses = (f"/api/executions/{queued['execution_id']}/", f"/api/exec/status/{task['id']}")
    waiting = [get_soon(pool, client, f"{address}?wait_s=50") for address in addresses]
    assert client.post(f"/api/exec/stop/{task['id']}").status_code == 202
    for answer in (each.result() for each in waiting):
        assert (answer.json()["status"], answer.json()["timed_out"]) == ("stopped", False)
    assert waiting[0].result().json()["script"] == "echo hello"


def test_a_list_is_answered_when_a_row_enters(client: httpx.Client, pool: ThreadPoolExecutor) -> None:
    waiting = get_soon(pool, client, "/api/executions/?status=queued&wait_s=50")
    made = set()
    while not waiting.done():
        task = make(client)
        queued = client.post(f"/api/exec/{task['id']}", json={"script_content": "true"}).json()
        made.add(queued["execution_id"])
    answer = waiting.result().json()
    assert answer["timed_out"] is False
    assert made & {row["execution_id"] for row in answer["results"]}


def test_a_deleted_task_and_a_revoked_token_end_the_wait(
    installation: Installation, client: httpx.Client, pool: ThreadPoolExecutor
) -> None:
    task = make(client)
    made = client.post("/api/tokens/", json={"name": "to be revoked"}).json()
    address = f"/api/tasks/{task['id']}/?wait_s=50&version=1"
    revoked = get_soon(pool, client, address, Authorization=f"Bearer {made['token']}")
    deleted = get_soon(pool, client, address)
    assert client.delete(f"/api/tokens/{made['id']}/").status_code == 204
    assert client.delete(f"/api/tasks/{task['id']}/").status_code == 204
    assert deleted.result().status_code == 404
    assert revoked.result().status_code == 401


def test_a_process_that_ends_answers_those_who_wait(
    installation: Installation, client: httpx.Client, pool: ThreadPoolExecutor, tmp_path: Path
) -> None:
    task = make(client)
    waiting = get_soon(pool, client, f"/api/tasks/{task['id']}/?wait_s=50")
    # Accepted before the next request of the same kind is answered, for both pass the one thread in turn.
    assert client.get(f"/api/tasks/{task['id']}/?wait_s=1").json()["timed_out"] is True
    process = installation.processes["one"].popen
    process.send_signal(signal.SIGTERM)
    assert waiting.result().json()["timed_out"] is True
    assert process.wait(PATIENCE_S) is not None
    installation.start_web("one")


def test_a_claim_is_answered_when_there_is_a_task(client: httpx.Client, pool: ThreadPoolExecutor) -> None:
    def claim(**headers: str) -> Future[httpx.Response]:
        address = "/api/tasks/claim/?as=waits&wait_s=50"
        return pool.submit(client.post, address, json={"tags": ["rest"]}, headers=headers)

    waiting = [claim(**{"Idempotency-Key": "k"}), claim()]
    tasks = {make(client, tags=["rest"])["id"] for _ in waiting}
    answers = [each.result() for each in waiting]
    assert {answer.json()["task"]["id"] for answer in answers} == tasks
    assert all(answer.json()["lease"] and answer.json()["timed_out"] is False for answer in answers)
    again = claim(**{"Idempotency-Key": "k"}).result()
    assert again.headers["Idempotency-Replayed"] == "true"
    assert again.json() == answers[0].json()
    none = client.post("/api/tasks/claim/?wait_s=1", json={"tags": ["rest"]})
    assert none.json() == {"task": None, "lease": None, "timed_out": True}
    assert "timed_out" not in client.post("/api/tasks/claim/", json={"tags": ["rest"]}).json()


def test_no_task_is_claimed_for_a_client_that_has_gone(
    installation: Installation, client: httpx.Client, pool: ThreadPoolExecutor
) -> None:
    wanted = {"tags": ["gone"]}
    with installation.client("one") as goes, pytest.raises(httpx.ReadTimeout):
        goes.post("/api/tasks/claim/?wait_s=50", json=wanted, timeout=httpx.Timeout(PATIENCE_S, read=1.0))
    waiting = pool.submit(client.post, "/api/tasks/claim/?wait_s=50", json=wanted)
    task = make(client, **wanted)
    assert waiting.result().json()["task"]["id"] == task["id"]


def test_a_list_of_tasks_is_answered_when_one_enters(client: httpx.Client, pool: ThreadPoolExecutor) -> None:
    waiting = get_soon(pool, client, "/api/tasks/?tags=listed&wait_s=50")
    made = set()
    while not waiting.done():
        made.add(make(client, tags=["listed"])["id"])
    assert {row["id"] for row in waiting.result().json()["results"]} & made
