"""`wait_s` of tools over MCP: what ends a wait and what does not, in one web process and between two."""

from __future__ import annotations

import asyncio
import json
import signal
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor, wait
from contextlib import contextmanager
from http.client import HTTPConnection
from typing import Any

import httpx
import pytest

from tests.mcp_client import ACCEPT, connected
from tests.processes import wait_until
from tests.servers.hubs import PATIENCE_S, Installation

APPLICATION = "tests.servers.counted_hub:application"
EARLIER = ACCEPT | {"MCP-Protocol-Version": "2025-11-25"}
AGENTS = 50
FIRST_LOOKS = {
    "claim_task": ("task_claim", 1),
    "execute_task": ("execution_queue", 1),
    "get_execution": ("execution_get_for", 2),  # which one, and how it stands
    "get_task": ("task_get_for", 1),
    "list_tasks": ("task_page", 1),
}
"""What a tool looks at before it waits, and how often."""


@pytest.fixture(scope="module")
def installation(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Installation]:
    with Installation(tmp_path_factory.mktemp("mcp-waiting")) as made:
        made.env["TASKHUB_WEB_THREADS"] = "3"
        for name in ("one", "two"):
            made.start_web(name, application=APPLICATION)
        yield made


@pytest.fixture
def pool() -> Iterator[ThreadPoolExecutor]:
    with ThreadPoolExecutor(2 * AGENTS) as made:
        yield made


class Agents:
    """Agents of one account at a web process; `wait` has one more of them wait and returns when it does."""

    def __init__(self, installation: Installation, process: str, pool: ThreadPoolExecutor) -> None:
        limits = httpx.Limits(max_connections=None)
        self.client = installation.client(process, limits=limits, trust_env=False)
        self.pool = pool

    def post(self, tool: str, arguments: dict[str, Any], headers: dict[str, str] | None = None) -> httpx.Response:
        params = {"name": tool, "arguments": arguments}
        message = {"jsonrpc": "2.0", "id": 1, "method": "tools/call", "params": params}
        return self.client.post("/mcp", json=message, headers=EARLIER | (headers or {}))

    def call(self, tool: str, **arguments: Any) -> dict[str, Any]:
        result = self.post(tool, arguments).json()["result"]
        body: dict[str, Any] = result["structuredContent"]
        return body

    def wait(self, tool: str, **arguments: Any) -> Future[dict[str, Any]]:
        (waiting,) = self.wait_all(1, tool, **arguments)
        return waiting

    def wait_all(self, number: int, tool: str, **arguments: Any) -> list[Future[dict[str, Any]]]:
        name, looks = FIRST_LOOKS[tool]
        looks = self.looks(name) + looks * number
        waiting = [self.pool.submit(self.call, tool, wait_s=50, **arguments) for _ in range(number)]
        wait_until(lambda: self.looks(name) >= looks, "they have looked, and wait", within_s=PATIENCE_S)
        return waiting

    @property
    def open(self) -> int:
        return int(self.client.get("/counted").json()["open"])

    def looks(self, name: str) -> int:
        return int(self.client.get("/counted").json()["looks"].get(name, 0))

    @contextmanager
    def looked(self, name: str) -> Iterator[None]:
        """What is done inside makes those who wait look again; when that is over it returns."""
        before = self.looks(name)
        yield
        wait_until(lambda: self.looks(name) > before, f"another {name}", within_s=PATIENCE_S)


@pytest.fixture
def agents(installation: Installation, pool: ThreadPoolExecutor) -> Iterator[Agents]:
    made = Agents(installation, "one", pool)
    with made.client:
        yield made


@pytest.fixture
def others(installation: Installation, pool: ThreadPoolExecutor) -> Iterator[Agents]:
    """At the other web process."""
    made = Agents(installation, "two", pool)
    with made.client:
        yield made


def made_by(agents: Agents, **fields: Any) -> str:
    return str(agents.call("create_tasks", tasks=[{"title": "t", **fields}])["tasks"][0]["id"])


def tagged(request: pytest.FixtureRequest) -> dict[str, Any]:
    """Tags that keep the tasks of a test for it alone."""
    return {"tags": [request.node.name[:50]]}


EXECUTION = """
from django.db import transaction
from taskhub.models import Execution, ExecutionStatus, WaitingReason
from taskhub.services.executions import *
execution = Execution.objects.select_related("task").get(pk="{id}")
"""
WAITS = """
with transaction.atomic():
    execution_tell_waiting(execution=execution, reason=WaitingReason.LIMIT)
"""
STARTS = """
started = execution_claim_start(execution_id=execution.pk, lease_s=60, is_queued=True)
execution_mark_started(execution=started, place=Place(execution.pk, "box", "s", "c"))
"""
ENDS = "execution_finish(execution=execution, outcome=Outcome(ExecutionStatus.COMPLETED, exit_code=0))"


