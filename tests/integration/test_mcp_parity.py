"""A tool and its REST twin: the same result, the same refusal, and the same rows and audit behind them."""
# ruff: noqa: E501 - a case a line, however long

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import parse_qs, urlsplit

import pytest
from django.contrib.auth.models import User
from rest_framework.test import APIClient

from taskhub import jobs
from taskhub.auth.actor import SYSTEM
from taskhub.executions.script import SCRIPT_LIMIT_BYTES
from taskhub.mcp.tools import TOOLS
from taskhub.models import AuditEntry, Execution, Task
from taskhub.services import executions, tasks
from tests.agents.calls import call
from tests.conftest import client_of, make_account
from tests.processes import wait_until

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.sqlite_suffices]

NOBODYS = "0f0f0f0f-0f0f-4f0f-8f0f-0f0f0f0f0f0f"
_OWN = re.compile(
    r"[0-9a-f]{8}-(?:[0-9a-f]{4}-){3}[0-9a-f]{12}|\d{4}-\d\d-\d\dT[\d:.]+Z|ticket=[\w%.-]+|^[\w-]{32}$", re.IGNORECASE
)
"""What differs between two rows that were made alike."""


def plain(value: Any) -> Any:
    if isinstance(value, dict):
        return {name: plain(each) for name, each in value.items()}
    if isinstance(value, list):
        return [plain(each) for each in value]
    return _OWN.sub("*", value) if isinstance(value, str) else value


def without(*names: str) -> Callable[[dict[str, Any]], dict[str, Any]]:
    return lambda body: {name: value for name, value in body.items() if name not in names}


@dataclass
class Twin:
    """A tool's call and its REST request, in which {task} is a task that was made in the same way for each of them."""

    tool: str
    arguments: dict[str, Any]
    request: str
    body: Any = None
    headers: dict[str, str] = field(default_factory=dict)
    given: dict[str, Any] = field(default_factory=dict)
    running: bool = False
    role: str | None = "agent"
    code: str | None = None

    def __str__(self) -> str:
        return f"{self.tool}-{self.role}-{self.code}-{'-'.join(map(str, self.arguments))}"


def failing(code: str, twin: Twin, **changed: Any) -> Twin:
    return Twin(**{**vars(twin), "code": code, **changed})


GET = Twin("get_task", {"task_id": "{task}"}, "GET /api/tasks/{task}/")
LIST = Twin("list_tasks", {}, "GET /api/tasks/?page_size=10")
NEW = [{"title": "new"}]
CREATE = Twin("create_tasks", {"tasks": NEW}, "POST /api/tasks/", NEW)
OVERVIEW = Twin("get_overview", {}, "GET /api/overview/")
UPDATE = Twin("update_task", {"task_id": "{task}", "title": "u"}, "PATCH /api/tasks/{task}/", {"title": "u"})
CLAIM = Twin("claim_task", {}, "POST /api/tasks/claim/", {})
STATUS = Twin(
    "set_task_status",
    {"task_id": "{task}", "new_status": "inprogress", "artifacts": ["a"]},
    "PUT /api/tasks/status/{task}?as=test",
    {"new_status": "inprogress", "artifacts": ["a"]},
)
RUN = {"script_content": "true"}
EXECUTE = Twin("execute_task", {"task_id": "{task}", **RUN}, "POST /api/exec/{task}?as=test", RUN)
EXECUTION = Twin("get_execution", {"task_id": "{task}"}, "GET /api/exec/status/{task}", running=True)
STOP = Twin("stop_execution", {"task_id": "{task}"}, "POST /api/exec/stop/{task}", running=True)
READ = Twin(
    "read_file", {"task_id": "{task}", "path": "/description"}, "GET /api/tasks/{task}/", given={"description": "d"}
)
SANDBOXES = Twin("get_sandbox", {}, "GET /api/sandboxes/?limit=10")
SANDBOX = Twin("get_sandbox", {"sandbox_id": "{sandbox}"}, "GET /api/sandboxes/{sandbox}/")
WATCH = {"sandboxId": "box", "eventType": "sessions"}
CONNECTION = Twin("getSSEConnectionUrl", WATCH, "POST /api/tickets/", {"kind": "sse", "params": WATCH})
WORDS = {"kind": "result", "text": "**Done**: the report is in `out/`."}
NOTE = Twin("add_note", {"task_id": "{task}", **WORDS}, "POST /api/tasks/{task}/notes/", WORDS)
QUESTION = {"kind": "question", "text": "Which?", "options": ["a", "b"], "deadline_s": 60, "assumes": "a"}
ALL = [
    OVERVIEW,
    GET,
    LIST,
    CREATE,
    UPDATE,
    CLAIM,
    STATUS,
    NOTE,
    EXECUTE,
    EXECUTION,
    STOP,
    READ,
    SANDBOXES,
    SANDBOX,
    CONNECTION,
]
OF_A_TASK = [GET, UPDATE, STATUS, NOTE, EXECUTE, EXECUTION, STOP, READ]
WRITES = [CREATE, UPDATE, CLAIM, STATUS, NOTE, EXECUTE, STOP]
LOGS = {"sandboxId": "box", "eventType": "logs", "sessionId": "s"}
SAID = {
    "title": "t",
    "description": " # d\n",
    "priority": "high",
    "assignee": "bob",
    "tags": ["a", "b"],
    "private": False,
}
CYCLE = [{"title": "t", "ref": "a", "blocked_by": ["a"]}]
REFERRING = [{"title": "after", "blocked_by": ["first", "{task}"]}, {"title": "first", "ref": "first"}]

