"""What a log line belongs to, and how it is written."""

from __future__ import annotations

import asyncio
import dataclasses
import io
import json
import logging
import string
import threading
from collections.abc import Callable, Iterator
from typing import Any
from uuid import uuid4

import pytest
from django.conf import settings
from django.http import HttpRequest, HttpResponse
from django.test import Client, RequestFactory
from hypothesis import given
from hypothesis import strategies as st
from rest_framework.test import APIClient

from config.celery import app
from taskhub import jobs
from taskhub.api.me import MeView
from taskhub.mcp.loading import close_server
from taskhub.mcp.tools import TOOLS
from taskhub.observability import job_logging as job_logs
from taskhub.observability import log_context
from taskhub.observability.log_context import begin, begin_request, belonging, bind, for_all, task_for_all
from taskhub.observability.log_format import LineFormatter, OneLineForARefusal
from taskhub.observability.request_logging import RequestContext
from taskhub.web import asgi_handler
from taskhub.web.asgi_handler import HubHandler
from taskhub.web.thread_pool import on_web_thread
from tests.agents import calls

pytestmark = pytest.mark.sqlite_suffices

log = logging.getLogger("taskhub.tests.lines")


@pytest.fixture(autouse=True)
def belonging_to_nothing() -> Iterator[None]:
    begin()
    yield
    begin()


@pytest.fixture
def lines() -> Iterator[Callable[[], list[dict[str, Any]]]]:
    """What has been logged by now, as JSON, by a handler like production's."""
    out = io.StringIO()
    handler = logging.StreamHandler(out)
    handler.setFormatter(LineFormatter("json"))
    handler.addFilter(OneLineForARefusal(requests_told=True))
    root, requests = logging.getLogger(), logging.getLogger("taskhub.requests")
    before = requests.level
    root.addHandler(handler)
    requests.setLevel(logging.INFO)
    yield lambda: [json.loads(line) for line in out.getvalue().splitlines()]
    requests.setLevel(before)
    root.removeHandler(handler)


# --- Requests ----------------------------------------------------------------------------------------------


@given(asked_for=st.text())
def test_only_a_well_formed_request_id_is_taken(asked_for: str) -> None:
    request_id = begin_request(asked_for)
    assert request_id == belonging()["request_id"]
    assert 1 <= len(request_id) <= 64
    assert set(request_id) <= set(string.ascii_letters + string.digits + "._-")


@pytest.mark.parametrize("asked_for", ["", "a b", "a\n", "ä", "x" * 65, "a,b", '{"a":1}', "٣"])
def test_a_malformed_request_id_is_replaced(asked_for: str, client: Client) -> None:
    answer = client.get("/healthz", headers={"X-Request-ID": asked_for})
    assert len(answer.headers["X-Request-ID"]) == 32
    assert answer.headers["X-Request-ID"] != asked_for


def test_the_response_has_the_requested_id(client: Client) -> None:
    for path in ("/healthz", "/nowhere", "/static/nothing.js"):
        assert client.get(path, headers={"X-Request-ID": "a.B-1_"}).headers["X-Request-ID"] == "a.B-1_"


@pytest.mark.django_db
def test_the_log_context_of_a_request_has_caller_door_and_subject(api: APIClient, alice) -> None:
    task_id = api.post("/api/tasks/", {"title": "t"}, format="json").json()["id"]
    api.get(f"/api/tasks/{task_id}/", headers={"X-Request-ID": "one"})
    assert belonging() == {"request_id": "one", "user": "alice", "role": "agent", "door": "rest", "task_id": task_id}


@pytest.mark.django_db
def test_a_session_names_its_account_and_no_other_one(client: Client, operator) -> None:
    client.force_login(operator)
    client.get("/admin/", headers={"X-Request-ID": "one"})
    assert belonging() == {"request_id": "one", "user": "operator", "role": "operator", "door": "admin"}
    Client().get("/api/tasks/", headers={"X-Request-ID": "two"})
    assert belonging() == {"request_id": "two", "door": "rest"}


@pytest.mark.django_db
def test_the_log_context_of_a_tool_has_its_subject(api: APIClient, alice) -> None:
    task_id = api.post("/api/tasks/", {"title": "t"}, format="json").json()["id"]
    begin()
    calls.result(alice, "get_task", task_id=task_id)
    assert belonging() == {"task_id": task_id}


async def test_reused_threads_keep_no_context_and_the_loop_receives_it() -> None:
    """Eight threads, many requests: each sees what it has bound itself, and none of it outlives the request."""

    def respond(number: int) -> tuple[dict[str, Any], str]:
        before = belonging()
        begin_request(f"request-{number}")
        bind(user=f"user-{number}")
        return before, threading.current_thread().name

    async def request(number: int) -> str:
        before, thread = await on_web_thread(respond, number)
        assert before == {}
        # A stream is sent from here.
        assert belonging() == {"request_id": f"request-{number}", "user": f"user-{number}"}
        return thread

    threads = await asyncio.gather(*[asyncio.create_task(request(number)) for number in range(200)])
    assert len(set(threads)) <= settings.TASKHUB_WEB_THREADS
    assert belonging() == {}


