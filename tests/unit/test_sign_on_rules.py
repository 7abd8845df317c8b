"""Sign-on without a provider: what strangers cost, the way back, sessions, and which account an identity has."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from datetime import timedelta
from io import StringIO
from typing import Any

import pytest
import requests
from django.contrib.auth.models import Group, User
from django.contrib.sessions.models import Session
from django.core.management import CommandError, call_command
from django.test import Client
from django.utils import timezone

from taskhub.auth.token_session import TOKEN_BACKEND
from taskhub.errors import Forbidden
from taskhub.models import ApiToken, BreakGlassAccount, SignOnIdentity
from taskhub.roles import Role, role_of
from taskhub.services.sign_on import Identity, sign_on_account
from taskhub.sign_on import discovery, views
from taskhub.sign_on.backend import SignOnBackend
from taskhub.sign_on.discovery import ProviderTrouble, discovered, forget
from tests.conftest import make_account

pytestmark = [pytest.mark.django_db, pytest.mark.sqlite_suffices]

ISSUER = "https://provider.example"
DOCUMENT = {
    "issuer": ISSUER,
    "authorization_endpoint": f"{ISSUER}/authorize",
    "token_endpoint": f"{ISSUER}/token",
    "jwks_uri": f"{ISSUER}/keys",
    "end_session_endpoint": f"{ISSUER}/end?tenant=1",
}


class Provider:
    """Its document, or that it drops packets; `asked` counts."""

    def __init__(self) -> None:
        self.asked = 0
        self.is_away = False
        self.hangs = threading.Event()
        self.hangs.set()

    def get(self, address: str, **_: Any) -> Any:
        self.asked += 1
        self.hangs.wait(10)
        if self.is_away:
            raise requests.ConnectTimeout(address)
        answer = requests.Response()
        answer.status_code = 200
        answer.json = lambda **_: DOCUMENT  # type: ignore[method-assign]
        return answer


@pytest.fixture(autouse=True)
def provider(settings: Any, monkeypatch: pytest.MonkeyPatch) -> Iterator[Provider]:
    forget(trouble=True)
    settings.TASKHUB_OIDC_ISSUER = ISSUER
    settings.TASKHUB_OIDC_CLIENT_ID = "taskhub"
    settings.TASKHUB_OPEN_READING = False
    settings.AUTHENTICATION_BACKENDS = [*settings.AUTHENTICATION_BACKENDS, "taskhub.sign_on.backend.SignOnBackend"]
    made = Provider()
    monkeypatch.setattr(discovery.requests, "get", made.get)
    yield made
    forget(trouble=True)


def who(name: str = "erin", role: Role = Role.AGENT, subject: str = "sub") -> Identity:
    return Identity(ISSUER, subject, name, "", role)


def test_one_thread_waits_for_the_provider_and_its_trouble_is_remembered(
    provider: Provider, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(discovery, "WAIT_S", 0.05)
    provider.is_away = True
    provider.hangs.clear()
    said: list[str] = []

    def ask() -> None:
        with pytest.raises(ProviderTrouble) as trouble:
            discovered()
        said.append(str(trouble.value))

    first = threading.Thread(target=ask)
    first.start()
    while not provider.asked:
        time.sleep(0.001)
    ask()
    assert said == [f"{ISSUER} is being asked."]
    provider.hangs.set()
    first.join()
    forget()
    ask()
    assert provider.asked == 1, "trouble counts for a while, whatever is forgotten"
    provider.is_away = False
    known = discovery._Discovery.known
    monkeypatch.setattr(discovery._Discovery, "known", discovery._Known(known.issuer, trouble=known.trouble))
    assert discovered() == DOCUMENT


def test_beginnings_of_an_address_are_limited(monkeypatch: pytest.MonkeyPatch, alice: User) -> None:
    monkeypatch.setattr(views.sign_ons, "_most", lambda: 2)
    answers = [Client().get("/sign-on/") for _ in range(3)]
    assert [answer.status_code for answer in answers] == [302, 302, 429]
    assert 0 < int(answers[-1]["Retry-After"]) <= 60
    assert Session.objects.count() == 2
    assert Client().get("/sign-on/", REMOTE_ADDR="10.0.0.9").status_code == 302
    browser = Client()
    browser.force_login(alice)
    assert browser.get("/sign-on/").status_code == 302


def begun(browser: Client) -> str:
    """The state of a sign-in that the browser has begun."""
    assert browser.get("/sign-on/").status_code == 302
    return str(next(iter(browser.session["oidc_states"])))


def comes_back(browser: Client, **query: str) -> Any:
    return browser.get("/sign-on/callback/", query)


def test_two_at_a_time_ask_the_provider(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(views, "_asking", threading.BoundedSemaphore(1))
    browser = Client()
    state = begun(browser)
    with views._asking:
        busy = comes_back(browser, code="x", state=state)
    assert (busy.status_code, busy["Retry-After"]) == (503, "2")
    assert state in browser.session["oidc_states"], "the page may be loaded again"
    with pytest.raises(ValueError, match="released too many times"):
        views._asking.release()


@pytest.mark.parametrize("query", [{"error": "x"}, {"error": "x", "state": "unknown"}, {}, {"code": "x"}])
def test_an_error_of_the_provider_signs_out_no_session(alice: User, query: dict[str, str]) -> None:
    browser = Client()
    browser.force_login(alice)
    assert comes_back(browser, **query).status_code == 403
    assert browser.get("/settings/").status_code == 200


def test_an_error_uses_its_state_up(alice: User) -> None:
    browser = Client()
    browser.force_login(alice)
    state = begun(browser)
    assert comes_back(browser, error="access_denied", state=state).status_code == 403
    assert browser.session["oidc_states"] == {}
    assert comes_back(browser, code="x", state=state).status_code == 400
    assert browser.get("/settings/").status_code == 200


def sign_in(browser: Client, monkeypatch: pytest.MonkeyPatch, user: User) -> None:
    """By a provider that says who it is."""

    def found(self: SignOnBackend, request: Any, **_: Any) -> User | None:
        return user if request is not None and "state" in request.GET else None

    monkeypatch.setattr(SignOnBackend, "authenticate", found)
    assert comes_back(browser, code="x", state=begun(browser)).status_code == 302


def test_a_session_ends_at_a_moment_however_it_is_used(
    alice: User, monkeypatch: pytest.MonkeyPatch, settings: Any
) -> None:
    settings.TASKHUB_OIDC_SESSION_HOURS = 2
    browser = Client()
    sign_in(browser, monkeypatch, alice)
    latest = timezone.now() + timedelta(hours=2)
    assert abs(browser.session.get_expiry_date() - latest) < timedelta(minutes=1)
    now = timezone.now()
    assert browser.session.get_expiry_age(modification=now + timedelta(hours=1)) <= 3601


def test_a_sign_on_makes_a_tokens_session_one_of_the_account(alice: User, monkeypatch: pytest.MonkeyPatch) -> None:
    _, text = ApiToken.objects.create(user=alice, role="viewer")
    browser = Client()
    assert browser.post("/login/token/", {"token": text}).status_code == 302
    assert browser.session["_auth_user_backend"] == TOKEN_BACKEND
    sign_in(browser, monkeypatch, alice)
    assert "taskhub_token" not in browser.session
    assert browser.session["_auth_user_backend"] != TOKEN_BACKEND


def test_the_providers_address_for_the_sign_out_may_have_a_query(alice: User) -> None:
    browser = Client()
    browser.force_login(alice)
    session = browser.session
    session["oidc_id_token"] = "a.b.c"
    session.save()
    assert browser.post("/logout/")["Location"].startswith(f"{ISSUER}/end?tenant=1&id_token_hint=a.b.c&")


@pytest.mark.parametrize("role", [Role.NOBODY, Role.VIEWER])
def test_a_superuser_is_what_the_provider_says(operator: User, role: Role) -> None:
    SignOnIdentity.objects.create(user=operator, issuer=ISSUER, subject="sub")
    operator.groups.add(Group.objects.get_or_create(name="viewer")[0])
    sign_on_account(who("operator", role))
    again = User.objects.get(pk=operator.pk)
    assert (again.is_superuser, role_of(again)) == (False, role)


def test_a_superuser_among_the_operators_stays_one(operator: User) -> None:
    SignOnIdentity.objects.create(user=operator, issuer=ISSUER, subject="sub")
    sign_on_account(who("operator", Role.OPERATOR))
    assert User.objects.get(pk=operator.pk).is_superuser


def test_the_break_glass_account_is_no_ones_at_the_provider(settings: Any) -> None:
    settings.TASKHUB_OIDC_LINK_BY_NAME = True
    call_command("break_glass", "glass", stdout=StringIO())
    with pytest.raises(Forbidden, match="Another account is named glass"):
        sign_on_account(who("glass", Role.VIEWER))
    assert role_of(User.objects.get(username="glass")) == Role.OPERATOR
    sign_on_account(who("otto", Role.OPERATOR))
    with pytest.raises(CommandError, match="signs in with the OpenID provider"):
        call_command("break_glass", "otto", stdout=StringIO())
    assert not BreakGlassAccount.objects.filter(user__username="otto").exists()


def test_a_name_that_is_anothers_in_normal_form_is_refused() -> None:
    make_account("fin", "viewer")
    with pytest.raises(Forbidden, match="was made just now; sign in again"):
        sign_on_account(who("\N{LATIN SMALL LIGATURE FI}n"))
    assert not SignOnIdentity.objects.exists()


def test_the_sign_in_page_leads_home_instead_of_to_itself(alice: User) -> None:
    browser = Client()
    browser.force_login(alice, backend="taskhub.accounts.AccountBackend")
    for wanted in ("/login/", "/login/?next=/login/", "http://testserver/login/"):
        response = browser.get("/login/", {"next": wanted}, follow=True)
        assert response.redirect_chain[-1][0] == "/"
    answer = Client().post("/login/?next=/login/", {"username": "alice", "password": "alice"})
    assert answer["Location"] == "/"