TWINS = [
    *ALL,
    Twin("list_tasks", {"status": ["todo"], "q": "GIVEN", "limit": 1}, "GET /api/tasks/?status=todo&q=GIVEN&page_size=1"),
    Twin("list_tasks", {"status": ["done", "review"]}, "GET /api/tasks/?status=done&status=review&page_size=10"),
    Twin("list_tasks", {"priority": ["low"], "ready": False}, "GET /api/tasks/?priority=low&ready=false&page_size=10"),
    Twin("list_tasks", {"assignee": "alice"}, "GET /api/tasks/?assignee=alice", given={"assignee": "alice"}),
    Twin("create_tasks", {"tasks": [SAID]}, "POST /api/tasks/", [SAID]),
    Twin("create_tasks", {"tasks": REFERRING}, "POST /api/tasks/", REFERRING),
    Twin("list_tasks", {"stale": True, "tags": ["t"]}, "GET /api/tasks/?stale=true&tags=t&page_size=10"),
    Twin("update_task", {"task_id": "{task}", **SAID, "artifacts": ["x"]}, "PATCH /api/tasks/{task}/", {**SAID, "artifacts": ["x"]}),
    Twin("claim_task", {"tags": ["t"], "priority": ["high"]}, "POST /api/tasks/claim/", {"tags": ["t"], "priority": ["high"]}),
    Twin("claim_task", {"task_id": "{task}"}, "POST /api/tasks/claim/", {"task_id": "{task}"}),
    Twin("add_note", {"task_id": "{task}", **QUESTION}, "POST /api/tasks/{task}/notes/", QUESTION),
    Twin("get_execution", {"task_id": "{task}", "tail": 0}, "GET /api/exec/status/{task}", running=True),
    failing("invalid", LIST, arguments={"status": ["no"]}, request="GET /api/tasks/?status=no"),
    failing("not_found", LIST, arguments={"cursor": "no"}, request="GET /api/tasks/?cursor=no"),
    failing("invalid", CREATE, arguments={}, body=[]),
    failing("invalid", CREATE, arguments={"tasks": [{"title": "t", "tags": "no"}]}, body=[{"title": "t", "tags": "no"}]),
    failing("invalid", CREATE, arguments={"tasks": [{"title": "t", "nmae": 1}]}, body=[{"title": "t", "nmae": 1}]),
    failing("dependency_cycle", CREATE, arguments={"tasks": CYCLE}, body=CYCLE),
    failing("precondition_failed", UPDATE, arguments={**UPDATE.arguments, "expected_version": 9}, headers={"If-Match": '"9"'}),
    failing("invalid", UPDATE, arguments={"task_id": "{task}", "title": 1}, body={"title": 1}),
    failing("invalid", CLAIM, arguments={"priority": ["no"]}, body={"priority": ["no"]}),
    failing("invalid", CLAIM, arguments={"task_id": "no"}, body={"task_id": "no"}),
    failing("task_not_found", CLAIM, arguments={"task_id": NOBODYS}, body={"task_id": NOBODYS}),
    failing("task_not_claimable", CLAIM, arguments={"task_id": "{task}"}, body={"task_id": "{task}"}, given={"assignee": "bob"}),
    failing("invalid", STATUS, arguments={"task_id": "{task}"}, body={}),
    failing("transition_refused", STATUS, arguments={"task_id": "{task}", "new_status": "review"}, body={"new_status": "review"}),
    failing("precondition_failed", STATUS, arguments={**STATUS.arguments, "expected_version": 9}, headers={"If-Match": '"9"'}),
    failing("invalid", NOTE, arguments={"task_id": "{task}", "text": ""}, body={"text": ""}),
    failing("invalid", NOTE, arguments={"task_id": "{task}", **WORDS, "options": ["a"]}, body={**WORDS, "options": ["a"]}),
    failing("question_not_open", NOTE, arguments={"task_id": "{task}", "kind": "answer", "text": "a"}, body={"kind": "answer", "text": "a"}),
    failing("script_missing", EXECUTE, arguments={"task_id": "{task}"}, body={}),
    failing("execution_active", EXECUTE, running=True),
    failing("invalid", EXECUTE, arguments={"task_id": "{task}", "timeout_s": 0, **RUN}, body={"timeout_s": 0, **RUN}),
    failing("script_too_large", EXECUTE, arguments={"task_id": "{task}", "script_content": "#" * (SCRIPT_LIMIT_BYTES + 1)}, body={"script_content": "#" * (SCRIPT_LIMIT_BYTES + 1)}),
    failing("sandbox_not_found", EXECUTE, arguments={"task_id": "{task}", "sandbox_id": "none", **RUN}, body={"sandbox_id": "none", **RUN}),
    failing("execution_not_found", EXECUTION, running=False),
    failing("execution_not_found", EXECUTION, arguments={"task_id": "{task}", "execution_id": NOBODYS}, request=f"GET /api/exec/status/{{task}}?execution_id={NOBODYS}"),
    failing("invalid", EXECUTION, arguments={"task_id": "{task}", "execution_id": "no"}, request="GET /api/exec/status/{task}?execution_id=no"),
    failing("invalid", EXECUTION, arguments={"task_id": "{task}", "tail": -1}, request="GET /api/exec/logs/{task}?tail=-1"),
    failing("execution_not_active", STOP, running=False),
    failing("invalid", SANDBOXES, arguments={"limit": 0}, request="GET /api/sandboxes/?limit=0"),
    failing("sandbox_not_found", SANDBOX, arguments={"sandbox_id": "none"}, request="GET /api/sandboxes/none/"),
    failing("not_found", SANDBOX, arguments={"sandbox_id": "a b"}, request="GET /api/sandboxes/a%20b/"),
    failing("invalid", CONNECTION, arguments=LOGS, body={"kind": "sse", "params": LOGS}),
    failing("invalid", CONNECTION, arguments={"eventType": "logs"}, body={"kind": "sse", "params": {"eventType": "logs"}}),
    failing("invalid", CONNECTION, arguments={**WATCH, "eventType": "no"}, body={"kind": "sse", "params": {**WATCH, "eventType": "no"}}),
    failing("not_authenticated", CONNECTION, role=None),
    *[failing("not_authenticated", twin, role=None) for twin in WRITES],
    *[failing("forbidden", twin, role="viewer") for twin in WRITES],
    *[Twin(**{**vars(twin), "role": None}) for twin in (OVERVIEW, GET, LIST, READ, EXECUTION, SANDBOXES, SANDBOX)],
    *[Twin(**{**vars(twin), "role": "viewer"}) for twin in (OVERVIEW, GET, LIST, READ, EXECUTION, SANDBOXES, SANDBOX, CONNECTION)],
    *[failing("task_not_found", twin, given={"private": True, "assignee": "bob"}) for twin in OF_A_TASK],
    *[Twin(**{**vars(twin), "role": "operator", "given": {"private": True, "assignee": "bob"}}) for twin in OF_A_TASK],
]  # fmt: skip


