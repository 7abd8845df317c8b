"""A database that misbehaves under a running hub.

PostgreSQL with a forgotten lock, cut connections, no room for more; a SQLite file that another process holds.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, closing
from pathlib import Path

import httpx
import psycopg
import pytest

from tests.postgres import make_database
from tests.processes import wait_until
from tests.servers.hubs import Installation

LOCK_S = "2"


@pytest.fixture(scope="module")
def database(postgres_url: str) -> str:
    return make_database(postgres_url, "trouble")


@pytest.fixture(scope="module")
def installation(tmp_path_factory: pytest.TempPathFactory, database: str) -> Iterator[Installation]:
    with Installation(tmp_path_factory.mktemp("trouble"), database) as made:
        made.env["TASKHUB_DATABASE_LOCK_TIMEOUT_S"] = LOCK_S
        made.start_web("one")
        yield made


@pytest.fixture
def client(installation: Installation) -> Iterator[httpx.Client]:
    with installation.client("one") as made:
        yield made


def make_task(client: httpx.Client) -> str:
    answer = client.post("/api/tasks/", json={"title": "t"})
    assert answer.status_code == 201, answer.text
    return str(answer.json()["id"])


def is_told_to_come_again(answer: httpx.Response) -> bool:
    return answer.status_code == 503 and int(answer.headers["Retry-After"]) > 0


def test_a_forgotten_row_lock_stops_only_what_needs_the_row(database: str, client: httpx.Client) -> None:
    task = make_task(client)
    with psycopg.connect(database) as other, ThreadPoolExecutor(12) as pool:
        other.execute("SELECT 1 FROM taskhub_task WHERE id = %s FOR UPDATE", [task])
        writing = [pool.submit(client.patch, f"/api/tasks/{task}/", json={"title": "u"}) for _ in range(12)]
        with psycopg.connect(database, autocommit=True) as looking:
            waiting = "SELECT count(*) FROM pg_stat_activity WHERE wait_event_type = 'Lock'"
            wait_until(lambda: looking.execute(waiting).fetchone() != (0,), "a request waits for the row")
        # More requests wait than there are threads, and these need none or another.
        assert client.get("/healthz").json() == {"status": "ok"}
        assert client.get("/api/tasks/").status_code == 200
        assert make_task(client) != task
        assert not any(each.done() for each in writing)
        answers = [each.result() for each in writing]
        other.rollback()
    assert all(is_told_to_come_again(answer) for answer in answers), [each.text for each in answers]
    assert answers[0].json()["error"]["code"] == "database_unavailable"
    assert client.patch(f"/api/tasks/{task}/", json={"title": "u"}).status_code == 200


def test_an_agent_over_mcp_is_told_the_same(database: str, client: httpx.Client) -> None:
    task = make_task(client)
    call = {
        "jsonrpc": "2.0",
        "id": 1,
        "method": "tools/call",
        "params": {"name": "update_task", "arguments": {"task_id": task, "title": "u"}},
    }
    headers = {"Accept": "application/json, text/event-stream", "MCP-Protocol-Version": "2025-11-25"}
    with psycopg.connect(database) as other:
        other.execute("SELECT 1 FROM taskhub_task WHERE id = %s FOR UPDATE", [task])
        result = client.post("/mcp", json=call, headers=headers).json()["result"]
        other.rollback()
    assert result["isError"]
    assert result["structuredContent"]["error"]["code"] == "database_unavailable"
    assert result["structuredContent"]["error"]["details"]["retry_after_s"] > 0


FINISH = """
from taskhub.models import Execution, ExecutionStatus
from taskhub.services.executions import Outcome, execution_finish
execution = Execution.objects.get(pk="{pk}")
print("ended", execution_finish(execution=execution, outcome=Outcome(ExecutionStatus.STOPPED)))
"""


def test_an_end_and_a_request_to_stop_never_wait_for_each_other(
    installation: Installation, database: str, client: httpx.Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Both lock the task before its execution. The request is played here, with the end in between its two steps."""
    monkeypatch.setitem(installation.env, "TASKHUB_DATABASE_LOCK_TIMEOUT_S", "60")
    task = make_task(client)
    queued = client.post(f"/api/exec/{task}", json={"script_content": "true"}).json()["execution_id"]
    with psycopg.connect(database, autocommit=True) as looking, psycopg.connect(database) as request:
        looking.execute(
            "UPDATE taskhub_execution SET status = 'running', stop_requested_at = now() WHERE id = %s", [queued]
        )
        request.execute("SELECT 1 FROM taskhub_task WHERE id = %s FOR UPDATE", [task])
        with ThreadPoolExecutor(1) as pool:
            ended = pool.submit(installation.manage, "shell", "--no-imports", "-c", FINISH.format(pk=queued))
            waiting = (
                "SELECT count(*) FROM pg_stat_activity WHERE wait_event_type = 'Lock' AND datname = current_database()"
            )
            wait_until(lambda: looking.execute(waiting).fetchone() != (0,), "the end waits for the task", within_s=100)
            request.execute("SELECT 1 FROM taskhub_execution WHERE id = %s FOR UPDATE NOWAIT", [queued])
            request.rollback()
            assert ended.result().split() == ["ended", "True"]


