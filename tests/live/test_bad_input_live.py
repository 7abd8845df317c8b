"""Bad requests to a real hub: the right status, the right code, and nothing of the inside."""

from __future__ import annotations

import http.client
import json
from typing import Any

import pytest
from live_client import HubClient

from tests.processes import ROOT

NO_TASK = "00000000-0000-4000-8000-000000000000"
MIB = 1024 * 1024
TEXT_FIELDS = ["title", "description", "status", "priority", "assignee", "tags", "artifacts"]


def ask(client: HubClient, method: str, path: str, body: bytes | str = b"", **headers: Any) -> tuple[int, str, str]:
    """Status, `error.code` and body, over a connection that sends exactly what it is told."""
    sent: dict[str, Any] = {"Authorization": f"Bearer {client.hub.token}", "Content-Type": "application/json"}
    sent |= {name.replace("_", "-"): value for name, value in headers.items()}
    connection = http.client.HTTPConnection("127.0.0.1", client.hub.port, timeout=90)
    try:
        content = body.encode() if isinstance(body, str) else body
        connection.request(method, path, content, {name: value for name, value in sent.items() if value is not None})
        answer = connection.getresponse()
        text = answer.read().decode()
    finally:
        connection.close()
    tells_nothing(client, text)
    try:
        code = json.loads(text)["error"]["code"]
    except (ValueError, KeyError, TypeError):
        code = ""
    return answer.status, code, text


def tells_nothing(client: HubClient, text: str) -> None:
    for word in ("Traceback", str(ROOT), str(client.hub.data_dir), "settings", ".py"):
        assert word not in text, text[:500]


@pytest.fixture
def task_id(client: HubClient) -> str:
    return client.create_task("a target")


@pytest.mark.parametrize(
    ("method", "path", "body", "wanted"),
    [
        ("GET", f"/api/tasks/{NO_TASK}", "", (404, "task_not_found")),
        ("PATCH", f"/api/tasks/{NO_TASK}", "{}", (404, "task_not_found")),
        ("DELETE", f"/api/tasks/{NO_TASK}", "", (404, "task_not_found")),
        ("PUT", f"/api/tasks/status/{NO_TASK}", '{"new_status": "done"}', (404, "task_not_found")),
        ("POST", f"/api/exec/{NO_TASK}", '{"script_content": "true"}', (404, "task_not_found")),
        ("POST", f"/api/exec/stop/{NO_TASK}", "", (404, "task_not_found")),
        ("GET", f"/api/exec/status/{NO_TASK}", "", (404, "task_not_found")),
        ("GET", f"/api/exec/logs/{NO_TASK}", "", (404, "task_not_found")),
        ("GET", f"/api/exec/logs/{NO_TASK}/stream", "", (404, "task_not_found")),
        ("GET", "/api/tasks/no-uuid", "", (404, "not_found")),
        ("GET", "//api/tasks/", "", (404, "not_found")),
        ("GET", "/api//tasks", "", (404, "not_found")),
        ("GET", "/api/tasks//", "", (404, "not_found")),
        ("GET", "/%00", "", (404, "not_found")),
        ("GET", "/static/%00", "", (404, "not_found")),
        ("GET", "/static/../../etc/passwd", "", (404, "not_found")),
        ("GET", "/api/tasks/..%2f..%2f", "", (404, "not_found")),
        ("GET", "/%ff%fe", "", (404, "not_found")),
        ("POST", "/api/tasks/", '{"title": "x",}', (400, "malformed_json")),
        ("POST", "/api/tasks/", b'{"title": "\xff"}', (400, "malformed_json")),
        ("POST", "/api/tasks/", '{"title": "x", "tags": ' + "[" * 100_000, (400, "malformed_json")),
        ("POST", "/api/tasks/", "[" * 100_000 + "]" * 100_000, (400, "malformed_json")),
        ("POST", "/api/tasks/", '{"a":' * 100_000, (400, "malformed_json")),
        ("POST", "/api/tasks/", "NaN", (400, "malformed_json")),
        ("POST", "/api/tasks/", '{"title": ' + "9" * 5000 + "}", (400, "malformed_json")),
        ("POST", "/api/tasks/", "", (400, "invalid")),
        ("POST", "/api/tasks/", "null", (400, "invalid")),
        ("POST", "/api/tasks/", "[]", (400, "invalid")),
        ("POST", "/api/tasks/", '{"title": "x", "tags": ' + "[" * 500 + "]" * 500 + "}", (400, "invalid")),
        ("POST", "/api/tasks/", b'{"title": "' + b"x" * 9 * MIB + b'"}', (413, "body_too_large")),
        ("DELETE", "/api/tasks/", "", (405, "method_not_allowed")),
        ("GET", f"/api/tasks/status/{NO_TASK}", "", (405, "method_not_allowed")),
        ("GET", f"/api/exec/{NO_TASK}", "", (405, "method_not_allowed")),
        ("POST", "/api/events/stream", "", (405, "method_not_allowed")),
        ("DELETE", "/api/events/stream", "", (405, "method_not_allowed")),
        ("POST", "/api/events/status", "", (405, "method_not_allowed")),
        ("GET", "/api/tasks/?status=nonsense", "", (400, "invalid")),
        ("GET", "/api/tasks/?q=%00", "", (400, "invalid")),
        ("GET", "/api/tasks/?cursor=cD0x", "", (404, "not_found")),
        ("GET", "/api/tasks/?cursor=%ff", "", (404, "not_found")),
        ("GET", f"/api/exec/logs/{NO_TASK}?tail=0", "", (400, "invalid")),
        ("GET", f"/api/exec/status/{NO_TASK}?execution_id=nonsense", "", (400, "invalid")),
    ],
    ids=lambda value: str(value)[:50] if isinstance(value, str | tuple) else "bytes",
)
def test_bad_request_gets_its_status_and_code(
    client: HubClient, method: str, path: str, body: bytes | str, wanted: tuple[int, str]
) -> None:
    assert ask(client, method, path, body)[:2] == wanted