@pytest.fixture
def users(alice: User, operator: User) -> dict[str | None, User | None]:
    return {None: None, "viewer": make_account("vera", "viewer"), "agent": alice, "operator": operator}


class World:
    """The rows that a call is about, made anew for each door: two tasks and perhaps an execution."""

    def __init__(self, twin: Twin, sandbox: str = "box") -> None:
        Task.objects.all().delete()
        tasks.task_create(actor=SYSTEM, title="another", status="review")
        given = {"title": "given", "priority": "high", "tags": ["t"], **twin.given}
        self.task = tasks.task_create(actor=SYSTEM, **given)
        if twin.running:
            executions.execution_queue(actor=SYSTEM, task_id=self.task.pk, script="true")
        self._names = {"{task}": str(self.task.pk), "{sandbox}": sandbox}
        self._entries = AuditEntry.objects.order_by("-pk").values_list("pk", flat=True)[0]

    def fill(self, value: Any) -> Any:
        if isinstance(value, dict):
            return {name: self.fill(each) for name, each in value.items()}
        if isinstance(value, list):
            return [self.fill(each) for each in value]
        for name, text in self._names.items():
            value = value.replace(name, text) if isinstance(value, str) else value
        return value

    def audit(self) -> list[Any]:
        entries = AuditEntry.objects.filter(pk__gt=self._entries).order_by("pk")
        return plain([[entry.door, entry.actor_name, entry.action, entry.changes] for entry in entries])

    def rows(self) -> Any:
        rows = Task.objects.order_by("created_at").values("title", "status", "assignee", "tags", "artifacts", "version")
        return list(rows)


