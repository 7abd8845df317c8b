"""Other origins, in both profiles: the streams with credentials of their own, REST by a setting, cookies never."""

from __future__ import annotations

import json
from typing import Any
from uuid import uuid4

import pytest
from asgiref.sync import sync_to_async
from corsheaders.conf import conf
from django.contrib.auth.models import User
from django.core.exceptions import ImproperlyConfigured
from django.test import Client, RequestFactory

from config import env
from taskhub.events.stream import EventStream
from taskhub.events.tickets import EVENTS, Ticket
from taskhub.models import ApiToken
from taskhub.web.asgi_handler import HubHandler

DB = pytest.mark.django_db(transaction=True)
pytestmark = pytest.mark.sqlite_suffices

EXECUTION = f"/api/exec/logs/{uuid4()}/stream"
STREAMS = [
    *("/sse?sandboxId=x", "/api/events/stream", "/api/events/stream/", EXECUTION, f"{EXECUTION}/"),
    "/api/events/stream?ticket=x&lastEventId=tasks%3A1",
]
ALLOWED = "http://dev.example:3000"
FOREIGN = ["https://evil.example", "null", "file://", "http://localhost.evil.example:8000", "chrome-extension://abc"]
LOOPBACK = ["http://localhost:5173", "http://127.0.0.1:1", "https://localhost:5173", "http://[::1]:9"]
HEADERS = {"content-type", "authorization", "last-event-id", "cache-control"}


@pytest.fixture(params=["local", "production"])
def profile(request: pytest.FixtureRequest, settings: Any) -> str:
    """What of the two profiles decides about origins."""
    settings.ALLOWED_HOSTS = ["localhost", "127.0.0.1", "[::1]"]
    settings.TASKHUB_ALLOWED_ORIGINS = settings.CORS_ALLOWED_ORIGINS = [ALLOWED]
    settings.TASKHUB_OPEN_READING = request.param == "local"
    if request.param == "local":
        middleware = settings.MIDDLEWARE
        settings.MIDDLEWARE = [middleware[0], "taskhub.web.origin_check.OwnPagesOnly", *middleware[1:]]
    return str(request.param)


@pytest.fixture
def client() -> Client:
    return Client(SERVER_NAME="localhost", SERVER_PORT="8000")


async def see(path: str, *, host: str = "localhost:8000", **headers: str) -> Any:
    """The answer as the server would send it; the place of an opened stream is freed at once."""
    request = RequestFactory().get(path, headers={"host": host, **headers})
    answer = await sync_to_async(HubHandler().get_response)(request)
    if isinstance(answer, EventStream):
        answer.slot.release()
    return answer


def error(answer: Any) -> dict[str, Any]:
    return json.loads(answer.content)["error"]


def names(text: str) -> set[str]:
    return {name.strip().lower() for name in text.split(",")}


def test_a_real_preflight_of_a_stream_is_answered(profile: str, client: Client) -> None:
    asked = {"Access-Control-Request-Method": "GET", "Access-Control-Request-Headers": "last-event-id"}
    for path in STREAMS:
        for origin in (*FOREIGN, *LOOPBACK, ALLOWED, "http://localhost:8000"):
            answer = client.options(path, headers={"origin": origin, **asked})
            assert (answer.status_code, answer.content) == (204, b""), (path, origin)
            assert answer["Access-Control-Allow-Origin"] == "*"
            assert names(answer["Access-Control-Allow-Methods"]) == {"get", "options"}
            assert names(answer["Access-Control-Allow-Headers"]) == HEADERS
            assert int(answer["Access-Control-Max-Age"]) > 0
            assert "Access-Control-Allow-Credentials" not in answer
    assert client.post("/sse")["Access-Control-Allow-Origin"] == "*"


@DB
async def test_a_ticket_or_a_token_opens_a_stream_for_any_origin(profile: str, alice: User) -> None:
    token, text = await sync_to_async(ApiToken.objects.create)(user=alice, name="t")
    ticket = Ticket("events", {}, alice.pk, token_id=token.public_id).sign()
    for origin in (*FOREIGN, *LOOPBACK, ALLOWED):
        for path, headers in (
            (EVENTS.url({}, ticket), {}),
            ("/api/events/stream", {"authorization": f"Bearer {text}"}),
        ):
            answer = await see(path, origin=origin, **headers)
            assert answer.status_code == 200, (path, origin)
            assert answer["Access-Control-Allow-Origin"] == "*"
            assert answer["Content-Type"] == "text/event-stream; charset=utf-8"


@DB
async def test_cookies_never_open_a_stream_for_another_origin(profile: str, alice: User) -> None:
    client = Client()
    await sync_to_async(client.force_login)(alice)
    cookie = f"sessionid={client.cookies['sessionid'].value}"
    own = await see("/api/events/stream", origin="http://localhost:8000", cookie=cookie)
    assert (own.status_code, own.slot.credential.user_id) == (200, alice.pk)
    for origin in (*FOREIGN, *LOOPBACK):
        for more in ({}, {"authorization": "Basic YTpi"}):
            answer = await see("/api/events/stream", origin=origin, cookie=cookie, **more)
            if profile == "local" and origin in LOOPBACK:
                assert (answer.status_code, answer.slot.credential) == (200, None), origin
            else:
                assert answer.status_code == 403, origin


@DB
async def test_without_credentials_another_origin_is_told_what_to_do(profile: str) -> None:
    for path in STREAMS[:4]:
        for origin in FOREIGN:
            answer = await see(path, origin=origin)
            assert (answer.status_code, error(answer)["code"]) == (403, "foreign_origin"), (path, origin)
            assert answer["Access-Control-Allow-Origin"] == "*"
            assert "/api/tickets/" in error(answer)["message"]
            assert "TASKHUB_ALLOWED_ORIGINS" in error(answer)["message"]


