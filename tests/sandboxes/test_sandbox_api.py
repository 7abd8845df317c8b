"""`/api/sandboxes/` over both generations of Daytona's answers: what works, what is refused, what is written down."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import pytest
from django.contrib.auth.models import User
from rest_framework.test import APIClient

from sandboxes.circuit_breaker import breaker
from sandboxes.selectors import sandboxes as selectors
from sandboxes.watch import shared_list
from taskhub.auth.actor import SYSTEM
from taskhub.models import ApiToken, AuditEntry
from taskhub.services import tasks
from tests.processes import wait_until
from tests.sandboxes.ill_daytona import KEY, Daytona

pytestmark = pytest.mark.django_db
ROOT = "/api/sandboxes"


@pytest.fixture
def daytona(lonely_daytona: Daytona) -> Iterator[Daytona]:
    yield lonely_daytona
    if lonely_daytona.process is None:
        lonely_daytona.start()
    lonely_daytona.heal()


@pytest.fixture(scope="module")
def newer_daytona(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Daytona]:
    made = Daytona(tmp_path_factory.mktemp("newer"), "--dialect", "new")
    yield made
    made.close()


@pytest.fixture(params=["v0.190", "new"])
def either(request: pytest.FixtureRequest, settings) -> Iterator[Daytona]:
    """Daytona, in both of the ways in which it words its errors."""
    name = "daytona" if request.param == "v0.190" else "newer_daytona"
    daytona: Daytona = request.getfixturevalue(name)
    settings.DAYTONA_API_URL = daytona.api_url
    settings.DAYTONA_API_KEY = KEY
    breaker.succeeded()
    yield daytona
    daytona.heal()
    breaker.succeeded()


@pytest.fixture
def api(operator: User) -> APIClient:
    """The API as an operator, by a real token."""
    _, token = ApiToken.objects.create(user=operator)
    client = APIClient()
    client.credentials(HTTP_AUTHORIZATION=f"Bearer {token}")
    return client


@pytest.fixture
def agent(alice: User) -> APIClient:
    _, token = ApiToken.objects.create(user=alice)
    client = APIClient()
    client.credentials(HTTP_AUTHORIZATION=f"Bearer {token}")
    return client


def sent(api: APIClient, method: str, path: str, body: Any = None) -> tuple[int, Any]:
    answer = api.generic(method, path, json.dumps(body) if body is not None else "", content_type="application/json")
    assert KEY not in answer.content.decode()
    return answer.status_code, json.loads(answer.content) if answer.content else None


def code_of(answer: tuple[int, Any]) -> tuple[int, str]:
    status, body = answer
    return status, str(body["error"]["code"])


def audited() -> list[tuple[str, str, str]]:
    entries = AuditEntry.objects.order_by("id")
    return [(entry.action, entry.actor_name, entry.sandbox_id) for entry in entries]


def test_a_sandbox_from_its_making_to_its_end(either: Daytona, api: APIClient) -> None:
    body = {"labels": {"a": "b"}, "env": {"SECRET": "not shown"}, "autoStopInterval": 0}
    status, made = sent(api, "POST", f"{ROOT}/", body)
    assert (status, made["labels"]) == (201, {"a": "b"})
    assert "env" not in made
    sandbox_id = made["id"]
    url = f"{ROOT}/{sandbox_id}"
    assert sent(api, "GET", url)[1]["state"] == "started"
    assert sandbox_id in [item["id"] for item in sent(api, "GET", f"{ROOT}/?limit=200")[1]["items"]]
    status, body = sent(api, "POST", f"{url}/stop")
    assert (status, body["state"]) in [(202, "stopping"), (202, "stopped")]
    wait_until(lambda: sent(api, "GET", url)[1]["state"] == "stopped", "it is stopped")
    assert sent(api, "POST", f"{url}/start/")[0] == 202
    wait_until(lambda: sent(api, "GET", url)[1]["state"] == "started", "it is started")
    assert sent(api, "DELETE", url)[0] == 202
    wait_until(lambda: sent(api, "GET", url)[0] == 404, "it is gone")
    assert code_of(sent(api, "DELETE", url)) == (404, "sandbox_not_found")
    steps = ("create", "stop", "start", "delete")
    assert audited() == [(f"sandbox:{step}", "operator", sandbox_id) for step in steps]


def test_sessions_commands_and_their_logs(either: Daytona, api: APIClient) -> None:
    sandbox_id = either.sandbox()
    url = f"{ROOT}/{sandbox_id}/sessions"
    assert sent(api, "POST", url, {"sessionId": "mine"}) == (201, {"sandboxId": sandbox_id, "sessionId": "mine"})
    status, named = sent(api, "POST", f"{url}/", {})
    assert (status, named["sessionId"].startswith("taskhub-")) == (201, True)
    assert {session["sessionId"] for session in sent(api, "GET", url)[1]} == {"mine", named["sessionId"]}
    command = "echo out; echo 'err' >&2; exit 5"
    status, started = sent(api, "POST", f"{url}/mine/commands", {"command": command})
    assert status == 202
    assert started["logs"].startswith("/sse?eventType=logs&")
    one = f"{url}/mine/commands/{started['commandId']}"
    # In a shell of its own: one that ends it gets an exit code all the same, and the session goes on.
    wait_until(lambda: sent(api, "GET", one)[1]["exitCode"] == 5, "it has ended")
    assert sent(api, "GET", f"{one}/logs") == (200, {"stdout": "out\n", "stderr": "err\n"})
    (listed,) = sent(api, "GET", f"{url}/mine")[1]["commands"]
    assert listed["id"] == started["commandId"]
    assert sent(api, "DELETE", f"{url}/mine") == (204, None)
    assert code_of(sent(api, "GET", f"{url}/mine")) == (404, "session_not_found")
    assert [action for action, _, _ in audited()] == [
        *("session:create", "session:create", "command:run", "session:delete")
    ]
    entry = AuditEntry.objects.get(action="command:run")
    assert entry.changes == {"session": [None, "mine"], "command": [None, started["commandId"]]}


def test_pages_follow_one_another(either: Daytona, api: APIClient) -> None:
    wanted = {either.sandbox() for _ in range(3)}
    seen: list[str] = []
    cursor = ""
    while True:
        _, page = sent(api, "GET", f"{ROOT}/?limit=2{cursor}")
        assert len(page["items"]) <= 2
        seen += [item["id"] for item in page["items"]]
        if page["nextCursor"] is None:
            break
        cursor = f"&cursor={page['nextCursor']}"
    assert len(seen) == len(set(seen))
    assert wanted <= set(seen)


@pytest.mark.parametrize(
    "name", ["..", ".", "%2e%2e", "%2E", "a%2Fb", "a%00", "a%0A", "a b", "%2e%2e%2fapi", "x" * 201]
)
def test_what_is_no_name_is_not_asked_for(either: Daytona, api: APIClient, name: str) -> None:
    with either.counted() as asked:
        for path in (
            f"{ROOT}/{name}",
            f"{ROOT}/{name}/sessions",
            f"{ROOT}/x/sessions/{name}",
            f"{ROOT}/x/sessions/s/commands/{name}",
            f"{ROOT}/x/sessions/s/commands/{name}/logs",
        ):
            assert sent(api, "GET", path)[0] in {404, 405}, path
        for path in (f"{ROOT}/{name}", f"{ROOT}/x/sessions/{name}"):
            assert sent(api, "DELETE", path)[0] in {404, 405}, path
    assert {route for route in asked if route != "GET /api/sandbox"} == set()
    assert audited() == []


def test_what_is_not_there_is_named(either: Daytona, api: APIClient) -> None:
    sandbox_id = either.sandbox()
    url = f"{ROOT}/{sandbox_id}/sessions"
    sent(api, "POST", url, {"sessionId": "s"})
    for method, path, body, code in (
        ("GET", f"{ROOT}/no-such", None, "sandbox_not_found"),
        ("POST", f"{ROOT}/no-such/start", None, "sandbox_not_found"),
        ("POST", f"{ROOT}/no-such/stop", None, "sandbox_not_found"),
        ("GET", f"{ROOT}/no-such/sessions", None, "sandbox_not_found"),
        ("POST", f"{ROOT}/no-such/sessions", {}, "sandbox_not_found"),
        ("GET", f"{url}/no-such", None, "session_not_found"),
        ("DELETE", f"{url}/no-such", None, "session_not_found"),
        ("GET", f"{url}/s/commands/no-such", None, "command_not_found"),
        ("GET", f"{url}/s/commands/no-such/logs", None, "command_not_found"),
    ):
        assert code_of(sent(api, method, path, body)) == (404, code), (method, path)
    assert [action for action, _, _ in audited()] == ["session:create"]


def test_a_command_in_a_session_that_is_not_there_is_not_run(either: Daytona, api: APIClient) -> None:
    sandbox_id = either.sandbox()
    refused = sent(api, "POST", f"{ROOT}/{sandbox_id}/sessions/no-such/commands", {"command": "true"})
    # v0.190 says 500 where it means 404.
    assert code_of(refused) == (404, "session_not_found")
    assert audited() == []


def test_a_session_whose_shell_has_ended_takes_no_more_commands(either: Daytona, api: APIClient) -> None:
    sandbox_id = either.sandbox()
    sessions = f"{ROOT}/{sandbox_id}/sessions"
    sent(api, "POST", sessions, {"sessionId": "s"})
    assert sent(api, "POST", f"{sessions}/s/commands", {"command": "kill -9 $PPID"})[0] == 202

    def refused() -> bool:
        answer = sent(api, "POST", f"{sessions}/s/commands", {"command": "true"})
        return answer[0] != 202 and code_of(answer) == (409, "session_ended")

    wait_until(refused, "the shell has ended")


def test_what_daytona_refuses_is_409(either: Daytona, api: APIClient) -> None:
    sandbox_id = either.sandbox(name=f"taken-{id(either)}")
    sent(api, "POST", f"{ROOT}/{sandbox_id}/sessions", {"sessionId": "s"})
    assert code_of(sent(api, "POST", f"{ROOT}/{sandbox_id}/sessions", {"sessionId": "s"})) == (409, "session_conflict")
    assert code_of(sent(api, "POST", f"{ROOT}/", {"name": f"taken-{id(either)}"})) == (409, "sandbox_conflict")
    either.call("POST", f"/api/sandbox/{sandbox_id}/stop")
    wait_until(lambda: sent(api, "GET", f"{ROOT}/{sandbox_id}")[1]["state"] == "stopped", "it is stopped")
    assert code_of(sent(api, "POST", f"{ROOT}/{sandbox_id}/stop")) == (409, "sandbox_refused")
    assert code_of(sent(api, "GET", f"{ROOT}/{sandbox_id}/sessions")) == (409, "sandbox_refused")
    assert code_of(sent(api, "GET", f"{ROOT}/?cursor=nonsense")) == (404, "not_found")
    assert [action for action, _, _ in audited()] == ["session:create"]


@pytest.mark.parametrize(
    ("status", "headers", "answer"),
    [
        (401, {}, (502, "sandbox_key_refused")),
        (403, {}, (409, "sandbox_forbidden")),
        (429, {"Retry-After-sandbox-lifecycle": "7"}, (503, "sandbox_throttled")),
        (500, {}, (503, "sandbox_unavailable")),
    ],
)
def test_an_ill_daytona_is_told_without_its_own_words(
    either: Daytona, api: APIClient, status: int, headers: dict[str, str], answer: tuple[int, str]
) -> None:
    sandbox_id = either.sandbox()
    either.fault("/api/sandbox", status=status, headers=headers, body={"message": f"{KEY} on host-17"}, times=1)
    refused = api.post(f"{ROOT}/{sandbox_id}/stop")
    assert code_of((refused.status_code, refused.json())) == answer
    assert KEY not in refused.content.decode()
    assert "host-17" not in refused.content.decode()
    if status == 429:
        assert int(refused.headers["Retry-After"]) >= 7
    assert audited() == []


def test_an_answer_that_is_no_sandbox_is_503(either: Daytona, api: APIClient) -> None:
    sandbox_id = either.sandbox()
    for body in ([], {}, "text", {"id": 5}):
        either.fault(f"GET /api/sandbox/{sandbox_id}", status=200, body=body, times=1)
        assert code_of(sent(api, "GET", f"{ROOT}/{sandbox_id}")) == (503, "sandbox_unavailable")
    for body in ([], {"items": [5]}, {"items": [{}]}):
        either.fault(r"GET /api/sandbox\?", status=200, body=body, times=1)
        status, answer = sent(api, "GET", f"{ROOT}/")
        assert (status, answer.get("items", [])) in [(503, []), (200, [])]


@pytest.mark.parametrize(
    ("path", "body", "field"),
    [
        ("", {"name": ".."}, "name"),
        ("", {"name": "a/b"}, "name"),
        ("", {"nonsense": 1}, "nonsense"),
        ("", {"env": {"A": 5}}, "env"),
        ("", {"autoStopInterval": -1}, "autoStopInterval"),
        ("/x/sessions", {"sessionId": "a/b"}, "sessionId"),
        ("/x/sessions/s/commands", {}, "command"),
        ("/x/sessions/s/commands", {"command": ""}, "command"),
        ("/x/sessions/s/commands", {"command": 5}, "command"),
        ("/x/sessions/s/commands", {"command": "a\0b"}, "command"),
    ],
)
def test_a_wrong_field_is_named_and_nobody_asked(
    daytona: Daytona, api: APIClient, path: str, body: dict[str, Any], field: str
) -> None:
    with daytona.counted() as asked:
        status, answer = sent(api, "POST", f"{ROOT}{path}", body)
    assert (status, list(answer["error"]["details"])) == (400, [field])
    assert asked == {}


def test_only_operators_may_change_anything(either: Daytona, anonymous: APIClient, agent: APIClient) -> None:
    sandbox_id = either.sandbox()
    for method, path in (
        ("POST", f"{ROOT}/"),
        ("DELETE", f"{ROOT}/{sandbox_id}"),
        ("POST", f"{ROOT}/{sandbox_id}/start"),
        ("POST", f"{ROOT}/{sandbox_id}/stop"),
        ("POST", f"{ROOT}/{sandbox_id}/sessions"),
        ("DELETE", f"{ROOT}/{sandbox_id}/sessions/s"),
        ("POST", f"{ROOT}/{sandbox_id}/sessions/s/commands"),
    ):
        assert sent(anonymous, method, path, {})[0] in {401, 403}, path
        assert sent(agent, method, path, {})[0] == 403, path
    assert either.call("GET", f"/api/sandbox/{sandbox_id}")["state"] == "started"


def test_a_log_that_is_too_long_for_one_answer_is_413(
    either: Daytona, api: APIClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    sandbox_id, command_id = either.command("seq 1000")
    wait_until(lambda: either.exit_code(sandbox_id, command_id) == 0, "it has ended")
    monkeypatch.setattr(selectors, "SNAPSHOT_BYTES", 1000)
    url = f"{ROOT}/{sandbox_id}/sessions/s/commands/{command_id}/logs"
    assert code_of(sent(api, "GET", url)) == (413, "log_too_long")


def test_pages_that_are_open_cost_what_one_costs(
    either: Daytona, api: APIClient, agent: APIClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    sandbox_id = sent(api, "POST", f"{ROOT}/", {"autoStopInterval": 0})[1]["id"]

    def asked(readers: list[APIClient]) -> tuple[set[str], int]:
        """The states of the sandbox that they see, and how often Daytona's list was asked for that."""
        states = set()
        with either.counted() as counted:
            for reader in readers:
                rows = sent(reader, "GET", f"{ROOT}/?limit=200&facts=true")[1]["items"]
                states.update(row["state"] for row in rows if row["id"] == sandbox_id)
        return states, sum(counted.values())

    monkeypatch.setattr(shared_list, "CALM_S", 1000)
    monkeypatch.setattr(shared_list, "FRESH_S", 1000)
    many = [api, agent] * 10
    assert asked(many) == ({"started"}, 1)
    tasks.task_create(actor=SYSTEM, title="an event")
    assert asked(many) == ({"started"}, 0), "a few seconds after an event are time enough"
    assert sent(api, "POST", f"{ROOT}/{sandbox_id}/stop")[0] == 202
    states, count = asked(many)
    assert (states <= {"stopping", "stopped"}, count) == (True, 1), "what was done here is seen at once"
    monkeypatch.setattr(shared_list, "CALM_S", 0)
    assert asked(many)[1] == 0
    tasks.task_create(actor=SYSTEM, title="another event")
    assert asked(many)[1] == 1
    monkeypatch.setattr(shared_list, "FRESH_S", 0)
    assert asked(many)[1] == 20
    with either.counted() as counted:
        sent(api, "GET", f"{ROOT}/?limit=200")
    assert sum(counted.values()) == 1, "programs get the list as it is"