def test_the_next_request_of_a_thread_has_a_new_context(rf: RequestFactory) -> None:
    seen: list[dict[str, Any]] = []

    def view(request: HttpRequest) -> HttpResponse:
        seen.append(belonging())
        bind(user="alice", task_id="7")
        return HttpResponse()

    middleware = RequestContext(view)
    middleware(rf.get("/", headers={"X-Request-ID": "one"}))
    middleware(rf.get("/", headers={"X-Request-ID": "two"}))
    assert seen == [{"request_id": "one"}, {"request_id": "two"}]


async def test_shared_work_has_no_log_context() -> None:
    begin_request("the-first")

    async def look() -> dict[str, Any]:
        return belonging()

    assert await task_for_all(look(), name="look") == {}
    assert for_all(belonging) == {}
    assert belonging() == {"request_id": "the-first"}


# --- Jobs --------------------------------------------------------------------------------------------------


def test_a_job_continues_the_log_context_of_its_sender() -> None:
    begin_request("one")
    bind(user="alice", role="agent", door="rest", job="another", job_id="7")
    headers: dict[str, Any] = {}
    job_logs._send_along(headers=headers)
    assert json.loads(json.dumps(headers)) == {
        job_logs.HEADER: {"request_id": "one", "user": "alice", "role": "agent", "door": "rest"}
    }
    execution_id = str(uuid4())
    job = jobs.execution_start
    job.push_request(**headers)
    try:
        job_logs._begin(task_id="8", task=job, args=[execution_id], kwargs={})
        assert belonging() == {
            "request_id": "one",
            "user": "alice",
            "role": "agent",
            "door": "rest",
            "job": "taskhub.jobs.execution_start",
            "job_id": "8",
            "execution_id": execution_id,
        }
    finally:
        job.pop_request()
    job_logs._end()
    assert belonging() == {}


def test_a_scheduled_job_has_the_door_of_jobs() -> None:
    bind(user="the previous caller")
    job_logs._begin(task_id="8", task=app.tasks["taskhub.jobs.events_trim"], args=[], kwargs={})
    assert belonging() == {"door": "job", "job": "taskhub.jobs.events_trim", "job_id": "8"}


# --- Lines -------------------------------------------------------------------------------------------------


@pytest.mark.django_db
def test_an_internal_error_is_one_record_with_traceback_and_request(api: APIClient, lines, monkeypatch) -> None:
    def fail(*_: object) -> None:
        raise RuntimeError(f"with {settings.SECRET_KEY} and password='hunter22'")

    monkeypatch.setattr(MeView, "get", fail)
    api.raise_request_exception = False
    answer = api.get("/api/me/", headers={"X-Request-ID": "one"})
    assert answer.status_code == 500
    assert answer.headers["X-Request-ID"] == "one"
    (line,) = lines()
    assert (line["level"], line["logger"], line["event"]) == (
        "error",
        "django.request",
        "Internal Server Error: /api/me/",
    )
    assert (line["request_id"], line["user"], line["role"]) == ("one", "alice", "agent")
    assert line["exception"].startswith("Traceback (most recent call last):")
    assert line["exception"].endswith("RuntimeError: with [hidden] and password='[hidden]'")


def test_a_foreign_host_is_one_record_without_traceback(client: Client, lines) -> None:
    assert client.get("/login/", headers={"Host": "evil.example"}).status_code == 400
    (line,) = lines()
    assert line["logger"] == "django.security.DisallowedHost"
    assert line["level"] == "warning"
    assert "evil.example" in line["event"]
    assert "exception" not in line


@pytest.mark.parametrize("requests_told", [True, False])
def test_a_refusal_is_logged_once(client: Client, requests_told: bool) -> None:
    out = io.StringIO()
    handler = logging.StreamHandler(out)
    handler.setFormatter(LineFormatter("plain"))
    handler.addFilter(OneLineForARefusal(requests_told=requests_told))
    logging.getLogger().addHandler(handler)
    try:
        client.get("/nowhere", headers={"X-Request-ID": "one"})
        client.get("/login/", headers={"Host": "evil.example"})
    finally:
        logging.getLogger().removeHandler(handler)
    said = out.getvalue().splitlines()
    refused = [line for line in said if line.endswith("INFO django.request: Not Found: /nowhere request_id=one")]
    assert len(refused) == (not requests_told)
    assert len(said) == 2 - requests_told


async def answered(path: str, *headers: tuple[bytes, bytes], body: bytes = b"") -> dict[bytes, bytes]:
    """The headers of the answer of our own handler, the whole way."""
    method = "POST" if body else "GET"
    scope = {"type": "http", "method": method, "path": path, "query_string": b"ticket=hunter22", "headers": [*headers]}
    sent: list[Any] = []

    unread = [{"type": "http.request", "body": body, "more_body": False}]

    async def receive() -> dict[str, Any]:
        if not unread:
            await asyncio.Event().wait()  # the client stays
        return unread.pop()

    async def send(message: Any) -> None:
        sent.append(message)

    await HubHandler()({"http_version": "1.1", "client": ("127.0.0.1", 1), **scope}, receive, send)
    return dict(sent[0]["headers"])


