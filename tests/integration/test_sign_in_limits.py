"""Limits of the sign-in forms: by address and account, by account, and apart for browsers that signed in before."""

from __future__ import annotations

import re
from concurrent.futures import ThreadPoolExecutor
from datetime import datetime, timedelta
from io import StringIO
from typing import Any

import pytest
from django.contrib.auth.models import User
from django.core import signing
from django.core.management import CommandError, call_command
from django.db import connections
from django.http import HttpResponse
from django.test import Client
from django.utils import timezone

from taskhub.auth import sign_in_limits
from taskhub.auth.sign_in_limits import DEVICE_COOKIE, WINDOW, failures_trim
from taskhub.jobs import tokens_expire
from taskhub.models import ApiToken, AuditEntry, PasswordFailures
from tests.conftest import make_account

pytestmark = pytest.mark.django_db
FORMS = ("/login/", "/admin/login/")


@pytest.fixture(autouse=True)
def low_limits(settings) -> None:
    settings.TASKHUB_FAILED_PASSWORDS = 3
    settings.TASKHUB_FAILED_PASSWORDS_PER_ACCOUNT = 6


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Any:
    class Clock:
        now = timezone.now()

        def __call__(self) -> datetime:
            return self.now

    made = Clock()
    monkeypatch.setattr(sign_in_limits.timezone, "now", made)
    return made


def sign_in(client: Client, name: str, password: str, *, form: str = "/login/", address: str = "10.0.0.1") -> Any:
    return client.post(form, {"username": name, "password": password}, REMOTE_ADDR=address)


def is_signed_in(client: Client) -> bool:
    return "_auth_user_id" in client.session


def fail(name: str, times: int, *, address: str = "10.0.0.1", client: Client | None = None) -> None:
    for _ in range(times):
        assert sign_in(client or Client(), name, "wrong", address=address).status_code == 200


def guess_from_everywhere(name: str, times: int) -> None:
    for number in range(times):
        fail(name, 1, address=f"10.1.{number}.1")


def refused(answer: HttpResponse, least: int = 1, most: int = 300) -> None:
    """A 429 that says how long to wait, and does not call the password wrong."""
    assert answer.status_code == 429
    text = answer.content.decode()
    (seconds,) = re.findall(r"Too many attempts, try again in (\d+) s\.", text)
    assert answer["Retry-After"] == seconds
    assert least <= int(seconds) <= most
    assert "enter the correct" not in text
    assert "enter a correct" not in text


@pytest.mark.parametrize("form", FORMS)
def test_the_right_password_at_a_limit_is_not_called_wrong(operator: User, form: str) -> None:
    fail(operator.username, 3)
    client = Client()
    refused(sign_in(client, operator.username, "operator", form=form), least=200)
    assert not is_signed_in(client)
    # From another address its owner gets in.
    assert sign_in(client, operator.username, "operator", form=form, address="10.0.0.2").status_code == 302
    assert is_signed_in(client)


@pytest.mark.parametrize("form", FORMS)
def test_a_stale_token_of_the_address_is_told_as_too_many_attempts(
    anonymous: Any, operator: User, settings, form: str
) -> None:
    settings.TASKHUB_FAILED_CREDENTIALS_PER_MINUTE = 60
    expired, stale = ApiToken.objects.create(user=operator)
    ApiToken.objects.filter(pk=expired.pk).update(expiry=timezone.now() - timedelta(days=1))
    _, right = ApiToken.objects.create(user=operator)
    asks = [anonymous.get("/api/tasks/", headers={"Authorization": f"Bearer {stale}"}) for _ in range(61)]
    assert [answer.status_code for answer in asks] == [401] * 60 + [429]
    assert anonymous.get("/api/tasks/", headers={"Authorization": f"Bearer {right}"}).status_code == 200
    client = Client()
    refused(sign_in(client, "operator", "operator", form=form, address="127.0.0.1"), most=60)
    assert not is_signed_in(client)


def test_an_account_is_limited_over_all_addresses(alice: User) -> None:
    guess_from_everywhere("alice", 6)
    refused(sign_in(Client(), "alice", "alice", address="10.9.9.9"))
    # No other account is concerned.
    make_account("bob", "viewer")
    assert sign_in(Client(), "bob", "bob", address="10.9.9.9").status_code == 302


def test_one_address_does_not_use_up_the_limit_of_the_account(alice: User) -> None:
    fail("alice", 3)
    for _ in range(10):
        refused(sign_in(Client(), "alice", "wrong"))
    assert sign_in(Client(), "alice", "alice", address="10.0.0.2").status_code == 302


def test_a_browser_that_signed_in_before_is_not_locked_out_by_strangers(alice: User) -> None:
    browser = Client()
    assert sign_in(browser, "alice", "alice").status_code == 302
    browser.logout()
    browser.cookies[DEVICE_COOKIE] = signing.dumps(
        signing.loads(_cookie(alice), salt="taskhub.auth.device"), salt="taskhub.auth.device"
    )
    guess_from_everywhere("alice", 6)
    refused(sign_in(Client(), "alice", "alice", address="10.9.9.9"))
    assert sign_in(browser, "alice", "alice", address="10.9.9.9").status_code == 302
    assert is_signed_in(browser)


def _cookie(user: User) -> str:
    client = Client()
    answer = sign_in(client, user.username, user.username, address="10.7.7.7")
    cookie = answer.cookies[DEVICE_COOKIE]
    assert cookie["httponly"]
    assert cookie["samesite"] == "Lax"
    return str(cookie.value)


