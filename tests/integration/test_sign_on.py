"""Sign-on with a real OpenID provider (npm's oidc-provider): accounts, roles, refusals, sign-out, keys and clocks."""

from __future__ import annotations

import json
import re
import subprocess
from collections.abc import Iterator
from io import StringIO
from pathlib import Path
from typing import Any
from urllib.parse import parse_qsl, urljoin, urlsplit

import httpx
import pytest
from django.contrib.auth.models import User
from django.core.management import call_command
from django.test import Client

from taskhub.models import AuditEntry, BrowserSession
from taskhub.roles import Role, role_of
from taskhub.sign_on.discovery import forget
from tests.clients.environments import NPM
from tests.conftest import make_account
from tests.node import find_node, install_npm

pytestmark = [pytest.mark.django_db, pytest.mark.sqlite_suffices]

CALLBACK = "http://testserver/sign-on/callback/"
ERIN = {"preferred_username": "erin", "email": "erin@example.com", "groups": ["staff", "hub-agents"]}


class Provider:
    def __init__(self) -> None:
        install_npm(NPM)
        node = find_node(NPM)
        assert node, "the lock file has a Node.js"
        command = [node, str(NPM / "openid_provider.mjs"), CALLBACK, "http://testserver/"]
        self.process = subprocess.Popen(
            command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, cwd=NPM
        )
        self.issuer = self._line()
        assert self.issuer.startswith("http://127.0.0.1:"), self.issuer

    def _line(self) -> str:
        assert self.process.stdout
        line = self.process.stdout.readline().strip()
        # It warns on its output that it is for tests.
        return line if line == "done" or line.startswith("http") else self._line()

    def set(self, **changed: Any) -> None:
        assert self.process.stdin
        self.process.stdin.write(json.dumps(changed) + "\n")
        self.process.stdin.flush()
        assert self._line() == "done"

    def end(self) -> None:
        self.process.kill()
        self.process.communicate()


@pytest.fixture(scope="module")
def provider() -> Iterator[Provider]:
    running = Provider()
    yield running
    running.end()


@pytest.fixture(autouse=True)
def sign_on(provider: Provider, settings: Any) -> Iterator[Provider]:
    forget(trouble=True)
    settings.TASKHUB_OIDC_ISSUER = provider.issuer
    settings.TASKHUB_OIDC_CLIENT_ID = "taskhub"
    settings.TASKHUB_OIDC_CLIENT_SECRET = "a secret of the tests"
    settings.TASKHUB_OIDC_ROLES = {"hub-agents": "agent", "hub-operators": "operator"}
    settings.TASKHUB_OPEN_READING = False
    settings.AUTHENTICATION_BACKENDS = [*settings.AUTHENTICATION_BACKENDS, "taskhub.sign_on.backend.SignOnBackend"]
    provider.set(people={"sub-erin": ERIN}, clock_s=0)
    yield provider
    forget(trouble=True)


def at_provider(address: str, subject: str) -> str:
    """A browser that signs in and agrees there: the address that it is led back to."""
    with httpx.Client(follow_redirects=False) as browser:
        response = browser.get(address)
        for _ in range(12):
            if response.is_redirect:
                address = urljoin(address, response.headers["Location"])
                if address.startswith(CALLBACK):
                    return address
                response = browser.get(address)
            else:
                form = re.search(r'<form[^>]*action="([^"]+)"', response.text)
                assert form, response.text
                prompt = re.search(r'name="prompt" value="(\w+)"', response.text)
                assert prompt, response.text
                address = urljoin(address, form[1])
                response = browser.post(address, data={"prompt": prompt[1], "login": subject, "password": "x"})
    raise AssertionError(f"not led back: {address}")


def sign_in(subject: str = "sub-erin", client: Client | None = None, wanted: str = "/settings/") -> tuple[Client, Any]:
    client = client or Client()
    begun = client.get("/sign-on/", {"next": wanted})
    assert begun.status_code == 302, begun.content
    back = at_provider(begun["Location"], subject)
    return client, client.get(back.removeprefix("http://testserver"))


def test_the_first_sign_in_makes_the_account_with_the_role_of_its_groups() -> None:
    client, response = sign_in()
    assert (response.status_code, response["Location"]) == (302, "/settings/")
    user = User.objects.get(username="erin")
    assert (user.email, role_of(user), user.has_usable_password()) == ("erin@example.com", Role.AGENT, False)
    assert client.get("/settings/").status_code == 200
    assert BrowserSession.objects.filter(user=user).count() == 1
    assert client.session.get_expiry_age() <= 12 * 3600
    actions = set(AuditEntry.objects.values_list("action", flat=True))
    assert {"account:create", "account:link"} <= actions


