"""Requests a minute, bodies, and what goes with every answer."""

from __future__ import annotations

from typing import Any

import pytest
from django.contrib.auth.models import User
from django.test import Client, RequestFactory
from rest_framework.test import APIClient

from taskhub.auth import rate_limits
from taskhub.auth.rate_limits import Limit, account_requests, address_requests, network_of
from taskhub.models import ApiToken
from taskhub.web.origin_check import _is_own_page
from tests.agents.calls import error

pytestmark = [pytest.mark.django_db, pytest.mark.sqlite_suffices]


@pytest.fixture(autouse=True)
def no_request_was_made() -> None:
    account_requests.forget()
    address_requests.forget()


def test_requests_of_an_account_are_limited(api: APIClient, anonymous: APIClient, settings) -> None:
    settings.TASKHUB_REQUESTS_PER_MINUTE = 3
    assert [api.get("/api/tasks/").status_code for _ in range(4)] == [200, 200, 200, 429]
    refused = api.post("/api/tasks/", {"title": "t"}, format="json", REMOTE_ADDR="10.0.0.9")
    assert (refused.status_code, refused.json()["error"]["code"]) == (429, "throttled")
    assert 1 <= int(refused["Retry-After"]) <= 61
    assert anonymous.get("/api/tasks/").status_code == 200


def test_requests_of_an_address_are_limited(api: APIClient, anonymous: APIClient, settings) -> None:
    settings.TASKHUB_REQUESTS_PER_MINUTE_PER_ADDRESS = 2
    assert [client.get("/api/tasks/").status_code for client in (api, anonymous, api)] == [200, 200, 429]
    assert api.get("/api/tasks/", REMOTE_ADDR="10.0.0.9").status_code == 200


@pytest.mark.parametrize("address", ["/api/tasks/", "/api/nothing", "/api/events/stream?types=nope", "/healthz"])
def test_responses_that_are_not_pages_have_an_empty_policy(anonymous: APIClient, address: str) -> None:
    answer = anonymous.get(address)
    assert answer["Content-Security-Policy"] == "default-src 'none'; frame-ancestors 'none'"
    assert answer["X-Content-Type-Options"] == "nosniff"
    assert answer["X-Frame-Options"] == "DENY"
    assert answer["Referrer-Policy"] == "same-origin"
    assert answer["Cross-Origin-Resource-Policy"] == "same-origin"
    assert "Access-Control-Allow-Origin" not in answer or address.startswith("/api/events/stream")


@pytest.mark.parametrize("address", ["/test_sse.html", "/api/docs/", "/admin/", "/admin/login/", "/login/"])
def test_pages_allow_no_inline_scripts(operator: User, address: str) -> None:
    client = Client()
    if "login" not in address:
        client.force_login(operator)
    page = client.get(address)
    assert page.status_code == 200
    policy = dict(part.split(" ", 1) for part in page["Content-Security-Policy"].split("; "))
    assert policy["default-src"] == policy["frame-ancestors"] == "'none'"
    assert policy["style-src"] == "'self'"
    # Alpine compiles what stands in the attributes of unfold's menus.
    assert policy["script-src"] == ("'self' 'unsafe-eval'" if address.startswith("/admin/") else "'self'")
    assert "unsafe-inline" not in page["Content-Security-Policy"]
    text = page.content.decode()
    assert "<style" not in text
    assert "<script>" not in text
    assert "onclick" not in text


@pytest.mark.parametrize(
    ("origin", "own"),
    [
        ("http://localhost:8000", True),
        ("http://127.0.0.1:8000", True),
        ("http://[::1]:8000", True),
        ("http://localhost.:8000", True),
        ("http://localhost.:3000", False),
        ("http://localhost:3000", False),
        ("http://localhost", False),
        ("https://evil.example", False),
        ("https://evil.example:8000", False),
        ("http://localhost.evil.example:8000", False),
        ("http://localhost:8000.evil.example", False),
        ("http://localhost:8000@evil.example", False),
        ("file://localhost:8000", False),
        ("null", False),
        ("", False),
        ("http://[", False),
        ("http://localhost:99999999", False),
        ("http://dev.example:3000", True),
    ],
)
def test_an_origin_is_ours_or_foreign(settings, origin: str, own: bool) -> None:
    settings.TASKHUB_ALLOWED_ORIGINS = ["http://dev.example:3000"]
    assert _is_own_page(origin, "localhost:8000") is own
    assert _is_own_page(origin, "localhost.:8000") is own


def test_a_token_in_the_query_is_ignored(alice: User, anonymous: APIClient, settings) -> None:
    settings.TASKHUB_OPEN_READING = False
    _, text = ApiToken.objects.create(user=alice)
    assert anonymous.get(f"/api/tasks/?token={text}&access_token={text}").status_code == 401


def test_limits_count_the_ipv6_network() -> None:
    def network(address: str) -> str:
        return network_of(RequestFactory().get("/", REMOTE_ADDR=address))

    assert network("2001:db8:1:1::7") == network("2001:db8:1:1:ffff::1") == "2001:db8:1:1::/64"
    assert network("2001:db8:1:2::7") != network("2001:db8:1:1::7")
    assert network("192.0.2.7") == "192.0.2.7"
    assert network("::ffff:192.0.2.7") != network("::ffff:192.0.2.8")
    assert network("") == ""  # over a socket, past any proxy


@pytest.mark.parametrize(
    "body",
    [{"tags": [1] * 5001}, {str(n): 1 for n in range(5001)}, {"tags": [[1] * 100] * 100}],
    ids=["a list", "names", "lists in a list"],
)
def test_a_body_of_very_many_values_is_refused_as_a_whole(api: APIClient, body: dict[str, Any]) -> None:
    answer = api.post("/api/tasks/", body, format="json")
    assert (answer.status_code, answer.json()["error"]["code"]) == (413, "too_many_values")


def test_tool_arguments_of_very_many_values_are_refused(alice: User) -> None:
    assert error(alice, "list_tasks", status=["todo"] * 5001)["code"] == "too_many_values"


def test_the_length_of_a_list_is_checked_before_its_items(api: APIClient) -> None:
    details = api.post("/api/tasks/", {"title": "t", "tags": [1] * 101}, format="json").json()["error"]["details"]
    assert details == {"tags": ["Ensure this field has no more than 100 elements."]}


def test_the_table_of_callers_is_bounded_and_forgets_whoever_was_counted_longest_ago(monkeypatch) -> None:
    monkeypatch.setattr(rate_limits, "_KEPT", 3)
    limit = Limit(lambda: 1)
    for caller in ("first", "second", "third", "first", "fourth"):
        limit.count(caller)
    assert list(limit._windows) == ["third", "first", "fourth"]
    assert (limit.wait_s("second"), limit.wait_s("first") > 0) == (0.0, True)
    for number in range(100):
        limit.count(f"{number}")
    assert len(limit._windows) == 3


def test_the_table_has_room_for_ten_thousand_callers() -> None:
    limit = Limit(lambda: 1)
    for number in range(rate_limits._KEPT + 5):
        limit.count(f"{number}")
    assert len(limit._windows) == rate_limits._KEPT == 10_000
