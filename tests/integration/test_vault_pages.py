"""The admin's pages of the vault, sent as a browser sends them, in front of the local sandbox server."""

from __future__ import annotations

import re
from typing import Any
from uuid import uuid4

import pytest
from django.contrib.auth.models import User
from django.test import Client

from sandboxes.services import vault
from taskhub.auth.actor import SYSTEM
from taskhub.models import AuditEntry
from taskhub.services.environments import environment_create
from tests.conftest import client_of, make_account
from tests.integration.test_admin_forms import offered

pytestmark = [pytest.mark.django_db, pytest.mark.sqlite_suffices]
LIST = "/admin/sandboxes/secret/"
VALUE = "value-of-the-page\nsecond line"


@pytest.fixture
def browser(operator: User) -> Client:
    made = Client(enforce_csrf_checks=True)
    made.force_login(operator)
    return made


@pytest.fixture
def name() -> str:
    return f"npm-{uuid4()}"


def send(browser: Client, page: str, **given: str) -> Any:
    fields = offered(browser.get(page).content.decode())
    assert given.keys() <= fields.keys(), "the form has no such field"
    sent = {each: text for each, text in (fields | given).items() if each}
    return browser.post(page, sent, follow=True)


def add(browser: Client, name: str, **given: str) -> Any:
    return send(browser, f"{LIST}add/", name=name, value=VALUE, hosts="npm.example.com\n*.example.org", **given)


def audited(name: str) -> list[Any]:
    rows = AuditEntry.objects.filter(subject=f"secret:{name}").order_by("id")
    return [(str(row.actor), row.door, row.action, row.changes) for row in rows]


def test_an_entry_is_made_changed_and_deleted_by_its_forms(
    sandboxes: None, browser: Client, operator: User, name: str
) -> None:
    listed = add(browser, name, description="to read").content.decode()
    assert f"The entry {name} was made." in listed
    environment_create(actor=SYSTEM, name="backend", secrets={"NPM": name})
    listed = browser.get(LIST).content.decode()
    row = next(part for part in listed.split("<tr>") if name in part)
    assert all(text in row for text in ("npm.example.com, *.example.org", "backend", "to read"))
    page, host = f"{LIST}{name}/change/", "npm.example.com"
    told = send(browser, page, hosts=host, value="").content.decode()
    assert f"The entry {name} was changed." in told
    shown = client_of(operator).get(f"/api/secrets/{name}").json()
    assert (shown["hosts"], shown["description"]) == ([host], "to read")
    assert f"The entry {name} was left as it is." in send(browser, page, hosts=host).content.decode()
    assert f"The entry {name} was changed." in send(browser, page, hosts=host, value="another value").content.decode()
    asked = browser.get(f"{LIST}{name}/delete/").content.decode()
    assert "start nothing any more without it: backend." in asked
    assert f"The entry {name} was deleted." in send(browser, f"{LIST}{name}/delete/").content.decode()
    assert browser.get(page).status_code == browser.get(f"{LIST}{name}/delete/").status_code == 404
    assert audited(name) == [
        ("operator", "admin", "secret:create", {"hosts": [None, ["npm.example.com", "*.example.org"]]}),
        ("operator", "admin", "secret:update", {"fields": [None, ["hosts"]], "hosts": [None, ["npm.example.com"]]}),
        ("operator", "admin", "secret:update", {"fields": [None, ["value"]]}),
        ("operator", "admin", "secret:delete", {}),
    ]
    assert not re.search("value-of-the-page|another value", listed + asked + told + str(audited(name)))


def test_what_is_refused_loses_nothing_that_was_typed(sandboxes: None, browser: Client, name: str) -> None:
    for wrong in ({"name": "two words"}, {"hosts": "https://npm.example.com"}, {"value": ""}):
        given = {"name": name, "value": VALUE, "hosts": "npm.example.com", "description": "words of mine"}
        page = send(browser, f"{LIST}add/", **(given | wrong))
        assert set(page.context["form"].errors) == set(wrong)
        assert "words of mine" in page.content.decode()
    add(browser, name)
    assert "has an entry of this name already" in add(browser, name).content.decode()
    assert len(audited(name)) == 1
    # Another operator has changed it since the form was shown.
    page = f"{LIST}{name}/change/"
    former = offered(browser.get(page).content.decode())
    send(browser, page, description="of another")
    stale = browser.post(page, former | {"description": "mine"}).content.decode()
    assert "It was changed meanwhile" in stale
    assert len(audited(name)) == 2


def test_the_pages_say_why_the_service_does_not_tell(browser: Client, settings: Any) -> None:
    settings.DAYTONA_API_KEY = ""
    words = "The sandbox service refuses this hub&#x27;s key"
    assert words in browser.get(LIST).content.decode()
    assert words in add(browser, "npm").content.decode()
    assert words in browser.get(f"{LIST}npm/change/", follow=True).content.decode()
    assert words in send(browser, f"{LIST}add/", name="npm", value="v-of-npm").content.decode()


def test_the_pages_are_for_operators(settings: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    def asked(**_: Any) -> None:
        raise AssertionError("the vault was asked")

    for work in ("secret_page", "secret_get", "secret_create", "secret_delete"):
        monkeypatch.setattr(vault, work, asked)
    browser = Client()
    browser.force_login(make_account("bob", "agent"))
    for page in ("", "add/", "npm/change/", "npm/delete/"):
        for answer in (browser.get(LIST + page), browser.post(LIST + page, {"name": "npm", "value": "v"})):
            assert (answer.status_code, answer["Location"].split("?")[0]) == (302, "/admin/login/")
