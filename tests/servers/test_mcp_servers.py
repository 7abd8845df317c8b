"""The MCP server in a real web process: every revision of the protocol, under both servers, and who is not let in."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest
from test_both_servers import COMMANDS, Served, _held, served

from tests.mcp_client import ACCEPT, REVISIONS, connected, rpc
from tests.servers.hubs import Installation, ProductionInstallation


@pytest.fixture(params=list(COMMANDS), scope="module")
def server(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    with served(request.param, tmp_path_factory.mktemp(request.param)) as running:
        yield running


@pytest.mark.parametrize("revision", ["auto", *REVISIONS])
async def test_the_official_client_works_in_every_revision(server: Served, revision: str) -> None:
    token = server.headers["Authorization"].removeprefix("Bearer ")
    async with connected(server.address, token, revision) as client:
        assert client.protocol_version == (REVISIONS[-1] if revision == "auto" else revision)
        assert {"claim_task", "getSSEConnectionUrl"} <= {tool.name for tool in (await client.list_tools()).tools}
        made = await client.call_tool("create_tasks", {"tasks": [{"title": f"by {revision}"}]})
        assert not made.is_error
        (row,) = made.structured_content["tasks"]
        seen = await client.call_tool("get_task", {"task_id": row["id"]})
        assert {name: seen.structured_content[name] for name in row} == row
        refused = await client.call_tool("get_task", {"task_id": "none"})
        assert refused.is_error
        assert refused.structured_content["error"]["code"] == "not_found"


async def test_without_a_token_this_machine_may_read(server: Served) -> None:
    async with connected(server.address) as client:
        assert not (await client.call_tool("list_tasks", {})).is_error
    # A client's sign-in begins with this status.
    refused = rpc(server.address, "tools/call", {"name": "create_tasks", "arguments": {"tasks": [{"title": "t"}]}})
    assert refused.status_code == 401
    assert "resource_metadata=" in refused.headers["WWW-Authenticate"]


def test_many_calls_at_once_hold_no_thread_and_no_database_connection_of_their_own(server: Served) -> None:
    async def burst() -> None:
        token = server.headers["Authorization"].removeprefix("Bearer ")
        async with connected(server.address, token) as client:
            await client.call_tool("create_tasks", {"tasks": [{"title": "warm"}]})
            before = _held(folder)
            results = await asyncio.gather(*[client.call_tool("list_tasks", {}) for _ in range(60)])
            assert not any(result.is_error for result in results)
            threads, files = _held(folder)
            assert threads <= before[0] + 3
            assert files <= before[1] + 6  # TASKHUB_WEB_THREADS is 2; a connection has up to three files

    folder = Path(f"/proc/{server.process.pid}")
    asyncio.run(burst())


def test_both_spellings_of_the_address_work_and_only_with_post(server: Served) -> None:
    for path in ("/mcp", "/mcp/"):
        assert rpc(server.address, path=path).status_code == 200
        for method in ("GET", "DELETE", "PUT", "HEAD", "OPTIONS"):
            answer = httpx.request(method, server.address + path, headers=ACCEPT)
            assert answer.status_code == 405
            assert answer.headers["Allow"] == "POST"


@pytest.mark.parametrize(
    ("headers", "status"),
    [
        ({"Host": "evil.example"}, 400),
        ({"Origin": "https://evil.example"}, 403),
        ({"Origin": "null"}, 403),
        ({"Origin": "http://localhost:1"}, 403),
        ({"Sec_Fetch_Site": "cross-site"}, 403),
    ],
)
def test_another_sites_page_gets_nothing(server: Served, headers: dict[str, str], status: int) -> None:
    answer = rpc(server.address, **headers)
    assert answer.status_code == status
    assert "tools" not in answer.text
    with_token = rpc(server.address, **headers, **server.headers)
    assert (with_token.status_code, "tools" in with_token.text) == (status, False)


def test_our_own_page_may_ask(server: Served) -> None:
    assert rpc(server.address, Origin=server.address).status_code == 200
    assert rpc(server.address, Origin=server.address.replace("127.0.0.1", "localhost")).status_code == 200


def test_answers_carry_the_headers_of_every_other_answer(server: Served) -> None:
    answer = rpc(server.address)
    for name in ("X-Content-Type-Options", "Content-Security-Policy", "Cross-Origin-Resource-Policy"):
        assert answer.headers.get_list(name) == httpx.get(f"{server.address}/healthz").headers.get_list(name)
    assert answer.headers.get_list("Content-Type") == ["application/json"]


def test_a_body_that_is_too_large_is_refused(server: Served) -> None:
    answer = httpx.post(f"{server.address}/mcp", content=b'"' + b"x" * (9 * 1024 * 1024) + b'"', headers=ACCEPT)
    assert answer.status_code == 413
    assert answer.json()["error"]["code"] == "body_too_large"


@pytest.mark.parametrize(
    "body", [b"", b"{", b"[]", b"[" * 100_000, b"\xff", b'{"jsonrpc":"2.0","id":1,"method":5}', b"[{}]"]
)
@pytest.mark.parametrize("revision", ["2025-11-25", "2026-07-28", "1999-01-01"])
def test_what_is_no_message_is_refused_and_tells_nothing(server: Served, body: bytes, revision: str) -> None:
    headers = {**ACCEPT, "Content-Type": "application/json", "MCP-Protocol-Version": revision}
    answer = httpx.post(f"{server.address}/mcp", content=body, headers=headers)
    assert answer.status_code in {400, 202}
    assert "Traceback" not in answer.text
    assert "/tmp" not in answer.text


def test_sigterm_ends_a_process_that_has_answered(tmp_path: Path) -> None:
    with served("uvicorn", tmp_path) as own:
        assert rpc(own.address).status_code == 200
        own.process.signal(15)
        assert own.process.wait(60) in {0, -15}
        assert not [line for line in own.process.output if "Traceback" in line or " ERROR " in line]


# --- Tokens ----------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def production(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Installation]:
    made = ProductionInstallation(tmp_path_factory.mktemp("production"))
    try:
        made.make_accounts()
        made.start_web("one")
        yield made
    finally:
        made.end()


def ask(
    production: Installation, token: str | None, method: str = "tools/list", params: object = None
) -> httpx.Response:
    headers = {"Authorization": f"Bearer {token}"} if token is not None else {}
    named = {name.replace("-", "_"): value for name, value in production.base_headers.items()}
    return rpc(production.address("one"), method, params, **named, **headers)


def test_in_production_nobody_asks_without_a_token(production: Installation) -> None:
    for method in ("tools/list", "initialize", "ping", "resources/list"):
        answer = ask(production, None, method)
        assert answer.status_code == 401
        assert answer.headers["WWW-Authenticate"].startswith("Bearer resource_metadata=")
        assert answer.json()["error"]["data"]["error"]["code"] == "not_authenticated"
    assert ask(production, production.accounts["viewer"]).status_code == 200
    assert ask(production, production.accounts["nothing"]).status_code == 403


@pytest.mark.parametrize("token", ["x", "0" * 64, "a b", "ü", "x" * 10_000, "%00"])
def test_a_malformed_token_is_a_wrong_one(production: Installation, token: str) -> None:
    headers = {"Authorization": f"Bearer {token}".encode()}
    answer = httpx.post(
        f"{production.address('one')}/mcp", json={}, headers={**ACCEPT, **production.base_headers, **headers}
    )
    assert answer.status_code == 401
    assert answer.headers["WWW-Authenticate"].startswith('Bearer error="invalid_token"')
    assert answer.json()["error"]["message"].startswith("The token is wrong.")


@pytest.mark.parametrize("revision", [REVISIONS[-1], "2025-11-25"])
async def test_the_official_client_shows_why_it_is_refused(server: Served, revision: str) -> None:
    with pytest.raises(BaseException) as refused:  # noqa: PT011 - of a task group, whose words are looked at
        async with connected(server.address, "0" * 64, revision) as client:
            await client.list_tools()
    assert "The token is wrong." in words_of(refused.value)


def words_of(error: BaseException) -> str:
    inside = error.exceptions if isinstance(error, BaseExceptionGroup) else ()
    return " ".join([str(error), *map(words_of, inside)])


def made_with(production: Installation, code: str) -> str:
    """The token's text that the code, run in the hub's own shell, prints."""
    return production.manage("shell", "--no-imports", "-c", f"""
