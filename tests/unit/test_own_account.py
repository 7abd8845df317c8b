"""`/settings/`: own password, tokens, sessions, streams and theme."""

from __future__ import annotations

import re
import uuid
from datetime import timedelta
from typing import Any

import pytest
from django.contrib.auth.models import User
from django.contrib.sessions.models import Session
from django.db import OperationalError, connection
from django.test import Client
from django.test.utils import CaptureQueriesContext
from django.utils import timezone

from taskhub.auth.browser_sessions import browser_sessions_trim
from taskhub.models import ApiToken, AuditEntry, BrowserSession, StreamConnection, StreamProcess
from tests.conftest import client_of

pytestmark = [pytest.mark.django_db, pytest.mark.sqlite_suffices]
NEW = "a long new password"


def signed_in(name: str = "alice", **headers: str) -> Client:
    client = Client(headers=headers)
    assert client.post("/login/", {"username": name, "password": name}).status_code == 302
    return client


def change(client: Client, old: str = "alice", new: str = NEW, again: str = "") -> Any:
    fields = {"old_password": old, "new_password1": new, "new_password2": again or new}
    return client.post("/settings/password/", fields)


def test_the_password_is_changed_and_other_sessions_end(alice: User) -> None:
    client, other, _silent = signed_in(), signed_in(), signed_in()
    assert change(client)["Location"] == "/settings/?done=password"
    assert "The password was changed." in client.get("/settings/?done=password").text
    assert other.get("/settings/").status_code == 302
    alice.refresh_from_db()
    assert alice.check_password(NEW)
    assert AuditEntry.objects.filter(action="account:password", actor=alice).count() == 1
    page = client.get("/settings/").text
    assert "· this one" in page
    assert page.count("> the session ") == 1, "one that has asked for nothing since is not open either"


@pytest.mark.parametrize(("old", "new", "again"), [("wrong", NEW, ""), ("alice", "alice", ""), ("alice", NEW, "x")])
def test_a_wrong_password_or_a_weak_one_changes_nothing(alice: User, old: str, new: str, again: str) -> None:
    answer = change(signed_in(), old, new, again)
    assert answer.status_code == 400
    assert 'role="alert"' in answer.text
    alice.refresh_from_db()
    assert alice.check_password("alice")


def test_what_describes_a_field_is_on_the_page(alice: User) -> None:
    client = signed_in()
    for page in (client.get("/settings/").text, change(client, "wrong", "x", "y").text):
        named = " ".join(re.findall(r'aria-(?:describedby|labelledby)="([^"]+)"', page)).split()
        assert set(named) <= set(re.findall(r'\bid="([^"]+)"', page))


def test_the_present_password_cannot_be_guessed(alice: User, settings) -> None:
    settings.TASKHUB_FAILED_PASSWORDS = 2
    client = signed_in()
    assert [change(client, "wrong").status_code for _ in range(3)] == [400, 400, 429]
    answer = change(client)
    assert (answer.status_code, "Retry-After" in answer) == (429, True)
    assert "Too many attempts" in answer.text


def test_an_account_without_a_password_sets_one(alice: User) -> None:
    alice.set_unusable_password()
    alice.save()
    client = Client()
    client.force_login(alice)
    assert "has no password yet" in client.get("/settings/").text
    assert client.post("/settings/password/", {"new_password1": NEW, "new_password2": NEW}).status_code == 302
    alice.refresh_from_db()
    assert alice.check_password(NEW)


def test_tokens_are_listed_with_their_last_use_and_revoked(alice: User, operator: User) -> None:
    client = signed_in()
    client_of(alice, "laptop").get("/api/me/")
    mine, others = ApiToken.objects.get(name="laptop"), ApiToken.objects.create(user=operator, name="of another")[0]
    page = client.get("/settings/").text
    assert "laptop" in page
    assert "last used" in page
    assert "of another" not in page
    assert client.post(f"/settings/tokens/{others.public_id}/revoke/").status_code == 302
    assert client.post(f"/settings/tokens/{mine.public_id}/revoke/").status_code == 302
    assert [token.name for token in ApiToken.objects.all()] == ["of another"]


def test_last_use_is_written_at_most_once_a_minute(alice: User, advance) -> None:
    client = client_of(alice, "laptop")

    def used() -> tuple[Any, int]:
        with CaptureQueriesContext(
            connection,
        ) as queries:
            assert client.get("/api/me/").status_code == 200
        writes = [each for each in queries.captured_queries if each["sql"].startswith("UPDATE")]
        return ApiToken.objects.get(name="laptop").last_used_at, len(writes)

    first, writes = used()
    assert (first is not None, writes) == (True, 1)
    advance(59)
    assert used() == (first, 0)
    advance(2)
    later, writes = used()
    assert (later - first >= timedelta(minutes=1), writes) == (True, 1)
    # Another process has written it since this one read it.
    token = ApiToken.objects.get(name="laptop")
    ApiToken.objects.filter(pk=token.pk).update(last_used_at=later - timedelta(seconds=59))
    assert used() == (later - timedelta(seconds=59), 0)


def test_a_database_that_cannot_write_does_not_refuse_a_token(alice: User) -> None:
    client = client_of(alice)

    def refuse(execute: Any, sql: str, *rest: Any) -> Any:
        if sql.startswith("UPDATE"):
            raise OperationalError("attempt to write a readonly database")
        return execute(sql, *rest)

    with connection.execute_wrapper(refuse):
        assert client.get("/api/me/").status_code == 200
    assert ApiToken.objects.get().last_used_at is None


