"""Token sessions: a pasted token signs the browser in, for what the token may do and as long as it is valid."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest
from django.contrib.auth.models import User
from django.contrib.sessions.models import Session
from django.db import connection
from django.test import Client, RequestFactory
from django.utils import timezone

from taskhub.api import callers
from taskhub.auth.sign_in_link import link_make
from taskhub.events.revocation import StreamCredential, read_revoked
from taskhub.events.tickets import EVENTS
from taskhub.models import ApiToken
from taskhub.roles import Role

pytestmark = pytest.mark.django_db


def make_token(user: User, role: str = "", **fields: Any) -> tuple[ApiToken, str]:
    made: tuple[ApiToken, str] = ApiToken.objects.create(user=user, name="laptop", role=role, **fields)
    return made


def signed_in(text: str) -> Client:
    client = Client()
    answer = client.post("/login/token/", {"token": f" {text}\n", "next": "/test_sse.html"})
    assert (answer.status_code, answer["Location"]) == (302, "/test_sse.html")
    return client


def create_task(client: Client) -> int:
    return client.post("/api/tasks/", {"title": "t"}, content_type="application/json").status_code


@pytest.mark.sqlite_suffices
def test_a_pasted_token_signs_the_browser_in_and_limits_it_to_its_role(operator: User) -> None:
    worker = signed_in(make_token(operator, "agent")[1])
    page = worker.get("/").text
    assert 'content="agent" data-name="operator"' in page
    assert "You are not signed in" not in page
    assert create_task(worker) == 201
    assert worker.post("/api/announcements/", {"text": "t"}, content_type="application/json").status_code == 403
    reader = signed_in(make_token(operator, "viewer")[1])
    assert create_task(reader) == 403
    assert reader.get("/api/me/").json() == {"name": "operator", "role": "viewer"}


@pytest.mark.sqlite_suffices
def test_the_session_acts_with_the_token(operator: User) -> None:
    client = signed_in(make_token(operator, "agent", expiry=timedelta(hours=1))[1])
    assert client.get("/api/overview/").json()["you"]["agent"] == "laptop"
    made = client.post("/api/tokens/", {"name": "child"}, content_type="application/json").json()
    assert made["role"] == "agent"
    assert ApiToken.objects.get(name="child").expiry <= timezone.now() + timedelta(hours=1)


@pytest.mark.sqlite_suffices
def test_the_admin_is_closed_to_it(operator: User) -> None:
    client = signed_in(make_token(operator)[1])
    assert client.get("/api/me/").json()["role"] == "operator"
    assert client.get("/admin/").status_code == 302
    assert '"/admin/"' not in client.get("/").text
    # A sign-in of the account itself opens it.
    key = client.session.session_key
    operator.refresh_from_db()
    client.get(link_make(operator))
    assert client.get("/admin/").status_code == 200
    assert client.session.session_key != key


@pytest.mark.sqlite_suffices
def test_a_password_makes_it_a_session_of_the_account(operator: User) -> None:
    client = signed_in(make_token(operator, "viewer")[1])
    page = client.get("/settings/").text
    assert client.get("/login/").status_code == 200
    answer = client.post("/login/", {"username": "operator", "password": "operator", "next": "/settings/"})
    assert answer["Location"] == "/settings/"
    assert client.get("/api/me/").json()["role"] == "operator"
    assert client.get("/login/").status_code == 302
    assert 'href="/login/?next=/settings/"' in page


@pytest.mark.sqlite_suffices
@pytest.mark.parametrize("ended", ["revoked", "expired", "deactivated", "weaker"])
def test_the_session_ends_with_its_token(operator: User, ended: str) -> None:
    token, text = make_token(operator, expiry=timedelta(days=1))
    client = signed_in(text)
    key = client.session.session_key
    assert create_task(client) == 201
    if ended == "revoked":
        token.delete()
    elif ended == "expired":
        ApiToken.objects.filter(pk=token.pk).update(expiry=timezone.now() - timedelta(seconds=1))
    elif ended == "deactivated":
        User.objects.filter(pk=operator.pk).update(is_active=False)
    else:
        ApiToken.objects.filter(pk=token.pk).update(role="viewer")
    assert create_task(client) in {401, 403}
    is_over = ended in {"revoked", "expired"}
    assert Session.objects.filter(session_key=key).exists() is not is_over


@pytest.mark.sqlite_suffices
def test_a_release_without_token_sessions_takes_it_for_no_sign_in(operator: User, settings) -> None:
    """As the previous one while both run: it would look at the account alone."""
    now = signed_in(make_token(operator, "viewer")[1])
    settings.AUTHENTICATION_BACKENDS = ["taskhub.accounts.AccountBackend"]
    ours, djangos = (
        "taskhub.auth.token_session.SessionAccounts",
        "django.contrib.auth.middleware.AuthenticationMiddleware",
    )
    settings.MIDDLEWARE = [djangos if each == ours else each for each in settings.MIDDLEWARE]
    before = Client()
    before.cookies = now.cookies
    assert before.get("/admin/").status_code == 302


@pytest.mark.sqlite_suffices
def test_a_release_without_token_sessions_can_delete_the_token(operator: User) -> None:
    token, text = make_token(operator)
    client = signed_in(text)
    with connection.cursor() as cursor:
        cursor.execute("DELETE FROM taskhub_apitoken WHERE digest = %s", [token.pk])
    connection.check_constraints()
    assert client.get("/settings/").status_code == 302
    client.force_login(operator)
    assert client.get("/settings/").status_code == 200


@pytest.mark.sqlite_suffices
def test_it_lasts_no_longer_than_the_token(operator: User, settings) -> None:
    for expiry, lasts in [(timedelta(minutes=5), timedelta(minutes=5)), (None, timedelta(days=14))]:
        client = signed_in(make_token(operator, expiry=expiry)[1])
        ends = Session.objects.get(session_key=client.session.session_key).expire_date
        assert abs(ends - timezone.now() - lasts) < timedelta(seconds=30)


@pytest.mark.sqlite_suffices
def test_wrong_tokens_are_refused_told_and_limited(operator: User, settings) -> None:
    settings.TASKHUB_FAILED_CREDENTIALS_PER_MINUTE = 2
    client = Client()
    for wrong in ("x" * 64, "é"):
        answer = client.post("/login/token/", {"token": wrong})
        assert answer.status_code == 400
        assert "The token is wrong." in answer.text
        assert wrong not in answer.text
    answer = client.post("/login/token/", {"token": ""})
    assert (answer.status_code, int(answer["Retry-After"]) > 0) == (429, True)
    # A right one always passes.
    assert client.post("/login/token/", {"token": make_token(operator)[1]}).status_code == 302


@pytest.mark.sqlite_suffices
def test_after_a_wrong_token_one_can_sign_in_with_a_password(operator: User) -> None:
    client = Client()
    page = client.post("/login/token/", {"token": "x" * 64, "next": "/connect/"}).text
    # The page has the address of the token's form, which is for nothing else.
    assert '<form class="panel" method="post" action="/login/">' in page
    assert page.count('name="next" value="/connect/"') == 2
    assert "?next=/login/" not in page


@pytest.mark.sqlite_suffices
def test_other_sites_cannot_sign_the_browser_in(operator: User) -> None:
    text = make_token(operator)[1]
    strict = Client(enforce_csrf_checks=True)
    assert strict.post("/login/token/", {"token": text}).status_code == 403
    assert strict.get("/login/token/").status_code == 405
    client = Client()
    answer = client.post("/login/token/", {"token": text, "next": "https://elsewhere.example/"})
    assert answer["Location"] == "/"
    # An address is no name of a page: one that is wrong leads astray, and does not fail.
    assert Client().post("/login/token/", {"token": text, "next": "x"})["Location"] == "x"
    # A session that is there stays what it is.
    client.post("/login/token/", {"token": make_token(operator, "viewer")[1]})
    assert client.get("/api/me/").json()["role"] == "operator"


@pytest.mark.parametrize("ended", ["", "token", "session", "password"])
def test_streams_stand_on_both_the_session_and_its_token(operator: User, ended: str) -> None:
    token, text = make_token(operator, "agent")
    client = signed_in(text)
    key = client.session.session_key
    operator.refresh_from_db()
    opened = StreamCredential(operator.pk, "operator", Role.AGENT, token.public_id, key, operator.password)
    url = client.post("/api/tickets/", {"kind": "events"}, content_type="application/json").json()["url"]
    assert callers._resolve(RequestFactory().get(url), EVENTS, {})[1] == opened
    if ended == "token":
        token.delete()
    elif ended == "session":
        Session.objects.all().delete()
    elif ended == "password":
        operator.set_password("another one")
        operator.save()
    assert read_revoked([opened]) == ({opened} if ended else set())


@pytest.mark.sqlite_suffices
def test_a_reader_who_is_not_signed_in_is_told_why_and_how(client: Client, settings) -> None:
    settings.TASKHUB_OPEN_READING = True
    for path in ("/", "/test_sse.html"):
        page = client.get(path).text
        assert "You are not signed in" in page
        assert "<code>make link</code>" in page
        assert f"<code>{settings.DATA_DIR / 'token'}</code>" in page
        assert 'action="/login/token/"' in page
    settings.TASKHUB_IN_CONTAINER = True
    page = client.get("/login/").text
    assert f"docker compose exec taskhub cat {settings.DATA_DIR / 'token'}" in page
    settings.TASKHUB_SIGN_IN_LINKS = False
    page = client.get("/").text
    assert "Two ways in" in page
    assert str(settings.DATA_DIR) not in page
