"""The tasks extension of MCP: handles, what `tasks/get` and `tasks/cancel` do, and who may."""

from __future__ import annotations

from functools import partial
from typing import Any
from uuid import UUID, uuid4

import mcp_types as types
import pytest
from django.contrib.auth.models import User
from mcp.shared.exceptions import MCPError

from taskhub.errors import Forbidden, Held, NotAuthenticated, NotFound
from taskhub.lib.timestamps import iso
from taskhub.mcp import tasks_extension
from taskhub.mcp.principal import Requester
from taskhub.mcp.protocol import build_server
from taskhub.mcp.tasks_extension import EXTENSION, Handle, TaskParams, TaskUpdateParams, handle_of, read_handle
from taskhub.mcp.tools import Outcome
from taskhub.models import ApiToken, Execution, ExecutionStatus
from taskhub.services.executions import Outcome as Ended
from taskhub.services.executions import execution_finish
from taskhub.web.thread_pool import wait_here
from tests.agents.calls import call_as, requester_for
from tests.conftest import make_account

pytestmark = [pytest.mark.django_db, pytest.mark.sqlite_suffices]

NEWEST, EARLIER = "2026-07-28", "2025-11-25"
DECLARED = types.ClientCapabilities(extensions={EXTENSION: {}})


@pytest.fixture
def agent(alice: User) -> Requester:
    return requester_for(alice, ApiToken.objects.create(user=alice, name="shared")[0])


def begin(requester: Requester, tool: str, **arguments: Any) -> dict[str, Any]:
    """CreateTaskResult."""
    outcome = call_as(requester, tool, **arguments)
    handle = handle_of(tool, arguments, outcome)
    assert handle is not None
    return wait_here(partial(tasks_extension.created, requester, handle))


def get(requester: Requester, task_id: str) -> dict[str, Any]:
    return wait_here(partial(tasks_extension.get_task, requester, TaskParams(taskId=task_id)))


def cancel(requester: Requester, task_id: str) -> dict[str, Any]:
    return wait_here(partial(tasks_extension.cancel_task, requester, TaskParams(taskId=task_id)))


def update(requester: Requester, task_id: str) -> dict[str, Any]:
    params = TaskUpdateParams(taskId=task_id, inputResponses={"x": {"action": "accept"}})
    return wait_here(partial(tasks_extension.update_task, requester, params))


def new_task(requester: Requester, **fields: Any) -> str:
    made = call_as(requester, "create_tasks", tasks=[{"title": "t", **fields}])
    return str(made.body["tasks"][0]["id"])


def finish(task_id: str, status: ExecutionStatus, **how: Any) -> None:
    execution = Execution.objects.get(task_id=task_id)
    assert execution_finish(execution=execution, outcome=Ended(status, **how))


def test_an_execution_ends_with_what_get_execution_says(agent: Requester) -> None:
    task = new_task(agent)
    made = begin(agent, "execute_task", task_id=task, script_content="true")
    assert made["resultType"] == "task"
    assert (made["status"], made["statusMessage"], made["ttlMs"], made["pollIntervalMs"]) == (
        "working",
        "queued",
        None,
        2000,
    )
    seen = get(agent, made["taskId"])
    assert (seen["resultType"], seen["status"], seen["taskId"]) == ("complete", "working", made["taskId"])
    assert "result" not in seen
    finish(task, ExecutionStatus.FAILED, exit_code=3)
    seen = get(agent, made["taskId"])
    # A script that fails is a result, not an error of the protocol.
    assert (seen["status"], seen["result"]["isError"]) == ("completed", False)
    body = call_as(agent, "get_execution", task_id=task).body
    assert seen["result"]["structuredContent"] == body
    assert seen["result"]["resultType"] == "complete"
    assert seen["result"]["content"] == [{"type": "text", "text": Outcome(body).text}]
    assert (body["status"], body["exit_code"]) == ("failed", 3)
    assert seen["createdAt"] == iso(Execution.objects.get(task_id=task).queued_at)
    assert seen["lastUpdatedAt"] == body["finished_at"]


def test_a_task_is_of_one_execution_also_after_another(agent: Requester) -> None:
    task = new_task(agent)
    first = begin(agent, "execute_task", task_id=task, script_content="true")
    finish(task, ExecutionStatus.COMPLETED, exit_code=0)
    second = begin(agent, "execute_task", task_id=task, script_content="true")
    assert get(agent, first["taskId"])["status"] == "completed"
    cancel(agent, first["taskId"])  # has ended: the one that runs now is not meant
    assert get(agent, second["taskId"])["status"] == "working"


def test_cancel_stops_the_execution(agent: Requester) -> None:
    task = new_task(agent)
    made = begin(agent, "execute_task", task_id=task, script_content="true")
    assert cancel(agent, made["taskId"]) == {"resultType": "complete"}
    seen = get(agent, made["taskId"])
    assert seen["status"] == "cancelled"
    assert not seen.keys() & {"result", "error"}
    assert Execution.objects.get(task_id=task).status == "stopped"
    assert cancel(agent, made["taskId"]) == {"resultType": "complete"}