@DB
async def test_open_reading_is_for_pages_of_this_machine(profile: str) -> None:
    for origin in (*LOOPBACK, ALLOWED):
        answer = await see("/api/events/stream", origin=origin)
        assert answer["Access-Control-Allow-Origin"] == "*"
        expected = 200 if profile == "local" else 401 if origin == ALLOWED else 403
        assert answer.status_code == expected, origin


@DB
async def test_a_wrong_ticket_is_refused_readably(profile: str) -> None:
    for origin in ("http://localhost:5173", "null"):
        answer = await see("/api/events/stream?ticket=x", origin=origin)
        assert (answer.status_code, error(answer)["code"]) == (401, "ticket_invalid")
        assert answer["Access-Control-Allow-Origin"] == "*"


async def test_the_checks_of_host_and_of_loads_without_an_origin_stay(profile: str) -> None:
    rebound = await see("/api/events/stream", host="evil.example:8000", origin="http://evil.example:8000")
    assert rebound.status_code == 400
    if profile == "local":
        script = {"sec-fetch-site": "cross-site", "sec-fetch-mode": "no-cors", "sec-fetch-dest": "script"}
        for path in STREAMS:
            answer = await see(path, **script)
            assert (answer.status_code, error(answer)["code"]) == (403, "foreign_origin")


@DB
def test_an_allowed_page_reads_and_writes_with_its_token(profile: str, client: Client, alice: User) -> None:
    for method in ("GET", "POST", "PATCH", "DELETE"):
        wanted = "authorization,content-type,if-match,idempotency-key,last-event-id"
        asked = {"Access-Control-Request-Method": method, "Access-Control-Request-Headers": wanted}
        preflight = client.options("/api/tasks/", headers={"origin": ALLOWED, **asked})
        assert preflight.status_code == 200
        assert preflight["Access-Control-Allow-Origin"] == ALLOWED
        assert method in preflight["Access-Control-Allow-Methods"]
        assert names(wanted) <= names(preflight["Access-Control-Allow-Headers"])
    _, text = ApiToken.objects.create(user=alice, name="t")
    headers = {"origin": ALLOWED, "authorization": f"Bearer {text}"}
    made = client.post("/api/tasks/", {"title": "t"}, "application/json", headers=headers)
    assert made.status_code == 201
    assert made["Access-Control-Allow-Origin"] == ALLOWED
    assert "Access-Control-Allow-Credentials" not in made
    read = client.get("/api/tasks/", headers=headers)
    assert (read.status_code, read["Access-Control-Allow-Origin"]) == (200, ALLOWED)
    assert "ETag" in read["Access-Control-Expose-Headers"]
    refused = client.get("/api/tasks/nothing", headers={"origin": ALLOWED})
    assert refused["Access-Control-Allow-Origin"] == ALLOWED


@DB
def test_rest_is_closed_to_every_other_origin(profile: str, client: Client, alice: User) -> None:
    _, text = ApiToken.objects.create(user=alice, name="t")
    for origin in (*FOREIGN, *LOOPBACK):
        headers = {"origin": origin, "authorization": f"Bearer {text}"}
        for path in ("/api/tasks/", "/api/events/status", "/api/exec/logs/x", "/api/tickets/", "/mcp"):
            answer = client.get(path, headers=headers)
            assert "Access-Control-Allow-Origin" not in answer, (path, origin)
            preflight = client.options(path, headers={**headers, "Access-Control-Request-Method": "POST"})
            assert "Access-Control-Allow-Origin" not in preflight, (path, origin)
            if profile == "local":
                assert "TASKHUB_ALLOWED_ORIGINS" in error(answer)["message"]


def test_rest_follows_the_setting() -> None:
    from django.conf import settings  # noqa: PLC0415 - the ones of the suite, which no fixture has changed

    assert settings.CORS_ALLOWED_ORIGINS is settings.TASKHUB_ALLOWED_ORIGINS
    assert not conf.CORS_ALLOW_CREDENTIALS


@pytest.mark.parametrize(
    ("given", "read"),
    [
        ("http://localhost:5173", ["http://localhost:5173"]),
        (" https://App.Example.com/ ,http://[::1]:80,", ["https://app.example.com", "http://[::1]"]),
        ("https://app.example.com:443", ["https://app.example.com"]),
        ("", []),
    ],
)
def test_origins_are_read_as_browsers_send_them(monkeypatch: pytest.MonkeyPatch, given: str, read: list[str]) -> None:
    monkeypatch.setenv("TASKHUB_ALLOWED_ORIGINS", given)
    assert env.origins("TASKHUB_ALLOWED_ORIGINS") == read


@pytest.mark.parametrize(
    "given",
    [
        *("*", "null", "localhost:5173", "app.example.com", "https://*.example.com", "https://a/b", "https://a?b"),
        *("file:///x", "https://u@a", "http://a:99999", "https://", "http://["),
    ],
)
def test_what_is_no_origin_ends_the_start(monkeypatch: pytest.MonkeyPatch, given: str) -> None:
    monkeypatch.setenv("TASKHUB_ALLOWED_ORIGINS", f"http://localhost:1,{given}")
    with pytest.raises(ImproperlyConfigured, match="TASKHUB_ALLOWED_ORIGINS must be origins like https"):
        env.origins("TASKHUB_ALLOWED_ORIGINS")
