"""Every tool of `tools/list`, called: no answer is beyond the budget, and empty optional arguments change nothing."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
from django.contrib.auth.models import User

from sandboxes import mcp as sandbox_tools
from taskhub.auth.actor import SYSTEM
from taskhub.mcp.budget import ANSWER_BYTES
from taskhub.mcp.file_tools import LIMIT_BYTES
from taskhub.mcp.tools import TOOLS
from taskhub.models import Task
from taskhub.services.executions import execution_queue
from taskhub.services.notes import note_add
from taskhub.services.tasks import task_create
from tests.agents.calls import call, listed_tools, requester_for
from tests.unit.test_mcp_answers import LONG, ended, write_log

pytestmark = [pytest.mark.django_db, pytest.mark.sqlite_suffices]

TITLE = "題" * 200
SANDBOX = {"id": "s", "labels": {f"{n}{'l' * 60}": "ü" * 200 for n in range(300)}, "env": {"A": "x" * 90_000}}
WRITE_TOOLS = frozenset({"update_task", "set_task_status", "add_note", "execute_task", "stop_execution"})


@pytest.fixture(autouse=True)
def sandboxes(monkeypatch: pytest.MonkeyPatch) -> None:
    """A sandbox service that has very much to say."""

    async def sandbox(**_: Any) -> dict[str, Any]:
        return SANDBOX

    async def page(**_: Any) -> Any:
        class Page:
            items = (dict.fromkeys(("id", "name", "snapshot", "errorReason"), "é" * 3000),) * 10
            next_cursor = "n"

        return Page()

    monkeypatch.setattr(sandbox_tools, "sandbox_get_for", sandbox)
    monkeypatch.setattr(sandbox_tools, "sandbox_page_for", page)


def big(**fields: Any) -> Task:
    """As much as a task may hold."""
    lists = {"tags": ["ü" * 50] * 50, "artifacts": ["ä" * 1000] * 100}
    task = task_create(actor=SYSTEM, title=TITLE, description=LONG, **{**lists, **fields})
    for kind in ("result", "question"):
        note_add(actor=SYSTEM, task_id=task.pk, kind=kind, text="ö" * 4000)
    return task


def many() -> None:
    """More than a list shows, with the longest rows."""
    fields = {"title": TITLE, "assignee": "alice", "status": "review", "tags": ["ü" * 50] * 50}
    Task.objects.bulk_create([Task(**fields) for _ in range(15)])


def ran(task: Task) -> Task:
    """It has left many files with long names, and a long log."""
    files = {f"{'dir/' * 40}{n:03}.txt": b"x" for n in range(100)}
    write_log(ended(task, **{"out.txt": LONG.encode() * 20, **files}), ["y" * 300] * 400)
    return task


def queued() -> Task:
    task = big()
    execution_queue(actor=SYSTEM, task_id=task.pk, script="true")
    return task


def arguments(name: str) -> Iterator[dict[str, Any]]:
    """Calls of the tool whose answers are as long as they can be."""
    if name in {"get_overview", "list_tasks"}:
        many()
        yield {} if name == "get_overview" else {"limit": 200}
    elif name == "create_tasks":
        yield {"tasks": [{"title": TITLE, "ref": f"{'r' * 40}{n}", "tags": ["t"]} for n in range(100)]}
    elif name == "get_sandbox":
        yield {"sandbox_id": "s"}
        yield {}
    elif name == "getSSEConnectionUrl":
        yield {"sandboxId": "s" * 128, "eventType": "sandbox-status"}
    elif name == "get_execution":
        yield {"task_id": f"{ran(big()).pk}", "tail": 1000}
    elif name == "read_file":
        task = ran(big())
        for path in ("out.txt", "/log", "/description", "/notes", "/task"):
            yield {"task_id": f"{task.pk}", "path": path}
            yield {"task_id": f"{task.pk}", "path": path, "limit": LIMIT_BYTES}
    else:
        blocker = big(status="done")
        task = queued() if name == "stop_execution" else big(blocked_by=[blocker.pk])
        yield {"task_id": f"{task.pk}", **MORE.get(name, {})}


MORE: dict[str, dict[str, Any]] = {
    "update_task": {"title": TITLE, "description": LONG, "artifacts": ["ö" * 1000] * 100, "blocked_by": []},
    "set_task_status": {"new_status": "done", "note": "ö" * 4000, "artifacts": ["ö" * 1000] * 100},
    "add_note": {"text": "ö" * 4000},
    "execute_task": {"script_content": LONG},
}


@pytest.mark.parametrize("name", list(TOOLS))
def test_no_tool_answers_more_than_its_budget(name: str, alice: User) -> None:
    for given in arguments(name):
        outcome = call(alice, name, **given)
        assert not outcome.failed, outcome.body
        most = LIMIT_BYTES + 2048 if given.get("limit") == LIMIT_BYTES else ANSWER_BYTES
        assert len(outcome.text.encode()) <= most
        assert outcome.body.keys() - {"cut"}, "something is left"
        if cut := outcome.body.get("cut"):
            assert cut["rest"]
            assert len(cut) > 1, "what was cut is named"
        if name in WRITE_TOOLS:
            assert "cut" not in outcome.body
            assert TITLE not in outcome.text
            assert LONG[:100] not in outcome.text


@pytest.mark.parametrize("empty", [None, ""])
def test_empty_optional_arguments_change_nothing(empty: str | None, alice: User) -> None:
    """By what the list says; each call once with the required arguments alone, and once with all others empty."""
    for tool in listed_tools(requester_for(None)).tools:
        schema: dict[str, Any] = tool.input_schema
        optional = schema["properties"].keys() - set(schema.get("required", ()))
        if empty == "":
            optional -= VALUES.get(tool.name, set())
        seen = []
        for more in ({}, dict.fromkeys(optional, empty)):
            outcome = call(alice, tool.name, **{**more, **required(tool.name)})
            seen.append((outcome.failed, outcome.body.get("error", {}).get("code"), outcome.body.keys()))
        assert seen[0] == seen[1], tool.name
        assert seen[0][:2] == (False, None), tool.name


VALUES = {"update_task": {"description", "assignee", "closed_as"}, "set_task_status": {"closed_as"}}
"""Arguments of which blank is a value."""


def required(name: str) -> dict[str, Any]:
    """The required arguments, of a task of its own."""
    if name in {"get_overview", "list_tasks", "claim_task", "get_sandbox"}:
        task_create(actor=SYSTEM, title="to be claimed")
        return {}
    if name == "create_tasks":
        return {"tasks": [{"title": "t"}]}
    if name == "getSSEConnectionUrl":
        return {"sandboxId": "s"}
    task = task_create(actor=SYSTEM, title="t", description="```bash\ntrue\n```")
    if name in {"get_execution", "read_file"}:
        ended(task, **{"out.txt": b"x"})
    if name == "stop_execution":
        execution_queue(actor=SYSTEM, task_id=task.pk, script="true")
    more = {"set_task_status": {"new_status": "done"}, "add_note": {"text": "n"}, "read_file": {"path": "out.txt"}}
    return {"task_id": f"{task.pk}", **more.get(name, {})}


def test_the_overview_says_how_to_read_what_it_cuts(alice: User) -> None:
    task = task_create(actor=SYSTEM, title=TITLE)
    call(alice, "claim_task", task_id=f"{task.pk}")
    many()
    body = call(alice, "get_overview").body
    assert body["you"]["name"] == "alice"
    assert body["counts"]["review"] == 15
    assert [each["task_id"] for each in body["leases"]] == [f"{task.pk}"]
    assert "list_tasks" in body["cut"]["rest"]