def test_the_request_has_state_nonce_and_pkce_and_other_answers_are_refused() -> None:
    client = Client()
    begun = client.get("/sign-on/", {"next": "https://evil.example/"})
    asked = dict(parse_qsl(urlsplit(begun["Location"]).query))
    assert asked["code_challenge_method"] == "S256"
    assert len(asked["state"]) == len(asked["nonce"]) == 32
    back = at_provider(begun["Location"], "sub-erin").removeprefix("http://testserver")
    assert Client().get(back).status_code == 403, "another browser's answer"
    assert client.get(back.replace(asked["state"], "x" * 32)).status_code == 400
    session = client.session
    session["oidc_states"][asked["state"]]["nonce"] = "another"
    session.save()
    assert client.get(back).status_code == 400
    assert not User.objects.filter(username="erin").exists()
    _, response = sign_in(client=client, wanted="https://evil.example/")
    assert response["Location"] == "/"
    assert client.get(back).status_code == 400, "an answer works once"


def test_the_account_is_found_by_its_subject_whatever_its_mail_and_name(provider: Provider) -> None:
    sign_in()
    user = User.objects.get(username="erin")
    changed = {"preferred_username": "erin.new", "email": "new@example.com", "groups": ["hub-operators"]}
    provider.set(people={"sub-erin": changed, "sub-other": {**ERIN, "groups": ["hub-operators"]}})
    assert sign_in()[1].status_code == 302
    again = User.objects.get(email="new@example.com")
    assert (again.pk, again.username, role_of(again)) == (user.pk, "erin", Role.OPERATOR)
    assert sign_in("sub-other")[1].status_code == 403, "who has taken her old name there is not she"
    assert User.objects.count() == 1


def test_without_a_group_of_the_table_there_is_no_way_in_and_the_role_is_lost(provider: Provider) -> None:
    sign_in()
    provider.set(people={"sub-erin": {**ERIN, "groups": ["staff"]}})
    client, response = sign_in()
    assert response.status_code == 403
    assert client.get("/settings/").status_code == 302
    assert role_of(User.objects.get(username="erin")) == Role.NOBODY


def test_a_deactivated_account_is_refused() -> None:
    sign_in()
    User.objects.filter(username="erin").update(is_active=False)
    _, response = sign_in()
    assert response.status_code == 403
    assert "deactivated" in response.text


def test_an_account_of_the_same_name_is_linked_only_where_the_setting_says_so(settings: Any) -> None:
    erin = make_account("erin", "viewer")
    _, refused = sign_in()
    assert refused.status_code == 403
    assert "Another account is named erin" in refused.text
    settings.TASKHUB_OIDC_LINK_BY_NAME = True
    assert sign_in()[1].status_code == 302
    assert User.objects.get(sign_on_identity__subject="sub-erin") == erin


def test_keys_may_change_and_clocks_may_differ_by_a_minute(provider: Provider) -> None:
    assert sign_in()[1].status_code == 302
    provider.set(rotate=True)
    assert sign_in()[1].status_code == 302
    provider.set(clock_s=45)
    assert sign_in()[1].status_code == 302
    provider.set(clock_s=300)
    assert sign_in()[1].status_code == 400, "issued in the future"
    provider.set(clock_s=-1000)
    assert sign_in()[1].status_code == 400, "expired"


def test_the_sign_out_ends_at_the_provider() -> None:
    client, _ = sign_in()
    response = client.post("/logout/")
    address = urlsplit(response["Location"])
    asked = dict(parse_qsl(address.query))
    assert address.path == "/session/end"
    assert (bool(asked["id_token_hint"]), asked["post_logout_redirect_uri"]) == (True, "http://testserver/")
    assert client.get("/settings/").status_code == 302
    assert httpx.get(response["Location"]).status_code == 200, "the provider knows the token and the address"


def test_passwords_can_be_off_except_for_the_break_glass_account(settings: Any) -> None:
    make_account("alice", "operator")
    settings.TASKHUB_PASSWORD_SIGN_IN = False
    assert Client().post("/login/", {"username": "alice", "password": "alice"}).status_code == 200
    page = Client().get("/login/").text
    assert "Sign in with 127.0.0.1" in page
    assert "Or with the break-glass account" in page
    said = StringIO()
    call_command("break_glass", "glass", stdout=said)
    password = re.search(r"password: (\S+)", said.getvalue())
    assert password
    client = Client()
    assert client.post("/login/", {"username": "glass", "password": password[1]}).status_code == 302
    assert client.get("/admin/").status_code == 200
    assert Client().get("/admin/login/?next=/admin/")["Location"] == "/login/?next=/admin/"


def test_a_provider_that_is_away_is_said_to_be_away(settings: Any) -> None:
    settings.TASKHUB_OIDC_ISSUER = "http://127.0.0.1:9"
    response = Client().get("/sign-on/")
    assert response.status_code == 502
    assert "does not answer" in response.text
    settings.TASKHUB_OIDC_ISSUER = ""
    assert Client().get("/sign-on/").status_code == 404
    assert Client().get("/sign-on/callback/").status_code == 404
    assert Path(NPM / "openid_provider.mjs").exists()
