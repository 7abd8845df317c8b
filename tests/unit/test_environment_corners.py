"""Environments: two requests at once, what is given twice, and sandboxes of environments that are not one's own."""

from __future__ import annotations

from typing import Any

import pytest
from django.contrib.auth.models import User
from django.test import Client

from taskhub.models import Environment, EnvironmentAccount
from taskhub.services import environments
from tests.conftest import client_of, make_account
from tests.unit.test_environments import PATH, filled_in

pytestmark = pytest.mark.django_db


def test_two_requests_for_a_name_at_once_make_one(operator: User, monkeypatch: pytest.MonkeyPatch) -> None:
    def meanwhile(name: str, _: Any) -> None:
        Environment.objects.create(name=name, created_by="another")

    monkeypatch.setattr(environments, "_guard_default", meanwhile)
    answer = client_of(operator).post(PATH, {"name": "backend"}, format="json")
    assert (answer.status_code, answer.json()["error"]["code"]) == (409, "environment_exists")


def test_an_account_that_is_named_twice_is_allowed_once(operator: User) -> None:
    make_account("bob", "agent")
    made = client_of(operator).post(PATH, {"name": "backend", "allowed": ["bob", "bob "]}, format="json")
    assert (made.status_code, made.json()["allowed"]) == (201, ["bob"])
    browser = Client()
    browser.force_login(operator)
    form = filled_in(name="other", open_to_all="", accounts="bob\nbob")
    assert browser.post("/admin/taskhub/environment/add/", form).status_code == 302
    assert EnvironmentAccount.objects.count() == 2