def moved(installation: Installation, execution_id: str, how: str) -> None:
    """As a worker moves it; there is none here."""
    installation.manage("shell", "--no-imports", "-c", EXECUTION.format(id=execution_id) + how)


# --- Executions -------------------------------------------------------------------------------------------


def test_an_execution_is_answered_at_its_end_and_not_at_its_start(
    installation: Installation, agents: Agents, others: Agents
) -> None:
    task = made_by(agents)
    execution = agents.call("execute_task", task_id=task, script_content="true")["execution_id"]
    waiting = [agents.wait("get_execution", task_id=task), others.wait("get_execution", task_id=task)]
    with agents.looked("execution_get_for"), others.looked("execution_get_for"):
        moved(installation, execution, STARTS)
    agents.call("add_note", task_id=task, text="not this")
    assert not any(each.done() for each in waiting)
    moved(installation, execution, ENDS)
    for answer in (each.result(PATIENCE_S) for each in waiting):
        assert (answer["status"], answer["exit_code"], answer["timed_out"]) == ("completed", 0, False)
        assert (answer["log"], answer["after"]) == ("", 0)
    # It has ended: nothing to wait for.
    assert agents.call("get_execution", task_id=task, wait_s=50)["timed_out"] is False
    assert agents.open == others.open == 0


def test_an_execution_that_must_wait_for_capacity_is_told_once(
    installation: Installation, agents: Agents, others: Agents
) -> None:
    task = made_by(agents)
    begun = agents.wait("execute_task", task_id=task, script_content="true")
    execution = others.call("get_execution", task_id=task)["execution_id"]
    waiting = others.wait("get_execution", task_id=task)
    moved(installation, execution, WAITS)
    for answer in (begun.result(PATIENCE_S), waiting.result(PATIENCE_S)):
        assert (answer["status"], answer["waiting"]["reason"], answer["timed_out"]) == ("queued", "limit", False)
        assert answer["execution_id"] == execution
    assert begun.result()["lease"]["attempt"] == 1
    # Now it is known, and the next wait is for the end.
    waiting = agents.wait("get_execution", task_id=task)
    assert others.call("stop_execution", task_id=task)["status"] == "stopped"
    assert waiting.result(PATIENCE_S)["status"] == "stopped"


def test_execute_task_answers_at_the_end(installation: Installation, agents: Agents, others: Agents) -> None:
    task = made_by(agents)
    waiting = agents.wait("execute_task", task_id=task, script_content="true")
    execution = others.call("get_execution", task_id=task)["execution_id"]
    with agents.looked("execution_get_for"):
        moved(installation, execution, STARTS)
    assert not waiting.done()
    moved(installation, execution, ENDS)
    answer = waiting.result(PATIENCE_S)
    assert (answer["execution_id"], answer["status"], answer["timed_out"]) == (execution, "completed", False)
    assert answer["lease"]["token"]


def test_with_a_refusal_nothing_is_executed(agents: Agents) -> None:
    task = made_by(agents)
    refused = agents.post("execute_task", {"task_id": task, "wait_s": 51, "script_content": "true"})
    assert refused.json()["result"]["structuredContent"]["error"]["code"] == "invalid"
    assert agents.call("get_execution", task_id=task)["error"]["code"] == "execution_not_found"


# --- Tasks ------------------------------------------------------------------------------------------------


def test_a_task_is_answered_at_a_newer_version_or_note(agents: Agents, others: Agents) -> None:
    task, other = made_by(agents), made_by(agents)
    waiting = [agents.wait("get_task", task_id=task, version=1), agents.wait("get_task", task_id=task)]
    others.call("update_task", task_id=other, title="not this")
    others.call("execute_task", task_id=other, script_content="true")
    with agents.looked("task_get_for"):
        asked = others.call("add_note", task_id=task, text="Which?", kind="question")["id"]
    for answer in (each.result(PATIENCE_S) for each in waiting):
        assert (answer["version"], answer["notes"][0]["id"], answer["timed_out"]) == (1, asked, False)
    waiting = [agents.wait("get_task", task_id=task, version=1, note=asked) for _ in range(2)]
    answered = others.call("add_note", task_id=task, text="This.", kind="answer")["id"]
    assert {each.result(PATIENCE_S)["notes"][0]["id"] for each in waiting} == {answered}
    waiting = [agents.wait("get_task", task_id=task, note=answered)]
    others.call("update_task", task_id=task, title="u")
    assert waiting[0].result(PATIENCE_S)["title"] == "u"
    # What is newer already is answered at once.
    assert agents.call("get_task", task_id=task, version=1, wait_s=50)["version"] == 2
    assert agents.call("get_task", task_id=task, note=asked, wait_s=50)["timed_out"] is False


