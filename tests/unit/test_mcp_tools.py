"""What agents are shown of the tools, and what they are told when one fails."""

from __future__ import annotations

import logging
import math
import re
import shlex
from typing import Any
from urllib.parse import parse_qs, urlsplit

import mcp_types as types
import pytest
from django.contrib.auth.models import User
from django.db import DatabaseError
from jsonschema import Draft202012Validator

from taskhub.events.tickets import read_ticket_for
from taskhub.executions.executor import ExecutorError
from taskhub.mcp import errors, execution_tools, task_tools
from taskhub.mcp.tools import TOOLS
from taskhub.models import ApiToken, AuditEntry, Execution
from taskhub.roles import know_role, role_of
from tests.agents.calls import call, call_as, error, listed_tools, made, requester_for, result
from tests.conftest import make_account

pytestmark = [pytest.mark.django_db, pytest.mark.sqlite_suffices]

TOOL_NAMES = [
    *("get_overview", "list_tasks", "get_task", "create_tasks", "update_task", "claim_task", "set_task_status"),
    *("add_note", "execute_task", "get_execution", "stop_execution", "read_file", "get_sandbox", "getSSEConnectionUrl"),
]
READING = {
    *("get_overview", "list_tasks", "get_task", "get_execution", "read_file", "get_sandbox", "getSSEConnectionUrl"),
}
MAKING = {"create_tasks", "claim_task", "add_note"}
"""They write, and nothing is lost by it."""
REPEATABLE = {"update_task", "set_task_status", "stop_execution"}


def listed(user: User | None = None) -> types.ListToolsResult:
    if user is not None:
        role_of(user)  # as authentication has found it out
    return listed_tools(requester_for(user))


def test_the_list_of_tools_costs_an_agent_at_most_2400_tokens() -> None:
    answer = listed().model_dump_json(by_alias=True, exclude_none=True)
    assert math.ceil(len(answer) / 4) <= 2400


def test_there_are_few_tools_and_each_says_what_it_takes_gives_and_does() -> None:
    tools = listed().tools
    assert [tool.name for tool in tools] == TOOL_NAMES
    for tool in tools:
        assert tool.title
        assert 20 < len(tool.description or "") < 250
        Draft202012Validator.check_schema(tool.input_schema)
        assert tool.input_schema["type"] == "object"
        assert tool.annotations is not None
        # null is the protocol's default: it writes, may destroy, and a second call does more.
        assert tool.annotations.read_only_hint is (tool.name in READING or None)
        assert tool.annotations.destructive_hint is (False if tool.name in MAKING else None)
        assert tool.annotations.idempotent_hint is (True if tool.name in REPEATABLE else None)


def test_a_token_lists_what_its_role_may_use(alice: User, operator: User) -> None:
    vera = make_account("vera", "viewer")
    assert {tool.name for tool in listed(vera).tools} == READING
    for user in (alice, operator):
        assert [tool.name for tool in listed(user).tools] == TOOL_NAMES
    limited = requester_for(alice, ApiToken(user=alice, name="reads", role="viewer"))
    know_role(alice, ["agent"], "viewer")
    assert {tool.name for tool in listed_tools(limited).tools} == READING


def test_spec_000_names_the_arguments_of_the_connection() -> None:
    schema = TOOLS["getSSEConnectionUrl"].input_schema
    assert list(schema["properties"]) == ["sandboxId", "eventType", "sessionId", "commandId"]
    assert schema["required"] == ["sandboxId"]
    assert schema["properties"]["eventType"]["anyOf"][0]["enum"] == ["sandbox-status", "sessions", "logs"]


def test_a_connection_is_a_signed_ticket_for_one_stream(alice: User) -> None:
    from sandboxes.api.sse_params import SSE  # noqa: PLC0415 - beside the one test that reads such a ticket

    token, _ = ApiToken.objects.create(user=alice)
    arguments = {"sandboxId": "box", "eventType": "logs", "sessionId": "s", "commandId": "c"}
    made = call_as(requester_for(alice, token), "getSSEConnectionUrl", **arguments).body
    address = urlsplit(made["url"])
    query = {name: values[0] for name, values in parse_qs(address.query).items()}
    assert (address.scheme, address.netloc, address.path) == ("http", "testserver", "/sse")
    ticket = read_ticket_for(query.pop("ticket"), SSE, arguments)
    assert query == arguments
    assert (ticket.user_id, ticket.token_id) == (alice.pk, token.public_id)
    assert shlex.split(made["curl"])[-1] == made["url"]