from datetime import timedelta
from django.contrib.auth.models import User
from taskhub.models import ApiToken
user = User.objects.get(username="a-agent")
{code}
""").split()[-1]  # fmt: skip


def test_an_expired_token_is_worth_nothing(production: Installation) -> None:
    token = made_with(production, "print(ApiToken.objects.create(user=user, expiry=timedelta(seconds=-1))[1])")
    answer = ask(production, token)
    assert answer.status_code == 401
    assert answer.json()["error"]["data"]["error"]["code"] == "token_expired"


def test_a_revoked_token_is_worth_nothing_from_the_next_call_on(production: Installation) -> None:
    token = made_with(production, "print(ApiToken.objects.create(user=user, name='stolen')[1])")
    call = {"name": "create_tasks", "arguments": {"tasks": [{"title": "t"}]}}
    assert ask(production, token, "tools/call", call).json()["result"]["isError"] is False
    made_with(production, "ApiToken.objects.get(name='stolen').delete(); print('gone')")
    assert ask(production, token, "tools/call", call).status_code == 401


def test_a_session_of_a_browser_opens_nothing(production: Installation) -> None:
    session = production.log_in("one", "a-operator", "a password of the tests")["sessionid"]
    named = {name.replace("-", "_"): value for name, value in production.base_headers.items()}
    answer = rpc(production.address("one"), **named, Cookie=f"sessionid={session}")
    assert answer.status_code == 401


def test_in_production_only_the_hubs_own_origin_may_ask(production: Installation) -> None:
    token = production.accounts["viewer"]
    headers = {"Host": "hub.example.com", "X_Forwarded_Proto": "https", "Authorization": f"Bearer {token}"}
    for origin, status in [
        ("https://hub.example.com", 200),
        ("http://hub.example.com", 403),
        ("https://evil.example.com", 403),
        ("http://localhost", 403),
        ("http://127.0.0.1", 403),
    ]:
        assert rpc(production.address("one"), **headers, Origin=origin).status_code == status, origin
    headers["Host"] = "evil.example.com"
    assert rpc(production.address("one"), **headers).status_code == 400


def test_guessing_and_haste_are_limited_as_over_rest(tmp_path: Path) -> None:
    installation = Installation(tmp_path)
    try:
        installation.make_accounts()
        installation.env |= {"TASKHUB_FAILED_CREDENTIALS_PER_MINUTE": "3", "TASKHUB_REQUESTS_PER_MINUTE": "5"}
        installation.start_web("one")
        address, token = installation.address("one"), installation.accounts["agent"]
        statuses = [rpc(address, Authorization=f"Bearer {token}").status_code for _ in range(7)]
        assert statuses == [200] * 5 + [429] * 2
        assert rpc(address, Authorization=f"Bearer {token}").headers["Retry-After"]
        assert httpx.get(f"{address}/api/tasks/", headers={"Authorization": f"Bearer {token}"}).status_code == 429
        assert [rpc(address, Authorization="Bearer wrong").status_code for _ in range(4)] == [401, 401, 401, 429]
        assert rpc(address, Authorization=f"Bearer {installation.accounts['viewer']}").status_code == 200
    finally:
        installation.end()