def test_a_handle_remembers_which_agent_began_it(agent: Requester) -> None:
    task = new_task(requester_for(make_account("bob", "agent")))
    claimed = {"task_id": task, "as": "bob / Zoë 🙂"}
    call_as(agent, "claim_task", **claimed)
    made = begin(agent, "execute_task", script_content="true", **claimed)
    assert made["taskId"].isascii()  # it is a header's value, too
    handle = read_handle(made["taskId"])
    assert handle.agent == claimed["as"]
    with pytest.raises(Held):
        cancel(agent, str(Handle("execution", handle.id)))
    assert get(agent, made["taskId"])["status"] == "working"
    cancel(agent, made["taskId"])
    assert get(agent, made["taskId"])["status"] == "cancelled"


def test_a_question_ends_with_its_answer(agent: Requester) -> None:
    task = new_task(agent)
    made = begin(agent, "add_note", task_id=task, kind="question", text="Which?", options=["a", "b"])
    assert (made["resultType"], made["status"], made["pollIntervalMs"]) == ("task", "working", 10000)
    for _ in range(2):
        assert get(agent, made["taskId"])["status"] == "working"  # never input_required
        assert update(agent, made["taskId"]) == {"resultType": "complete"}
        assert cancel(agent, made["taskId"]) == {"resultType": "complete"}
    answer = call_as(agent, "add_note", task_id=task, kind="answer", text="a").body
    call_as(agent, "add_note", task_id=task, kind="question", text="Which then?")
    seen = get(agent, made["taskId"])
    assert (seen["status"], seen["result"]["isError"]) == ("completed", False)
    note = seen["result"]["structuredContent"]
    assert (note["id"], note["kind"], note["text"], note["author"]) == (answer["id"], "answer", "a", "alice")
    assert seen["lastUpdatedAt"] == note["at"]


def test_a_question_of_a_task_that_is_done_is_cancelled(agent: Requester) -> None:
    task = new_task(agent)
    made = begin(agent, "add_note", task_id=task, kind="question", text="Which?")
    call_as(agent, "set_task_status", task_id=task, new_status="done")
    seen = get(agent, made["taskId"])
    assert (seen["status"], "result" in seen) == ("cancelled", False)


def test_which_calls_are_tasks(agent: Requester) -> None:
    note, run = Outcome({"id": 1, "kind": "note"}), Outcome({"execution_id": str(uuid4())})
    assert handle_of("add_note", {"task_id": str(uuid4())}, note) is None
    assert handle_of("execute_task", {"wait_s": 5}, run) is None
    assert handle_of("execute_task", {}, Outcome({}, failed=True)) is None
    assert handle_of("get_task", {}, run) is None
    assert handle_of("execute_task", {"wait_s": 0}, run) is not None


def test_what_may_not_be_seen_is_not_there(agent: Requester) -> None:
    task = new_task(agent, private=True, assignee="alice")
    run = begin(agent, "execute_task", task_id=task, script_content="true")["taskId"]
    question = begin(agent, "add_note", task_id=task, kind="question", text="Which?")["taskId"]
    stranger = requester_for(make_account("bob", "agent"))
    other = new_task(agent)
    note = call_as(agent, "add_note", task_id=other, text="no question").body["id"]
    unknown = [
        *(run, question),
        str(Handle("execution", uuid4())),
        str(Handle("question", UUID(other), note)),
        str(Handle("question", UUID(other), 10**17)),
        *("", "x", "execution.1", f"question.{other}", f"execution.{other}.1", f"{run}.n%", f"{run}.nA", f"{run}.n_w"),
    ]
    for task_id in unknown:
        for method in (get, cancel, update):
            with pytest.raises(NotFound):
                method(stranger, task_id)
    assert get(agent, run)["status"] == get(agent, question)["status"] == "working"
    assert Execution.objects.get(task_id=task).status == "queued"


def test_a_viewer_may_read_and_not_cancel(agent: Requester) -> None:
    task = new_task(agent)
    made = begin(agent, "execute_task", task_id=task, script_content="true")
    reader = requester_for(make_account("victor", "viewer"))
    assert get(reader, made["taskId"])["status"] == "working"
    with pytest.raises(Forbidden):
        cancel(reader, made["taskId"])
    with pytest.raises(NotAuthenticated):
        cancel(requester_for(None), made["taskId"])


@pytest.mark.parametrize("version", [EARLIER, NEWEST])
@pytest.mark.parametrize("capabilities", [None, types.ClientCapabilities(), DECLARED])
def test_only_clients_that_declare_it_see_it(version: str, capabilities: types.ClientCapabilities | None) -> None:
    may = version == NEWEST and capabilities is DECLARED
    assert tasks_extension.declares_tasks(version, capabilities) is may
    if may:
        tasks_extension.guard_declared("tasks/get", version, capabilities)
        return
    with pytest.raises(MCPError) as refusal:
        tasks_extension.guard_declared("tasks/get", version, capabilities)
    assert refusal.value.code == (-32021 if version == NEWEST else -32601)


def test_earlier_revisions_are_not_told_of_it() -> None:
    server = build_server()
    assert server.create_initialization_options().capabilities.extensions in (None, {})
    assert server.get_capabilities(protocol_version=NEWEST).extensions == {EXTENSION: {}}
