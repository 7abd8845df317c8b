"""`subscriptions/listen`: what agents are told, by the official client, and when such a stream ends."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from contextlib import asynccontextmanager
from typing import Any

import httpx
import pytest
from mcp import MCPError
from mcp.client.subscriptions import ListenNotSupportedError
from mcp.shared.subscriptions import ResourcesListChanged, ResourceUpdated
from mcp_types import METHOD_NOT_FOUND
from test_both_servers import COMMANDS, served

from tests.mcp_client import connected, rpc
from tests.processes import wait_until
from tests.servers.hubs import Installation


@pytest.fixture(scope="module")
def installation(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Installation]:
    made = Installation(tmp_path_factory.mktemp("listening"))
    try:
        made.make_accounts("alice", "bob")
        made.env |= {"TASKHUB_STREAM_LIMIT_PER_CALLER": "2"}
        made.start_web("one")
        made.start_web("two")
        yield made
    finally:
        made.end()


class Rest:
    """What an account does over REST, at the other web process."""

    def __init__(self, installation: Installation, name: str = "") -> None:
        headers = {"Authorization": f"Bearer {installation.accounts[name]}"} if name else installation.headers
        self._base = {"base_url": installation.address("two"), "headers": headers, "timeout": 30}

    def __call__(self, method: str, path: str, **body: Any) -> dict[str, Any]:
        with httpx.Client(**self._base) as client:
            answer = client.request(method, path, json=body)
            assert answer.status_code < 300, answer.text
            return dict(answer.json()) if answer.content else {}

    def task(self, title: str, **fields: Any) -> str:
        return str(self("POST", "/api/tasks/", title=title, **fields)["id"])


@asynccontextmanager
async def listening(installation: Installation, name: str, **wanted: Any):
    async with (
        connected(installation.address("one"), installation.accounts[name]) as client,
        client.listen(**wanted) as heard,
    ):
        yield heard


async def next_of(heard: Any, within_s: float = 60.0) -> Any:
    async with asyncio.timeout(within_s):
        return await anext(aiter(heard))


async def all_of(heard: Any) -> list[Any]:
    return [event async for event in heard]


async def test_changes_of_a_task_are_told_and_no_others(installation: Installation) -> None:
    rest = Rest(installation)
    watched, other = rest.task("watched"), rest.task("other")
    uri = f"taskhub://tasks/{watched}"
    async with listening(installation, "alice", resource_subscriptions=[uri]) as heard:
        assert heard.honored.resource_subscriptions == [uri]
        rest("PATCH", f"/api/tasks/{other}/", title="not this one")
        rest("PATCH", f"/api/tasks/{watched}/", title="this one")
        assert await next_of(heard) == ResourceUpdated(uri)
        rest("DELETE", f"/api/tasks/{watched}/")
        assert await next_of(heard) == ResourceUpdated(uri)


async def test_the_list_of_resources_changes_with_tasks_that_come_and_go(installation: Installation) -> None:
    rest = Rest(installation)
    async with listening(installation, "alice", resources_list_changed=True) as heard:
        task = rest.task("new")
        assert await next_of(heard) == ResourcesListChanged()
        rest("PATCH", f"/api/tasks/{task}/", title="u")
        rest("DELETE", f"/api/tasks/{task}/")
        assert await next_of(heard) == ResourcesListChanged()


async def test_nothing_is_told_of_private_tasks_of_others(installation: Installation) -> None:
    rest = Rest(installation)
    secret, public = rest.task("secret", private=True, assignee="bob"), rest.task("public")
    uris = [f"taskhub://tasks/{secret}", f"taskhub://tasks/{public}"]
    async with (
        listening(installation, "alice", resource_subscriptions=uris) as alice,
        listening(installation, "bob", resource_subscriptions=uris) as bob,
    ):
        rest("PATCH", f"/api/tasks/{secret}/", title="still secret")
        rest("PATCH", f"/api/tasks/{public}/", title="for all")
        assert await next_of(alice) == ResourceUpdated(uris[1])
        assert await next_of(bob) == ResourceUpdated(uris[0])


async def test_a_token_that_goes_ends_the_stream_in_good_order(installation: Installation) -> None:
    made = Rest(installation, "alice")("POST", "/api/tokens/", name="short-lived")
    async with (
        connected(installation.address("one"), made["token"]) as client,
        client.listen(resources_list_changed=True) as heard,
    ):
        ended = asyncio.create_task(all_of(heard))
        Rest(installation, "alice")("DELETE", f"/api/tokens/{made['id']}/")
        async with asyncio.timeout(10):
            assert await ended == []


async def test_streams_are_limited_as_all_streams_are(installation: Installation) -> None:
    async with (
        connected(installation.address("one"), installation.accounts["viewer"]) as client,
        client.listen(resources_list_changed=True),
        client.listen(tools_list_changed=True),
    ):
        with pytest.raises(MCPError) as refusal:
            async with client.listen(prompts_list_changed=True):
                pass
        assert refusal.value.data["error"]["code"] == "too_many_streams_of_caller"
    wait_until(lambda: _streams(installation) == 0, "their places are free")


def _streams(installation: Installation) -> int:
    answer = httpx.get(f"{installation.address('one')}/api/events/status").json()
    return int(answer["clients_per_channel"].get("mcp", 0))


@pytest.mark.parametrize("revision", ["2024-11-05", "2025-03-26", "2025-06-18", "2025-11-25"])
async def test_earlier_revisions_are_not_offered_what_they_cannot_get(
    installation: Installation, revision: str
) -> None:
    async with connected(installation.address("one"), None, revision) as client:
        assert client.server_capabilities.resources.subscribe is False
        with pytest.raises(ListenNotSupportedError):
            async with client.listen(resources_list_changed=True):
                pass
        asked = rpc(installation.address("one"), "resources/subscribe", {"uri": "x"}, MCP_Protocol_Version=revision)
        assert asked.json()["error"]["code"] == METHOD_NOT_FOUND
        # They read all the same.
        assert (await client.list_resource_templates()).resource_templates
        assert (await client.list_prompts()).prompts


def test_a_stream_carries_the_headers_of_every_other_answer(installation: Installation) -> None:
    meta = {
        "io.modelcontextprotocol/protocolVersion": "2026-07-28",
        "io.modelcontextprotocol/clientCapabilities": {},
    }
    with httpx.stream(
        "POST",
        f"{installation.address('one')}/mcp",
        json={
            "jsonrpc": "2.0",
            "id": "a",
            "method": "subscriptions/listen",
            "params": {"notifications": {"resourcesListChanged": True}, "_meta": meta},
        },
        headers={
            "Accept": "application/json, text/event-stream",
            "MCP-Protocol-Version": "2026-07-28",
            "Mcp-Method": "subscriptions/listen",
        },
        timeout=60,
    ) as answer:
        assert answer.status_code == 200, answer.read()
        assert answer.headers["Content-Type"] == "text/event-stream; charset=utf-8"
        assert answer.headers.get_list("X-Content-Type-Options") == ["nosniff"]
        lines = (line for line in answer.iter_lines() if line.startswith("data: "))
        assert "notifications/subscriptions/acknowledged" in next(lines)
    assert rpc(installation.address("one")).status_code == 200


@pytest.mark.parametrize("name", list(COMMANDS))
async def test_both_servers_say_goodbye(name: str, tmp_path: Any) -> None:
    with served(name, tmp_path) as server:
        async with connected(server.address) as client, client.listen(resources_list_changed=True) as heard:
            server.create("seen at once")
            assert await next_of(heard) == ResourcesListChanged()
            if name == "daphne":
                return  # runserver ends without a word to its streams
            ended = asyncio.create_task(all_of(heard))
            server.process.signal(15)
            async with asyncio.timeout(15):
                assert await ended == []
                assert await asyncio.to_thread(server.process.wait, 15) in {0, -15}
