"""More requests that wait for a sandbox or a log than there are web threads: all others are answered meanwhile.

The hub's limits are out of reach (`patient_hub.py`), so whatever waits does so until the test lets it go on: the order
of events decides, not their duration.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any
from uuid import UUID

import httpx
import pytest

from tests.mcp_client import ACCEPT
from tests.processes import wait_until
from tests.sandboxes.ill_daytona import FOLLOW, KEY, Daytona
from tests.servers.hubs import PATIENCE_S, Installation

THREADS = 2
AGENTS = 16
VIEWERS = 24
_CONNECTED = "01"


@pytest.fixture(scope="module")
def daytona(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Daytona]:
    made = Daytona(tmp_path_factory.mktemp("daytona"))
    yield made
    made.close()


@pytest.fixture(scope="module")
def hub(tmp_path_factory: pytest.TempPathFactory, daytona: Daytona) -> Iterator[Installation]:
    with Installation(tmp_path_factory.mktemp("hub")) as made:
        made.env |= {
            "DAYTONA_API_KEY": KEY,
            "DAYTONA_API_URL": daytona.api_url,
            "TASKHUB_WEB_THREADS": str(THREADS),
        }
        made.start_web("one", application="tests.servers.patient_hub:application")
        yield made


@pytest.fixture
def client(hub: Installation) -> Iterator[httpx.Client]:
    with hub.client("one", limits=httpx.Limits(max_connections=None)) as made:
        yield made


@pytest.fixture
def pool() -> Iterator[ThreadPoolExecutor]:
    with ThreadPoolExecutor(VIEWERS) as made:
        yield made


@contextmanager
def hanging(daytona: Daytona) -> Iterator[None]:
    """It takes connections, and says nothing."""
    assert daytona.process is not None
    with daytona.process.frozen():
        yield


def connections(daytona: Daytona) -> int:
    """Open connections to Daytona, as the kernel lists them: it cannot be asked itself."""
    lines = [line.split() for line in Path("/proc/net/tcp").read_text().splitlines()[1:]]
    return sum(1 for _, _, remote, state, *_ in lines if int(remote[-4:], 16) == daytona.port and state == _CONNECTED)


def assert_others_are_answered(client: httpx.Client, waiting: list[Future[httpx.Response]]) -> None:
    for _ in range(3):
        assert client.get("/healthz").json() == {"status": "ok"}
        assert client.post("/api/tasks/", json={"title": "t"}).status_code == 201
        assert client.get("/api/tasks/").status_code == 200
    assert not any(each.done() for each in waiting)


def database_of(hub: Installation) -> sqlite3.Connection:
    return sqlite3.connect(Path(hub.env["TASKHUB_DATA_DIR"]) / "taskhub.sqlite3", isolation_level=None, timeout=30)


class ChattyLog:
    """An execution whose command runs at Daytona, as a worker would have started it: a line every 50 ms, to its end."""

    def __init__(self, hub: Installation, daytona: Daytona, client: httpx.Client, done: Path) -> None:
        self._daytona = daytona
        self._done = done
        self._followed_before = self._followed()
        script = f"while [ ! -e {done} ]; do echo x; sleep 0.05; done"
        sandbox_id, command_id = daytona.command(script)
        self.task_id = client.post("/api/tasks/", json={"title": "chatty"}).json()["id"]
        answer = client.post(f"/api/exec/{self.task_id}", json={"script_content": script})
        self.execution_id = answer.json()["execution_id"]
        placed = "UPDATE taskhub_execution SET status = 'running', sandbox_id = ?, session_name = 's', command_id = ?"
        with closing(database_of(hub)) as database:
            database.execute(f"{placed} WHERE id = ?", [sandbox_id, command_id, UUID(self.execution_id).hex])

    def _followed(self) -> int:
        return self._daytona.requests().get(FOLLOW, 0)

    def is_followed(self) -> bool:
        return self._followed() > self._followed_before

    def end(self) -> None:
        self._done.touch()


@pytest.fixture
def chatty(hub: Installation, daytona: Daytona, client: httpx.Client, tmp_path: Path) -> Iterator[ChattyLog]:
    made = ChattyLog(hub, daytona, client, tmp_path / "done")
    yield made
    made.end()


def tool_call(name: str, **arguments: Any) -> dict[str, Any]:
    params = {"name": name, "arguments": arguments}
    return {"jsonrpc": "2.0", "id": 1, "method": "tools/call", "params": params}


def resource(uri: str) -> dict[str, Any]:
    return {"jsonrpc": "2.0", "id": 1, "method": "resources/read", "params": {"uri": uri}}


def over_mcp(client: httpx.Client, message: dict[str, Any]) -> httpx.Response:
    headers = ACCEPT | {"MCP-Protocol-Version": "2025-11-25"}
    return client.post("/mcp", json=message, headers=headers)


def result_of(answer: httpx.Response) -> dict[str, Any]:
    result: dict[str, Any] = answer.json()["result"]
    assert not result.get("isError"), result
    return result


def test_24_tails_of_a_log_that_never_pauses(client: httpx.Client, pool: ThreadPoolExecutor, chatty: ChattyLog) -> None:
    waiting = [pool.submit(client.get, f"/api/exec/logs/{chatty.task_id}?tail=1") for _ in range(VIEWERS)]
    wait_until(chatty.is_followed, "a tail waits for the log to pause", within_s=PATIENCE_S)
    assert_others_are_answered(client, waiting)
    chatty.end()
    answers = [each.result() for each in waiting]
    assert [answer.status_code for answer in answers] == [200] * VIEWERS
    assert {line["line"] for answer in answers for line in answer.json()["lines"]} == {"x"}


def test_16_agents_that_poll_an_execution_over_mcp(
    client: httpx.Client, pool: ThreadPoolExecutor, chatty: ChattyLog
) -> None:
    get = tool_call("get_execution", task_id=chatty.task_id, tail=1)
    log = resource(f"taskhub://executions/{chatty.execution_id}/log")
    waiting = [pool.submit(over_mcp, client, message) for message in [get, log] * (AGENTS // 2)]
    wait_until(chatty.is_followed, "a tail waits for the log to pause", within_s=PATIENCE_S)
    assert_others_are_answered(client, waiting)
    assert result_of(over_mcp(client, tool_call("list_tasks")))["structuredContent"]["tasks"]
    assert not any(each.done() for each in waiting)
    chatty.end()
    for got, read in zip(waiting[::2], waiting[1::2], strict=True):
        assert result_of(got.result())["structuredContent"]["log"] == "x\n"
        assert result_of(read.result())["contents"][0]["text"].startswith("x\n")


LOOKS: dict[str, Callable[[httpx.Client], httpx.Response]] = {
    "rest": lambda client: client.get("/api/sandboxes/"),
    "mcp": lambda client: over_mcp(client, tool_call("get_sandbox")),
}


@pytest.mark.parametrize("door", list(LOOKS))
def test_16_looks_at_a_daytona_that_hangs(
    client: httpx.Client, pool: ThreadPoolExecutor, daytona: Daytona, door: str
) -> None:
    daytona.sandbox()
    with hanging(daytona):
        waiting = [pool.submit(LOOKS[door], client) for _ in range(AGENTS)]
        wait_until(lambda: connections(daytona) >= AGENTS, "all of them ask Daytona", within_s=PATIENCE_S)
        assert_others_are_answered(client, waiting)
    for answer in (each.result() for each in waiting):
        body = answer.json() if door == "rest" else result_of(answer)["structuredContent"]
        assert body["items"]


def test_a_reader_that_goes_away_asks_no_longer(client: httpx.Client, daytona: Daytona) -> None:
    assert client.get("/api/sandboxes/").status_code == 200
    with hanging(daytona):
        before = connections(daytona)
        with pytest.raises(httpx.ReadTimeout):
            client.get("/api/sandboxes/", timeout=httpx.Timeout(PATIENCE_S, read=2.0))
        wait_until(lambda: connections(daytona) < max(before, 1), "its request is cut off", within_s=PATIENCE_S)


def test_a_sandbox_is_made_and_audited_though_its_client_went_away(
    hub: Installation, client: httpx.Client, daytona: Daytona
) -> None:
    key = {"Idempotency-Key": "gone"}

    def repeat() -> httpx.Response:
        return client.post("/api/sandboxes/", json={}, headers=key)

    with hanging(daytona), pytest.raises(httpx.ReadTimeout):
        client.post("/api/sandboxes/", json={}, headers=key, timeout=httpx.Timeout(PATIENCE_S, read=3.0))
    wait_until(lambda: repeat().status_code == 201, "it is made", within_s=PATIENCE_S)
    made = repeat()
    assert made.headers["Idempotency-Replayed"] == "true"
    with closing(database_of(hub)) as database:
        audited = database.execute("SELECT sandbox_id FROM taskhub_auditentry WHERE action = 'sandbox:create'")
        assert audited.fetchall() == [(made.json()["id"],)]