def test_sessions_are_listed_and_ended(alice: User, operator: User) -> None:
    client, phone = signed_in(), signed_in(**{"User-Agent": "A phone"})
    stranger = signed_in("operator", **{"User-Agent": "Another's browser"})
    page = client.get("/settings/").text
    assert "A phone" in page
    assert "Another&#x27;s browser" not in page
    theirs = BrowserSession.objects.get(user=operator)
    client.post(f"/settings/sessions/{theirs.pk}/end/")
    assert stranger.get("/settings/").status_code == 200
    of_phone = BrowserSession.objects.get(browser="A phone")
    assert of_phone.session_key not in page
    assert client.post(f"/settings/sessions/{of_phone.pk}/end/").status_code == 302
    assert phone.get("/settings/").status_code == 302
    assert "A phone" not in client.get("/settings/").text
    assert client.get("/settings/").status_code == 200
    assert AuditEntry.objects.filter(action="session:end").count() == 1


@pytest.mark.parametrize(
    ("agent", "name"),
    [
        ("Mozilla/5.0 (X11; Linux x86_64) AppleWebKit/537.36 Chrome/156.0.0.0 Safari/537.36", "Linux"),
        ("Mozilla/5.0 (Linux; Android 16; K) AppleWebKit/537.36 Chrome/156.0.0.0 Mobile Safari/537.36", "Android"),
    ],
)
def test_a_browser_is_called_by_its_name(agent: str, name: str) -> None:
    assert BrowserSession(browser=agent).browser_name == f"Chrome 156 on {name}"
    assert BrowserSession(browser=f"{agent} Edg/155.0").browser_name == f"Edge 155 on {name}"
    firefox = "Mozilla/5.0 (Windows NT 10.0; Win64; x64; rv:145.0) Gecko/20100101 Firefox/145.0"
    assert BrowserSession(browser=firefox).browser_name == "Firefox 145 on Windows"
    safari = "Mozilla/5.0 (Macintosh; Intel Mac OS X 10_15_7) AppleWebKit/605.1.15 Version/26.1 Safari/605.1.15"
    assert BrowserSession(browser=safari).browser_name == "Safari 26 on macOS"
    assert BrowserSession(browser="curl/8.5.0").browser_name == "curl/8.5.0"


def test_what_is_recorded_of_a_session_goes_with_it(alice: User) -> None:
    client, gone = signed_in(), signed_in()
    gone.post("/logout/")
    Session.objects.create(session_key="old", session_data="", expire_date=timezone.now() - timedelta(days=1))
    browser_sessions_trim()
    assert [row.session_key for row in BrowserSession.objects.all()] == [client.session.session_key]
    assert not Session.objects.filter(session_key="old").exists()


def test_a_stream_of_ones_own_is_marked_to_be_closed(alice: User) -> None:
    StreamProcess.objects.create(name="web", reported_at=timezone.now(), report={})
    rows = [
        StreamConnection(id=uuid.uuid4(), account=name, address="10.0.0.1", process="web", opened_at=timezone.now())
        for name in ("alice", "bob")
    ]
    mine, theirs = StreamConnection.objects.bulk_create(rows)
    client = signed_in()
    assert "10.0.0.1" in client.get("/settings/").text
    for row in (mine, theirs):
        assert client.post(f"/settings/streams/{row.pk}/end/").status_code == 302
    assert list(StreamConnection.objects.filter(end_requested=True)) == [mine]
    assert "10.0.0.1" not in client.get("/settings/").text


def test_a_session_of_a_token_changes_nothing_that_outlives_the_token(alice: User) -> None:
    signed_in()
    token, text = ApiToken.objects.create(user=alice, name="laptop")
    client = Client()
    client.post("/login/token/", {"token": text})
    page = client.get("/settings/").text
    assert "with the token “laptop”" in page
    assert "Open sessions" not in page
    assert change(client).status_code == 403
    session = BrowserSession.objects.get(token=None)
    assert client.post(f"/settings/sessions/{session.pk}/end/").status_code == 403
    assert client.post(f"/settings/streams/{uuid.uuid4()}/end/").status_code == 403
    assert Session.objects.filter(session_key=session.session_key).exists()
    assert client.post(f"/settings/tokens/{token.public_id}/revoke/").status_code == 302
    assert client.get("/settings/").status_code == 302


def test_the_theme_is_the_browsers(alice: User) -> None:
    client = signed_in()
    for theme in ("dark", "light"):
        client.post("/settings/theme/", {"theme": theme})
        assert f'data-theme="{theme}"' in client.get("/").text
    client.post("/settings/theme/", {"theme": '"><script>'})
    assert "data-theme" not in client.get("/").text


def test_settings_are_for_accounts_and_posts_need_the_pages_token(alice: User, settings) -> None:
    settings.TASKHUB_OPEN_READING = True
    assert Client().get("/settings/")["Location"] == "/login/?next=/settings/"
    strict = Client(enforce_csrf_checks=True)
    strict.force_login(alice)
    assert change(strict).status_code == 403
    assert Client().post("/settings/password/").status_code == 302
    assert signed_in().get("/settings/password/").status_code == 405