def test_the_audit_names_the_door_and_the_token(alice: User) -> None:
    token, _ = ApiToken.objects.create(user=alice, name="the agent's")
    outcome = call_as(requester_for(alice, token), "create_tasks", tasks=[{"title": "t"}])
    entry = AuditEntry.objects.get(task_id=outcome.body["tasks"][0]["id"])
    assert (entry.door, entry.actor_name, entry.token_id) == ("mcp", "alice", token.public_id)


def test_pages_of_tasks_follow_each_other(alice: User) -> None:
    tasks = [made(alice, title=f"{n}") for n in range(5)]
    seen: list[str] = []
    page: dict[str, Any] = {"next_cursor": ""}
    while page["next_cursor"] is not None:
        cursor = {"cursor": page["next_cursor"]} if page["next_cursor"] else {}
        page = result(alice, "list_tasks", limit=2, **cursor)
        seen += [task["id"] for task in page["tasks"]]
    assert seen == tasks[::-1]


@pytest.mark.parametrize(
    "raised",
    [RuntimeError("/srv/secret"), DatabaseError("no such table: inner"), ValueError("SELECT"), KeyError("depths")],
)
def test_internal_errors_are_logged_and_not_revealed(
    alice: User, raised: Exception, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def fail(**_: Any) -> None:
        raise raised

    monkeypatch.setattr(task_tools, "tasks_create", fail)
    with caplog.at_level(logging.ERROR):
        failure = error(alice, "create_tasks", tasks=[{"title": "t"}])
    assert failure["code"] == "internal_error"
    assert str(raised.args[0]) not in str(failure)
    assert str(raised.args[0]) in caplog.text


def test_an_execution_is_returned_while_its_log_cannot_be_read(alice: User, monkeypatch: pytest.MonkeyPatch) -> None:
    async def unreachable(execution: Execution, count: int) -> None:
        raise ExecutorError("sandbox_unavailable", "The sandbox service does not answer; try again.", permanent=False)

    monkeypatch.setattr(execution_tools, "log_tail", unreachable)
    task = made(alice)
    result(alice, "execute_task", task_id=task, script_content="true")
    seen = result(alice, "get_execution", task_id=task)
    assert (seen["status"], seen["log"]) == ("queued", "")
    assert seen["log_error"]["code"] == "sandbox_unavailable"


def test_an_error_says_what_to_do_next(alice: User) -> None:
    task = made(alice)
    for name, arguments, code in [
        ("get_task", {"task_id": "x"}, "not_found"),
        ("set_task_status", {"task_id": task, "new_status": "review"}, "transition_refused"),
        ("update_task", {"task_id": task, "title": "u", "expected_version": 9}, "precondition_failed"),
        ("execute_task", {"task_id": task}, "script_missing"),
        ("stop_execution", {"task_id": task}, "execution_not_active"),
    ]:
        failure = error(alice, name, **arguments)
        assert failure["code"] == code
        assert failure["next"]
    assert error(None, "create_tasks", tasks=[{"title": "t"}])["next"].startswith("Connect with the header")


def test_a_hint_names_only_tools_that_are_there() -> None:
    for hint in errors._NEXT.values():
        for name in re.findall(r"\b[a-z]+_[a-z_]+\b", hint):
            assert name in TOOLS or name in {"task_id", "script_content", "wait_s"}, hint


@pytest.mark.parametrize("arguments", [{"task_id": None}, {"task_id": 5}, {"task_id": ["x"]}])
def test_arguments_of_a_wrong_kind_are_wrong_arguments(alice: User, arguments: dict[str, Any]) -> None:
    assert error(alice, "get_task", **arguments)["code"] == "invalid"
    assert call(alice, "get_task", **arguments).failed