def test_search_for_a_very_long_text_is_refused(client: HubClient, task_id: str) -> None:
    assert ask(client, "GET", "/api/tasks/?q=" + "a" * 51_000)[:2] == (400, "invalid")


def test_malformed_json_is_told_with_its_position(client: HubClient) -> None:
    _, _, text = ask(client, "POST", "/api/tasks/", '{\n"title": oops}')
    assert json.loads(text)["error"]["details"] == {"line": 2, "column": 10, "position": 11}


@pytest.mark.parametrize(
    ("body", "name"),
    [
        ({}, "title"),
        ({"title": ""}, "title"),
        ({"title": 5}, "title"),
        ({"title": None}, "title"),
        ({"title": "x" * 201}, "title"),
        ({"title": "x", "tittle": "y"}, "tittle"),
        ({"title": "x", "status": "nonsense"}, "status"),
        ({"title": "x", "status": ["todo"]}, "status"),
        ({"title": "x", "priority": {}}, "priority"),
        ({"title": "x", "tags": "one"}, "tags"),
        ({"title": "x", "tags": [1]}, "tags"),
        ({"title": "x", "artifacts": [None]}, "artifacts"),
        ({"title": "x", "description": "d" * 70_000}, "description"),
        ({"title": "x", "assignee": "a" * 151}, "assignee"),
    ],
)
def test_wrong_field_is_named(client: HubClient, body: dict[str, Any], name: str) -> None:
    status, code, text = ask(client, "POST", "/api/tasks/", json.dumps(body))
    assert (status, code) == (400, "invalid")
    assert list(json.loads(text)["error"]["details"]) == [name]


@pytest.mark.parametrize("field", TEXT_FIELDS)
@pytest.mark.parametrize("character", [chr(0), chr(0xD800), chr(0xDFFF)], ids=["nul", "high", "low"])
def test_text_that_no_database_holds_is_refused(client: HubClient, task_id: str, field: str, character: str) -> None:
    value = [f"a{character}b"] if field in {"tags", "artifacts"} else f"a{character}b"
    for method, path in (("POST", "/api/tasks/"), ("PATCH", f"/api/tasks/{task_id}")):
        status, code, text = ask(client, method, path, json.dumps({"title": "x", field: value}))
        assert (status, code) == (400, "invalid"), text
        assert list(json.loads(text)["error"]["details"]) == [field]


