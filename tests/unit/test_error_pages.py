"""Errors as pages for browsers, and as JSON for programs."""

from __future__ import annotations

import pytest
from django.contrib.auth.models import User
from django.test import Client

pytestmark = [pytest.mark.django_db, pytest.mark.sqlite_suffices]
BROWSER = {"accept": "text/html,application/xhtml+xml,application/xml;q=0.9,*/*;q=0.8"}
PROGRAMS = [{}, {"accept": "*/*"}, {"accept": "application/json"}]


@pytest.mark.parametrize("path", ["/absent", "/tasks/nonsense/", "/settings/absent/"])
def test_a_browser_is_shown_a_page_for_an_address_that_is_not_there(client: Client, path: str) -> None:
    shown = client.get(path, headers=BROWSER)
    assert shown.status_code == 404
    assert shown.headers["Content-Type"].startswith("text/html")
    assert "<h1>Page not found</h1>" in shown.content.decode()
    assert "script-src" in shown.headers["Content-Security-Policy"]
    for headers in PROGRAMS:
        assert client.get(path, headers=headers).json()["error"]["code"] == "not_found"


@pytest.mark.parametrize(
    "path", ["/api/absent/", "/api/tasks/nonsense/", "/oauth/absent/", "/static/absent.js", "/mcp/absent"]
)
def test_addresses_of_programs_have_json_for_everyone(client: Client, path: str) -> None:
    refused = client.get(path, headers=BROWSER)
    assert (refused.status_code, refused.json()["error"]["code"]) == (404, "not_found")


def test_an_account_without_a_role_is_told_so(client: Client, settings) -> None:
    settings.TASKHUB_OPEN_READING = False
    client.force_login(User.objects.create_user("without-a-role"))
    shown = client.get("/", headers=BROWSER)
    assert shown.status_code == 403
    assert "An operator gives roles" in shown.content.decode()
    assert client.get("/").json()["error"]["code"] == "forbidden"


def test_a_form_that_is_out_of_date_says_what_to_do() -> None:
    client = Client(enforce_csrf_checks=True)
    shown = client.post("/login/", {"username": "x", "password": "y"}, headers=BROWSER)
    assert shown.status_code == 403
    assert "send the form again" in shown.content.decode()
    assert client.post("/login/", {}).json()["error"]["code"] == "csrf_failed"
