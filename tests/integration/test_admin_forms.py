"""Every add form of the admin, sent as a browser sends it, makes one row; accounts have one role out of three."""

from __future__ import annotations

import re
from html.parser import HTMLParser
from typing import Any

import pytest
from django.contrib import admin
from django.contrib.auth.models import Group, User
from django.db.models import Model
from django.test import Client, RequestFactory

from taskhub.models import AdmissionRule, Announcement, ApiToken, AuditEntry, Environment, WebhookEndpoint
from taskhub.roles import Role, role_of
from tests.conftest import make_account

pytestmark = pytest.mark.django_db
PASSWORD = "a long password of 2026"
FORMS: dict[type[Model], dict[str, Any]] = {
    User: {"username": "nora", "password1": PASSWORD, "password2": PASSWORD, "role": "agent"},
    Announcement: {"level": "info", "text": "We move on Friday."},
    ApiToken: {"name": "nightly", "days": "30"},
    WebhookEndpoint: {"url": "https://hooks.example/x", "description": "chat"},
    AdmissionRule: {"account": "", "at_once": "3"},
    Environment: {"name": "backend", "image": "python:3.12-slim", "cpu": "2"},
}
"""What a person fills in; the rest is sent as the form offers it."""


@pytest.fixture
def client(operator: User) -> Client:
    for role in (Role.VIEWER, Role.AGENT, Role.OPERATOR):
        # A test with real transactions empties all tables behind it, the roles as well.
        Group.objects.get_or_create(name=role.group)
    made = Client()
    made.force_login(operator)
    return made


class Form(HTMLParser):
    """The fields of the page's form with their values, as a browser reads them from its HTML."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.fields: dict[str, str] = {}
        self._is_inside = False
        self._select = ""
        self.feed(page)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        given = dict(attrs)
        name, value = given.get("name") or "", given.get("value") or ""
        if tag == "form":
            self._is_inside = str(given.get("id")).endswith("_form")
        if not self._is_inside:
            return
        is_box = given.get("type") in {"checkbox", "radio"}
        is_off = is_box and "checked" not in given
        if tag in {"input", "textarea"} and name and not is_off and given.get("type") != "submit":
            self.fields[name] = value or ("on" if is_box else "")
        elif tag == "select":
            self._select = name
        elif tag == "option" and ("selected" in given or self._select not in self.fields):
            self.fields[self._select] = value

    def handle_endtag(self, tag: str) -> None:
        self._is_inside = self._is_inside and tag != "form"


def offered(page: str) -> dict[str, str]:
    return Form(page).fields


def add(client: Client, model: type[Model], given: dict[str, Any]) -> Any:
    address = f"/admin/{model._meta.app_label}/{model._meta.model_name}/add/"
    fields = offered(client.get(address).content.decode())
    assert given.keys() <= fields.keys(), "the form has no such field"
    return client.post(address, {name: value for name, value in (fields | given).items() if not name.startswith("_")})


def test_every_add_form_is_covered(operator: User) -> None:
    request = RequestFactory().get("/admin/")
    request.user = operator
    assert {model for model, site in admin.site._registry.items() if site.has_add_permission(request)} == FORMS.keys()


@pytest.mark.parametrize("model", FORMS, ids=lambda model: model.__name__)
def test_an_add_form_makes_one_row(client: Client, operator: User, model: type[Model], settings) -> None:
    settings.TASKHUB_WEBHOOKS_ALLOW_PRIVATE = True
    given = dict(FORMS[model])
    if model is ApiToken:
        given["user"] = str(operator.pk)
    before = model._default_manager.count()
    answer = add(client, model, given)
    errors = answer.context["adminform"].form.errors if answer.context and "adminform" in answer.context else None
    assert not errors
    assert model._default_manager.count() == before + 1


@pytest.mark.parametrize("role", ["viewer", "agent", "operator"])
def test_an_account_is_made_with_its_role_and_password(client: Client, role: str) -> None:
    assert add(client, User, FORMS[User] | {"role": role}).status_code == 302
    made = User.objects.get(username="nora")
    assert made.check_password(PASSWORD)
    assert role_of(made) == Role[role.upper()]
    entry = AuditEntry.objects.get(action="account:create")
    assert (entry.subject, entry.changes["roles"]) == ("account:nora", [None, [role]])
    assert Client().post("/login/", {"username": "nora", "password": PASSWORD}).status_code == 302


def test_an_accounts_forms_offer_one_role_and_no_single_permissions(client: Client, alice: User) -> None:
    for address in ("add", f"{alice.pk}/change"):
        page = client.get(f"/admin/auth/user/{address}/").content.decode()
        assert re.findall(r'<option value="(\w+)"', page) == ["viewer", "agent", "operator"]
        for picker in ("permissions", "groups", "is_superuser", "is_staff"):
            assert f'name="{picker}"' not in page
            assert "user_permissions" not in page


def change(client: Client, account: User, **given: str) -> Any:
    address = f"/admin/auth/user/{account.pk}/change/"
    fields = offered(client.get(address).content.decode())
    return client.post(address, {name: value for name, value in (fields | given).items() if not name.startswith("_")})


def test_a_role_is_changed_and_replaces_the_former_one(client: Client, alice: User) -> None:
    alice.groups.add(Group.objects.get(name="viewer"))
    assert change(client, alice, role="operator").status_code == 302
    alice.refresh_from_db()
    assert [group.name for group in alice.groups.all()] == ["operator"]
    superuser = User.objects.create_superuser("root", password=PASSWORD)
    assert change(client, superuser, role="viewer").status_code == 302
    assert role_of(User.objects.get(pk=superuser.pk)) is Role.VIEWER


def test_a_wrong_account_is_refused_and_nothing_is_made(client: Client) -> None:
    for wrong in ({"password2": "another one of 2026"}, {"role": "root"}, {"username": "no spaces allowed"}):
        assert add(client, User, FORMS[User] | wrong).status_code == 200
    assert not User.objects.filter(username__in=["nora", "no spaces allowed"]).exists()


def test_an_accounts_failed_sign_ins_are_shown_and_reset(client: Client, settings) -> None:
    settings.TASKHUB_FAILED_PASSWORDS_PER_ACCOUNT = 2
    zoe = make_account("zoe", "viewer")
    for number in range(2):
        Client().post("/login/", {"username": "zoe", "password": "wrong"}, REMOTE_ADDR=f"10.2.{number}.1")
    page = f"/admin/auth/user/{zoe.pk}/change/"
    assert "Locked for" in client.get(page).content.decode()
    answer = Client().post("/login/", {"username": "zoe", "password": "zoe"})
    assert answer.status_code == 429
    client.post("/admin/auth/user/", {"action": "unlock", "_selected_action": str(zoe.pk)})
    assert "Not locked." in client.get(page).content.decode()
    assert Client().post("/login/", {"username": "zoe", "password": "zoe"}).status_code == 302
    assert AuditEntry.objects.filter(action="account:unlock", door="admin").exists()


def test_roles_are_listed_and_not_changed(client: Client) -> None:
    page = client.get("/admin/auth/group/").content.decode()
    assert "also works: changes tasks, runs scripts" in page
    assert client.get("/admin/auth/group/add/").status_code == 403