ROW = (
    *("id", "title", "status", "priority", "assignee", "holder", "tags", "ready", "waiting_for", "closed_as"),
    *("open_blockers", "version", "updated_at"),
)
SANDBOX_ROW = ("id", "name", "state", "errorReason", "snapshot", "createdAt", "updatedAt", "lastActivityAt")
ANSWERED = {
    "update_task": ("id", "status", "version"),
    "set_task_status": ("id", "status", "version"),
    "execute_task": ("execution_id", "status"),
    "stop_execution": ("execution_id", "status", "ending"),
    "add_note": ("kind",),
}
"""Of the REST answer, what the tool's has too."""
BESIDE = {
    "update_task": ("changed",),
    "set_task_status": ("changed", "lease"),  # a header of REST's answer
    "execute_task": ("lease",),
    "get_execution": ("log", "after", "left_out", "log_error"),
    "add_note": ("id", "deadline"),
    "getSSEConnectionUrl": ("curl",),
}
"""What the tool says beside its twin."""


def only(*names: str) -> Callable[[dict[str, Any]], dict[str, Any]]:
    return lambda body: {name: body[name] for name in names}


def listed_tasks(body: dict[str, Any]) -> dict[str, Any]:
    cursor = parse_qs(urlsplit(body["next"]).query)["cursor"][0] if body["next"] else None
    return {
        "tasks": [{name: task[name] for name in ROW if task[name]} for task in body["results"]],
        "next_cursor": cursor,
    }


def listed_sandboxes(body: dict[str, Any]) -> dict[str, Any]:
    if "items" not in body:
        return body
    return {**body, "items": [{name: item[name] for name in SANDBOX_ROW if item.get(name)} for item in body["items"]]}


def overview(body: dict[str, Any]) -> dict[str, Any]:
    lists = ("leases", "assigned", "waiting", "stale")
    return {**body, **{name: [{key: each[key] for key in each if each[key]} for each in body[name]] for name in lists}}


def state(body: dict[str, Any]) -> dict[str, Any]:
    told = without("session_name", "command_id", "log_file", "queued_at", "stop_requested_at")(body)
    return {name: value for name, value in told.items() if value is not None and value != ""}


def description(body: dict[str, Any]) -> dict[str, Any]:
    text = body["description"]
    return {"path": "/description", "size": len(text), "offset": 0, "next": None, "text": text}