@pytest.mark.parametrize(
    ("path", "body"),
    [
        ("/api/tasks/", {"title": "x", "a\ud800b": 1}),
        ("/api/tasks/", {"title": "x", "a\0b": 1}),
        ("/api/exec/{task_id}", {"script_content": "a\0b"}),
        ("/api/exec/{task_id}", {"script_content": "a\ud800b"}),
        ("/api/exec/{task_id}", {"script_content": "true", "env": {"A": "\ud800"}}),
        ("/api/exec/{task_id}", {"script_content": "true", "env": {"\ud800": "x"}}),
        ("/api/exec/{task_id}", {"script_content": "true", "env": {"A": "\0"}}),
        ("/api/exec/{task_id}", {"script_content": "true", "env": {"A=B": "x"}}),
        ("/api/exec/{task_id}", {"script_content": "true", "sandbox_id": "\ud800"}),
        ("/api/exec/{task_id}", {"script_content": "true", "timeout_s": 10**40}),
        ("/api/exec/{task_id}", {"script_content": "true", "timeout_s": 0}),
        ("/api/exec/{task_id}", {"script_content": "true", "timeout_s": 1.5}),
        ("/api/exec/{task_id}", {"script_content": "true", "timeout_s": True}),
        ("/api/exec/{task_id}", {"script_content": ""}),
    ],
)
def test_odd_names_and_numbers_are_refused(client: HubClient, task_id: str, path: str, body: dict[str, Any]) -> None:
    status, code, text = ask(client, "POST", path.format(task_id=task_id), json.dumps(body))
    assert (status, code) == (400, "invalid"), text


@pytest.mark.parametrize("new_status", ["nonsense", "a\0", "\ud800", None, [], {}, 5])
def test_wrong_new_status_is_named(client: HubClient, task_id: str, new_status: Any) -> None:
    status, code, text = ask(client, "PUT", f"/api/tasks/status/{task_id}", json.dumps({"new_status": new_status}))
    assert (status, code) == (400, "invalid"), text
    assert list(json.loads(text)["error"]["details"]) == ["new_status"]


@pytest.mark.parametrize(
    "content_type", [None, "text/plain", "application/x-www-form-urlencoded", "multipart/form-data"]
)
def test_body_that_is_not_json_is_415(client: HubClient, content_type: str | None) -> None:
    answer = ask(client, "POST", "/api/tasks/", '{"title": "x"}', Content_Type=content_type)
    assert answer[:2] == (415, "unsupported_media_type")


@pytest.mark.parametrize(
    "token",
    [
        None,
        "",
        "Bearer",
        "Bearer wrong",
        "Bearer a b",
        b"Bearer \xff\xfe",
        b"\xff",
        "Basic Zm9vOmJhcg==",
        "Bearer " + "0" * 64,
    ],
)
def test_writing_needs_a_right_token(client: HubClient, task_id: str, token: Any) -> None:
    for method, path in (
        ("POST", "/api/tasks/"),
        ("PATCH", f"/api/tasks/{task_id}"),
        ("DELETE", f"/api/tasks/{task_id}"),
        ("PUT", f"/api/tasks/status/{task_id}"),
        ("POST", f"/api/exec/{task_id}"),
        ("POST", f"/api/exec/stop/{task_id}"),
    ):
        assert ask(client, method, path, "{}", Authorization=token)[:2] == (401, "not_authenticated")


def test_refused_transition_names_what_is_allowed(client: HubClient, task_id: str) -> None:
    status, code, text = ask(client, "PUT", f"/api/tasks/status/{task_id}", '{"new_status": "review"}')
    assert (status, code) == (409, "transition_refused")
    error = json.loads(text)["error"]
    assert error["details"]["allowed"] == ["inprogress", "done"]
    assert "inprogress, done" in error["message"]


def test_if_match_guards_against_overwriting(client: HubClient, task_id: str) -> None:
    path = f"/api/tasks/{task_id}"
    assert ask(client, "PATCH", path, '{"title": "y"}', If_Match='"2"')[:2] == (412, "precondition_failed")
    assert ask(client, "PATCH", path, '{"title": "y"}', If_Match="2")[:2] == (400, "invalid")
    assert ask(client, "PATCH", path, '{"title": "y"}', If_Match=b"\xff")[:2] == (400, "invalid")
    assert ask(client, "PATCH", path, '{"title": "y"}', If_Match='"1"')[0] == 200


@pytest.mark.parametrize("host", ["evil.example", "localhost.evil.example", "127.0.0.1@evil.example", b"\xff", ""])
@pytest.mark.parametrize("path", ["/api/tasks/", "/api/events/stream", "/test_sse.html", "/healthz"])
def test_foreign_host_is_refused(client: HubClient, path: str, host: Any) -> None:
    assert ask(client, "GET", path, Host=host)[:2] == (400, "bad_request")