@pytest.mark.django_db(transaction=True)  # a probe closes old connections of the loop's thread
async def test_a_finished_request_is_one_line_and_a_probe_none(lines) -> None:
    host = (b"host", b"localhost")
    await answered("/healthz", host)
    await answered("/static/taskhub/favicon.svg", host)
    headers = await answered("/nowhere", host, (b"x-request-id", b"one"))
    assert headers[b"X-Request-ID"] == b"one"
    (line,) = lines()
    assert line.pop("duration_ms") > 0
    assert line.pop("timestamp").endswith("Z")
    assert line == {
        "level": "info",
        "logger": "taskhub.requests",
        "event": "GET /nowhere 404",
        "request_id": "one",
        "method": "GET",
        "path": "/nowhere",
        "status": 404,
    }


@pytest.mark.django_db(transaction=True)
async def test_a_call_over_mcp_belongs_to_its_request(lines, monkeypatch) -> None:
    def fail(requester: object, arguments: object) -> None:
        raise RuntimeError("a fault of ours")

    monkeypatch.setitem(TOOLS.loaded, "get_task", dataclasses.replace(TOOLS["get_task"], run=fail, at_once=None))
    task_id = str(uuid4())
    params = {"name": "get_task", "arguments": {"task_id": task_id}}
    message = {"jsonrpc": "2.0", "id": 1, "method": "tools/call", "params": params}
    json_alone = [(b"content-type", b"application/json"), (b"accept", b"application/json, text/event-stream")]
    try:
        await answered(
            "/mcp", (b"host", b"localhost"), (b"x-request-id", b"one"), *json_alone, body=json.dumps(message).encode()
        )
    finally:
        await close_server()
    failed, finished = lines()
    assert failed["event"] == "a tool failed"
    assert failed["exception"].endswith("RuntimeError: a fault of ours")
    wanted = {"request_id": "one", "door": "mcp"}
    assert {name: failed.get(name) for name in (*wanted, "task_id")} == {**wanted, "task_id": task_id}
    assert {name: finished.get(name) for name in (*wanted, "status")} == {**wanted, "status": 200}


def test_what_is_too_large_has_an_id_as_well() -> None:
    answer = asgi_handler._too_big()
    assert answer.status_code == 413
    assert belonging() == {"request_id": answer.headers["X-Request-ID"]}


def test_fields_are_scrubbed_as_messages_are(lines) -> None:
    bind(user=f"a {settings.SECRET_KEY}", sandbox_id='token="hunter22"', request_id="x" * 5000)
    log.warning("a line", extra={"path": "/x?ticket=hunter22&a=1", "status": 200, "password": "hunter22"})
    (line,) = lines()
    assert (line["user"], line["sandbox_id"]) == ("a [hidden]", 'token="[hidden]"')
    assert (line["path"], line["status"]) == ("/x?ticket=[hidden]&a=1", 200)
    assert len(line["request_id"]) == 1000
    assert "password" not in line
    assert "hunter22" not in json.dumps(line)


def test_a_long_trace_keeps_its_end_and_fits_a_line(lines) -> None:
    log.error("%s", "x" * 100_000, exc_info=ValueError("y" * 100_000 + "the end"))
    (line,) = lines()
    assert line["exception"].endswith("the end")
    assert len(json.dumps(line)) < 48 * 1024


class Unspeakable:
    def __str__(self) -> str:
        raise RuntimeError("no words")

    __repr__ = __str__


@pytest.mark.parametrize("form", ["plain", "json"])
@pytest.mark.parametrize(
    ("message", "arguments", "fields"),
    [
        ("%d", ("no number",), {}),
        ("%s %s", ("one",), {}),
        ("%s", (Unspeakable(),), {}),
        ("a line", (), {"path": Unspeakable()}),
        (Unspeakable(), (), {}),
        ("\ud800", (), {"path": "\udfff"}),
        ({"a": 1}, (), {}),
    ],
)
def test_a_record_that_cannot_be_formatted_is_logged(form, message, arguments, fields, monkeypatch) -> None:
    monkeypatch.setattr(logging, "raiseExceptions", True)
    formatter = LineFormatter(form)
    record = logging.getLogger().makeRecord("a.b", logging.INFO, "file.py", 7, message, arguments, None, extra=fields)
    line = formatter.format(record)
    assert len(line.splitlines()) == 1
    assert "a.b" in line
    if form == "json":
        assert json.loads(line)["logger"] == "a.b"


def test_every_subject_is_a_field(lines) -> None:
    log_context.bind_subjects({"task_id": uuid4(), "execution_id": None, "sandbox_id": "s" * 500, "token_id": uuid4()})
    assert set(belonging()) == {"task_id", "sandbox_id"}
    assert len(belonging()["sandbox_id"]) == 200