def test_a_list_is_answered_when_a_task_enters_or_leaves_it(
    agents: Agents, others: Agents, request: pytest.FixtureRequest
) -> None:
    other = made_by(others)
    waiting = agents.wait("list_tasks", q=request.node.name)
    with agents.looked("task_page"):
        others.call("update_task", task_id=other, title="not this")
    assert not waiting.done()
    task = made_by(others, title=request.node.name)
    assert [row["id"] for row in waiting.result(PATIENCE_S)["tasks"]] == [task]
    waiting = agents.wait("list_tasks", q=request.node.name)
    with agents.looked("task_page"):
        others.call("update_task", task_id=task, description="still in it")
    assert not waiting.done()
    others.call("update_task", task_id=task, title="elsewhere")
    assert (waiting.result(PATIENCE_S)["tasks"], waiting.result()["timed_out"]) == ([], False)


def test_at_the_limit_the_present_state_is_answered(agents: Agents, request: pytest.FixtureRequest) -> None:
    task = made_by(agents)
    agents.call("execute_task", task_id=task, script_content="true")
    for tool, arguments in [
        ("get_task", {"task_id": task}),
        ("get_execution", {"task_id": task}),
        ("execute_task", {"task_id": made_by(agents), "script_content": "true"}),
        ("claim_task", tagged(request)),
        ("list_tasks", {"q": request.node.name}),
    ]:
        response = agents.post(tool, {**arguments, "wait_s": 1})
        assert response.elapsed.total_seconds() >= 1
        answer = response.json()["result"]["structuredContent"]
        assert answer["timed_out"] is True, answer
        assert "timed_out" not in agents.call(tool, **arguments)
    assert agents.open == 0


# --- Claims -----------------------------------------------------------------------------------------------


def test_of_many_agents_that_wait_one_gets_the_task(
    agents: Agents, others: Agents, request: pytest.FixtureRequest
) -> None:
    wanted = tagged(request)
    waiting = agents.wait_all(AGENTS // 2, "claim_task", **wanted) + others.wait_all(
        AGENTS // 2, "claim_task", **wanted
    )
    looks = agents.looks("task_claim"), others.looks("task_claim")
    with agents.looked("task_claim"), others.looked("task_claim"):
        task = made_by(agents, **wanted)
    done, rest = wait(waiting, timeout=PATIENCE_S, return_when="FIRST_COMPLETED")
    assert [each.result()["task"]["id"] for each in done] == [task]
    # The first of each line looked, and one more behind the one that got it: not all fifty.
    assert agents.looks("task_claim") + others.looks("task_claim") - sum(looks) <= 4
    assert len(rest) == agents.open + others.open == AGENTS - 1
    tasks = {made_by(others, **wanted) for _ in rest}
    assert {each.result(PATIENCE_S)["task"]["id"] for each in rest} == tasks
    assert agents.open == others.open == 0


def test_a_claim_waits_until_a_blocker_is_done(agents: Agents, request: pytest.FixtureRequest) -> None:
    wanted = tagged(request)
    first = made_by(agents)
    second = made_by(agents, blocked_by=[first], **wanted)
    waiting = agents.wait("claim_task", **wanted)
    agents.call("update_task", task_id=second, description="still blocked")
    assert agents.call("claim_task", task_id=first)["task"]["id"] == first
    agents.call("set_task_status", task_id=first, new_status="review")
    assert not waiting.done()
    agents.call("set_task_status", task_id=first, new_status="done")
    assert waiting.result(PATIENCE_S)["task"]["id"] == second


def test_an_agent_whose_client_goes_away_gets_no_task(
    installation: Installation, agents: Agents, request: pytest.FixtureRequest
) -> None:
    wanted = tagged(request)
    params = {"name": "claim_task", "arguments": {**wanted, "wait_s": 50}}
    message = json.dumps({"jsonrpc": "2.0", "id": 1, "method": "tools/call", "params": params})
    headers = {**installation.headers, **EARLIER, "Content-Type": "application/json"}
    gone = [HTTPConnection("127.0.0.1", installation.ports["one"]) for _ in range(3)]
    for client in gone:
        client.request("POST", "/mcp", body=message, headers=headers)
    wait_until(lambda: agents.open == len(gone), "they wait", within_s=PATIENCE_S)
    stays = agents.wait("claim_task", **wanted)
    for client in gone:
        client.close()
    wait_until(lambda: agents.open == 1, "their places are free", within_s=PATIENCE_S)
    task = made_by(agents, **wanted)
    assert stays.result(PATIENCE_S)["task"]["id"] == task