SHAPES: dict[str, Callable[[Any], Any]] = {
    **{tool: only(*names) for tool, names in ANSWERED.items()},
    "create_tasks": lambda body: {"tasks": [only("id", "status", "version")(task) for task in body]},
    "list_tasks": listed_tasks,
    "get_sandbox": listed_sandboxes,
    "get_overview": overview,
    "get_execution": state,
    "read_file": description,
}
"""REST's answer in the tool's shape, where it has one of its own."""


DETAIL = (
    *("blocked_by", "blocked_by_hidden", "environment", "environment_hidden", "notes"),
    *("verify", "override_reason", "check"),
)
"""Of get_task, which a claim spares the agent."""


def own(twin: Twin, body: dict[str, Any]) -> dict[str, Any]:
    """The tool's result without what it says beside its twin."""
    if twin.tool == "create_tasks":
        return {"tasks": [without("ref")(task) for task in body["tasks"]]}
    if twin.tool == "claim_task":
        return {**body, "task": body["task"] and without(*DETAIL)(body["task"])}
    return without(*BESIDE.get(twin.tool, ()))(body)


def the_sandbox(sandboxes: None, operator: User) -> str:
    return str(client_of(operator).post("/api/sandboxes/", {}, format="json").json()["id"])


@pytest.mark.parametrize("twin", TWINS, ids=str)
def test_a_tool_has_the_effect_and_result_of_its_rest_endpoint(
    twin: Twin, users: dict[str | None, User | None], sandboxes: None
) -> None:
    sandbox = the_sandbox(sandboxes, users["operator"]) if twin.tool == "get_sandbox" else "box"  # type: ignore[arg-type]
    user = users[twin.role]

    world = World(twin, sandbox)
    outcome = call(user, twin.tool, **world.fill(twin.arguments))
    by_tool = world.audit(), world.rows()

    world = World(twin, sandbox)
    client = client_of(user, "test") if user else APIClient()
    method, address = world.fill(twin.request).split(" ", 1)
    answer = client.generic(
        method,
        address,
        data=client._encode_data(world.fill(twin.body), "json", None)[0] if twin.body is not None else b"",
        content_type="application/json",
        headers=twin.headers,
    )
    by_rest = world.audit(), world.rows()

    assert by_tool[1] == by_rest[1]
    assert [entry[1:] for entry in by_tool[0]] == [entry[1:] for entry in by_rest[0]]
    # A job's part is a job's at both doors.
    assert [entry[0].replace("rest", "mcp") for entry in by_rest[0]] == [entry[0] for entry in by_tool[0]]
    if twin.code is not None:
        refusal = answer.json()["error"]
        assert outcome.failed
        assert outcome.body["error"]["code"] == refusal["code"] == twin.code
        return
    assert not outcome.failed, outcome.body
    assert answer.status_code < 300, answer.content
    assert plain(own(twin, outcome.body)) == plain(SHAPES.get(twin.tool, lambda body: body)(answer.json()))


def test_every_tool_has_a_rest_endpoint() -> None:
    assert {twin.tool for twin in ALL} == set(TOOLS)


def test_the_last_lines_of_a_log_equal_rests(execute, alice: User, api: APIClient, sandboxes: None) -> None:
    queued = execute("echo one; echo two >&2; exit 3")
    jobs.execution_start(queued["execution_id"])

    def ended() -> bool:
        jobs.execution_end(queued["execution_id"])
        return not Execution.objects.get(pk=queued["execution_id"]).is_active

    wait_until(ended, "the script's end")
    seen = call(alice, "get_execution", task_id=queued["task_id"]).body
    assert (seen["status"], seen["exit_code"], seen["log_error"]) == ("failed", 3, None)
    twin = api.get(f"/api/exec/logs/{queued['task_id']}").json()
    assert seen["log"] == "".join(f"{line['line']}\n" for line in twin["lines"])
    assert sorted(seen["log"].split()) == ["one", "two"]
    assert (seen["after"], seen["left_out"]) == (twin["lines"][-1]["n"], None)
    newer = call(alice, "get_execution", task_id=queued["task_id"], after=1).body
    assert (newer["log"], newer["after"]) == (f"{twin['lines'][1]['line']}\n", 2)
    none_newer = call(alice, "get_execution", task_id=queued["task_id"], after=2).body
    assert (none_newer["log"], none_newer["after"], none_newer["left_out"]) == ("", 2, None)