def test_connections_that_were_cut_cost_at_most_a_repeat(database: str, client: httpx.Client) -> None:
    make_task(client)
    with psycopg.connect(database, autocommit=True) as other:
        cut = "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = current_database() AND pid <> %s"
        other.execute(cut, [other.info.backend_pid])
    for answer in [client.get("/api/tasks/") for _ in range(20)]:
        assert answer.status_code == 200 or is_told_to_come_again(answer), answer.text
    assert client.get("/api/tasks/").status_code == 200


def test_no_room_for_a_connection(database: str, postgres_url: str, client: httpx.Client) -> None:
    name = database.rsplit("/", 1)[1]
    with psycopg.connect(postgres_url, autocommit=True) as other:
        # A superuser is not bound by the limit, so no account may connect at all.
        other.execute(f"ALTER DATABASE {name} ALLOW_CONNECTIONS false")
        try:
            other.execute("SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = %s", [name])
            for path in ("/api/tasks/", "/admin/login/", "/api/events/stream"):
                answers = [client.get(path, headers={"Accept": "*/*"}) for _ in range(10)]
                assert all(is_told_to_come_again(answer) or path == "/admin/login/" for answer in answers), answers
                assert not [answer for answer in answers if answer.status_code == 500]
        finally:
            other.execute(f"ALTER DATABASE {name} ALLOW_CONNECTIONS true")
    wait_until(lambda: client.get("/api/tasks/").status_code == 200, "the hub reads again")


def test_a_row_that_cannot_be_is_logged_without_its_content(
    installation: Installation, database: str, client: httpx.Client
) -> None:
    """A mistake of ours, played by a constraint that nothing of the hub knows."""
    secret = "echo a-script-that-stays-private"
    with psycopg.connect(database, autocommit=True) as other:
        other.execute("ALTER TABLE taskhub_task ADD CONSTRAINT never CHECK (title <> 'never')")
        try:
            description = f"{secret}\n\nThe above exception was the direct cause"
            answer = client.post("/api/tasks/", json={"title": "never", "description": description})
        finally:
            other.execute("ALTER TABLE taskhub_task DROP CONSTRAINT never")
    assert (answer.status_code, answer.json()["error"]["code"]) == (500, "internal_error")
    process = installation.processes["one"]
    wait_until(lambda: any('violates check constraint "never"' in line for line in process.output), "it is logged")
    logged = "\n".join(process.output)
    assert "IntegrityError" in logged
    assert "a-script-that-stays-private" not in logged
    assert "DETAIL" not in logged


def test_a_sqlite_file_that_another_process_holds(tmp_path: Path) -> None:
    with ExitStack() as stack:
        made = stack.enter_context(Installation(tmp_path))
        made.start_web("one")
        client = stack.enter_context(made.client("one"))
        task = make_task(client)
        other = stack.enter_context(closing(sqlite3.connect(tmp_path / "taskhub.sqlite3", isolation_level=None)))
        other.execute("BEGIN IMMEDIATE")
        answer = client.patch(f"/api/tasks/{task}/", json={"title": "u"})
        assert is_told_to_come_again(answer), answer.text
        assert client.get(f"/api/tasks/{task}/").json()["title"] == "t"
        other.execute("ROLLBACK")
        assert client.patch(f"/api/tasks/{task}/", json={"title": "u"}).status_code == 200