async def test_cancelling_a_request_of_the_newest_revision_ends_its_wait(
    installation: Installation, agents: Agents, request: pytest.FixtureRequest
) -> None:
    async with connected(installation.address("one"), installation.token) as client:
        waiting = asyncio.create_task(client.call_tool("claim_task", {**tagged(request), "wait_s": 50}))
        await asyncio.to_thread(wait_until, lambda: agents.open == 1, "it waits", within_s=PATIENCE_S)
        waiting.cancel()
        await asyncio.to_thread(wait_until, lambda: agents.open == 0, "it is cut off", within_s=PATIENCE_S)


def test_a_revoked_token_ends_the_wait_and_claims_nothing(
    installation: Installation, agents: Agents, request: pytest.FixtureRequest
) -> None:
    wanted = tagged(request)
    made = agents.client.post("/api/tokens/", json={"name": "to be revoked"}).json()
    bearer = {"Authorization": f"Bearer {made['token']}"}
    waiting = agents.pool.submit(agents.post, "claim_task", {**wanted, "wait_s": 50}, bearer)
    wait_until(lambda: agents.open == 1, "it waits", within_s=PATIENCE_S)
    assert agents.client.delete(f"/api/tokens/{made['id']}/").status_code == 204
    task = made_by(agents, **wanted)
    answer = waiting.result(PATIENCE_S).json()["result"]["structuredContent"]
    assert answer["error"]["code"] == "not_authenticated"
    assert agents.call("claim_task", **wanted)["task"]["id"] == task


# --- Restart ----------------------------------------------------------------------------------------------


def test_a_process_that_ends_answers_those_who_wait_and_the_other_goes_on(
    installation: Installation, agents: Agents, others: Agents, request: pytest.FixtureRequest
) -> None:
    wanted = tagged(request)
    task = made_by(agents)
    waiting = [agents.wait("claim_task", **wanted), agents.wait("get_task", task_id=task)]
    stays = others.wait("claim_task", **wanted)
    process = installation.processes["one"].popen
    process.send_signal(signal.SIGTERM)
    assert [each.result(PATIENCE_S)["timed_out"] for each in waiting] == [True, True]
    process.wait(PATIENCE_S)
    new = made_by(others, **wanted)
    assert stays.result(PATIENCE_S)["task"]["id"] == new
    installation.start_web("one", application=APPLICATION)
    waiting = [agents.wait("claim_task", **wanted)]
    newer = made_by(others, **wanted)
    assert waiting[0].result(PATIENCE_S)["task"]["id"] == newer


def test_a_killed_process_loses_no_task(
    installation: Installation, agents: Agents, others: Agents, request: pytest.FixtureRequest
) -> None:
    wanted = tagged(request)
    cut = agents.wait("claim_task", **wanted)
    installation.processes["one"].popen.kill()
    with pytest.raises(httpx.TransportError):
        cut.result(PATIENCE_S)
    installation.start_web("one", application=APPLICATION)
    task = made_by(others, **wanted)
    assert agents.call("claim_task", wait_s=50, **wanted)["task"]["id"] == task


# --- Pause ------------------------------------------------------------------------------------------------


def test_a_pause_is_waited_for(agents: Agents, others: Agents, request: pytest.FixtureRequest) -> None:
    wanted = tagged(request)
    account = others.client.get("/api/me/").json()["name"]
    for rule in ("/api/admission/", f"/api/admission/accounts/{account}"):
        assert others.client.put(rule, json={"paused": True}).status_code < 300
        try:
            task = made_by(others, **wanted)
            assert agents.call("claim_task", **wanted)["error"]["code"] == "paused"
            assert agents.call("claim_task", wait_s=1, **wanted)["error"]["code"] == "paused"
            waiting = agents.wait("claim_task", **wanted)
            with agents.looked("task_claim"):
                made_by(others, **wanted)
            assert not waiting.done()
        finally:
            assert others.client.put(rule, json={"paused": False}).status_code < 300
        answer = waiting.result(PATIENCE_S)
        assert (answer["task"]["id"], answer["timed_out"]) == (task, False)
        agents.call("set_task_status", task_id=task, new_status="done")
        task = agents.call("claim_task", **wanted)["task"]["id"]
        agents.call("set_task_status", task_id=task, new_status="done")