def test_a_browser_that_signed_in_before_has_a_limit_of_its_own(alice: User) -> None:
    browser = Client()
    browser.cookies[DEVICE_COOKIE] = _cookie(alice)
    fail("alice", 3, client=browser)
    refused(sign_in(browser, "alice", "alice"))
    # It uses up no other counter.
    assert sign_in(Client(), "alice", "alice").status_code == 302


FORGED = {"empty": "", "short": "x", "unsigned": "e30:1:2", "of another salt": signing.dumps({}, salt="other")}


@pytest.mark.parametrize("forged", FORGED.values(), ids=FORGED)
def test_a_forged_cookie_is_no_device(alice: User, forged: str) -> None:
    browser = Client()
    browser.cookies[DEVICE_COOKIE] = forged
    fail("alice", 3, client=browser)
    refused(sign_in(browser, "alice", "alice"))


def test_a_device_cookie_of_another_account_is_no_device(alice: User) -> None:
    browser = Client()
    browser.cookies[DEVICE_COOKIE] = _cookie(make_account("bob", "viewer"))
    fail("alice", 3, client=browser)
    refused(sign_in(browser, "alice", "alice"))


def test_a_browser_remembers_its_latest_accounts(alice: User) -> None:
    browser = Client()
    for number in range(6):
        make_account(f"account{number}", "viewer")
        sign_in(browser, f"account{number}", f"account{number}")
        browser.cookies.pop("sessionid", None)
    known = signing.loads(browser.cookies[DEVICE_COOKIE].value, salt="taskhub.auth.device")
    assert len(known) == 5
    assert sign_in_limits._digest("account0") not in known


def test_a_right_password_takes_its_attempt_back(alice: User) -> None:
    for number in range(10):
        fail("alice", 2)
        assert sign_in(Client(), "alice", "alice").status_code == 302, number
        PasswordFailures.objects.filter(failures__gt=0).update(failures=0)  # of the account, over all addresses
    assert not PasswordFailures.objects.filter(failures__gt=0).exists()


def test_names_that_are_no_accounts_are_refused_alike() -> None:
    fail("no such account", 3)
    refused(sign_in(Client(), "no such account", "wrong"))
    assert not PasswordFailures.objects.filter(key__contains="such").exists()


def test_a_limit_ends_and_is_not_prolonged_by_further_attempts(alice: User, clock: Any) -> None:
    fail("alice", 3)
    clock.now += WINDOW - timedelta(seconds=10)
    refused(sign_in(Client(), "alice", "alice"), most=10)
    clock.now += timedelta(seconds=10)
    assert sign_in(Client(), "alice", "alice").status_code == 302


def test_a_clock_that_was_ahead_locks_no_account(alice: User, clock: Any) -> None:
    clock.now += timedelta(days=1)
    fail("alice", 3)
    clock.now -= timedelta(days=1)
    assert sign_in(Client(), "alice", "alice").status_code == 302


def test_the_command_unlocks_an_account(alice: User) -> None:
    guess_from_everywhere("alice", 6)
    refused(sign_in(Client(), "alice", "alice", address="10.9.9.9"))
    out = StringIO()
    call_command("unlock_account", "alice", stdout=out)
    assert "Account alice: 8 counters of failed sign-ins are reset." in out.getvalue()
    assert sign_in(Client(), "alice", "alice", address="10.9.9.9").status_code == 302
    assert AuditEntry.objects.filter(action="account:unlock", subject="account:alice", door="command").exists()
    with pytest.raises(CommandError, match="no account zoe"):
        call_command("unlock_account", "zoe")


def test_0_is_no_limit(alice: User, settings) -> None:
    settings.TASKHUB_FAILED_PASSWORDS = settings.TASKHUB_FAILED_PASSWORDS_PER_ACCOUNT = 0
    fail("alice", 8)
    assert sign_in(Client(), "alice", "alice").status_code == 302
    assert not PasswordFailures.objects.exists()


def test_counters_that_have_ended_are_deleted(alice: User) -> None:
    fail("alice", 1)
    failures_trim()
    assert PasswordFailures.objects.count() == 2
    PasswordFailures.objects.update(until=timezone.now())
    tokens_expire()
    assert not PasswordFailures.objects.exists()


def test_an_account_that_is_no_operator_is_told_so_at_the_admin(alice: User) -> None:
    answer = sign_in(Client(), "alice", "alice", form="/admin/login/").content.decode()
    assert "This account does not have the role operator" in answer
    assert "enter the correct" not in answer


def test_an_attempt_that_is_counted_after_a_later_one_forgets_nothing(alice: User, clock: Any) -> None:
    fail("alice", 3)
    clock.now -= timedelta(seconds=5)
    assert sign_in(Client(), "alice", "wrong").status_code == 429


@pytest.mark.django_db(transaction=True)
def test_attempts_at_once_are_counted_before_the_password_is_looked_at(monkeypatch: pytest.MonkeyPatch) -> None:
    make_account("alice", "viewer")
    looked: list[str] = []
    monkeypatch.setattr(
        "django.contrib.auth.backends.ModelBackend.authenticate",
        lambda _self, _request, username, _password, **_: looked.append(username),
    )

    def guess(_: int) -> int:
        try:
            return int(sign_in(Client(), "alice", "wrong").status_code)
        finally:
            connections.close_all()

    with ThreadPoolExecutor(8) as pool:
        answers = sorted(pool.map(guess, range(12)))
    assert answers == [200] * 3 + [429] * 9
    assert len(looked) == 3
