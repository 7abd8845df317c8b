"""The tasks extension on the wire: who is answered with a task, at both web processes and after a restart."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import httpx
import pytest

from tests.mcp_client import ACCEPT, REVISIONS
from tests.servers.hubs import Installation

NEWEST = "2026-07-28"
EXTENSION = "io.modelcontextprotocol/tasks"
DECLARED: dict[str, Any] = {"extensions": {EXTENSION: {}}}
META = "io.modelcontextprotocol/"


@pytest.fixture(scope="module")
def installation(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Installation]:
    with Installation(tmp_path_factory.mktemp("mcp-tasks")) as made:
        made.start_web("one")
        made.start_web("two")
        yield made


class Wire:
    """Bare messages to one web process."""

    def __init__(self, installation: Installation, process: str = "one") -> None:
        self._address = f"{installation.address(process)}/mcp"
        self._headers = {**installation.headers, **ACCEPT}

    def __call__(
        self, method: str, client: dict[str, Any] | None = None, *, revision: str = NEWEST, **params: Any
    ) -> httpx.Response:
        headers = {**self._headers, "MCP-Protocol-Version": revision}
        if revision == NEWEST:
            name = params.get("taskId") or params.get("name")
            headers |= {"Mcp-Method": method, **({"Mcp-Name": name} if name else {})}
            info = {"name": "test", "version": "1"}
            meta = {"protocolVersion": NEWEST, "clientInfo": info, "clientCapabilities": client or {}}
            params["_meta"] = {META + key: value for key, value in meta.items()}
        message = {"jsonrpc": "2.0", "id": 7, "method": method, "params": params}
        return httpx.post(self._address, json=message, headers=headers, timeout=60, trust_env=False)

    def call(self, tool: str, client: dict[str, Any] | None = None, **arguments: Any) -> dict[str, Any]:
        answer = self("tools/call", client, name=tool, arguments=arguments)
        result: dict[str, Any] = answer.json()["result"]
        return result

    def new_task(self) -> str:
        return str(self.call("create_tasks", tasks=[{"title": "t"}])["structuredContent"]["tasks"][0]["id"])

    def begin(self, task: str) -> dict[str, Any]:
        return self.call("execute_task", DECLARED, task_id=task, script_content="true")


@pytest.fixture
def wire(installation: Installation) -> Wire:
    return Wire(installation)


@pytest.fixture
def other(installation: Installation) -> Wire:
    return Wire(installation, "two")


def test_a_task_lives_in_both_processes_and_over_a_restart(installation: Installation, wire: Wire, other: Wire) -> None:
    made = wire.begin(wire.new_task())
    assert (made["resultType"], made["status"]) == ("task", "working")
    seen = other("tasks/get", DECLARED, taskId=made["taskId"]).json()["result"]
    assert (seen["resultType"], seen["status"]) == ("complete", "working")
    installation.start_web("one")
    answer = wire("tasks/cancel", DECLARED, taskId=made["taskId"]).json()["result"]
    assert answer.pop("_meta")
    assert answer == {"resultType": "complete"}
    for process in (wire, other):
        assert process("tasks/get", DECLARED, taskId=made["taskId"]).json()["result"]["status"] == "cancelled"
    answer = wire("tasks/update", DECLARED, taskId=made["taskId"], inputResponses={}).json()["result"]
    assert answer["resultType"] == "complete"


def test_it_is_told_on_discovery(wire: Wire) -> None:
    assert wire("server/discover").json()["result"]["capabilities"]["extensions"] == {EXTENSION: {}}


def test_a_client_that_does_not_declare_it_gets_results(wire: Wire) -> None:
    made = wire.call("execute_task", task_id=wire.new_task(), script_content="true")
    assert (made["resultType"], made["structuredContent"]["status"]) == ("complete", "queued")
    asked = wire.call("add_note", task_id=wire.new_task(), kind="question", text="Which?")
    assert (asked["resultType"], asked["structuredContent"]["kind"]) == ("complete", "question")


@pytest.mark.parametrize("method", ["tasks/get", "tasks/cancel", "tasks/update"])
def test_a_client_that_does_not_declare_it_may_not_ask(wire: Wire, method: str) -> None:
    made = wire.begin(wire.new_task())
    for params in ({"taskId": made["taskId"], "inputResponses": {}}, {}):
        answer = wire(method, **params)
        assert answer.status_code == 400
        assert answer.json()["error"]["code"] == -32021
        assert answer.json()["error"]["data"] == {"requiredCapabilities": DECLARED}
    assert wire("tasks/get", DECLARED, taskId=made["taskId"]).json()["result"]["status"] == "working"


def test_nor_listen_to_tasks(wire: Wire) -> None:
    answer = wire("subscriptions/listen", notifications={"taskIds": ["x"]})
    assert answer.json()["error"]["code"] == -32021


@pytest.mark.parametrize("revision", [each for each in REVISIONS if each != NEWEST])
def test_earlier_revisions_do_not_have_it(wire: Wire, revision: str) -> None:
    task = wire.new_task()
    info = {"name": "test", "version": "1"}
    hello = wire("initialize", revision=revision, protocolVersion=revision, capabilities=DECLARED, clientInfo=info)
    told = hello.json()["result"]["capabilities"]
    assert EXTENSION not in told.get("extensions", {})
    assert "tasks" not in told
    called = {"name": "execute_task", "arguments": {"task_id": task, "script_content": "true"}}
    result = wire("tools/call", revision=revision, **called).json()["result"]
    assert "taskId" not in result
    assert "resultType" not in result
    for method in ("tasks/get", "tasks/cancel", "tasks/update", "tasks/result", "tasks/list"):
        for params in ({"taskId": "x", "inputResponses": {}}, {}):
            assert wire(method, revision=revision, **params).json()["error"]["code"] == -32601


def test_an_unknown_task_is_a_wrong_parameter(wire: Wire) -> None:
    for task_id in ("x", "execution.00000000-0000-4000-8000-000000000000"):
        for method in ("tasks/get", "tasks/cancel", "tasks/update"):
            error = wire(method, DECLARED, taskId=task_id, inputResponses={}).json()["error"]
            assert error["code"] == -32602
    assert wire("tasks/get", DECLARED).json()["error"]["code"] == -32602
