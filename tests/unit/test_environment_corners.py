"""Environments: two requests at once, what is given twice, and sandboxes of environments that are not one's own."""

from __future__ import annotations

from typing import Any

import pytest
from django.contrib.auth.models import User
from django.test import Client
from rest_framework.test import APIClient

from taskhub.auth.actor import SYSTEM
from taskhub.models import Environment, EnvironmentAccount, Execution
from taskhub.services import environments
from taskhub.services.tasks import task_create
from tests.conftest import client_of, make_account
from tests.unit.test_environments import PATH, environment, filled_in, queued, run_of

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


def test_the_admins_form_does_not_undo_what_was_changed_meanwhile(operator: User) -> None:
    made = environment(env={"CI": "1"})
    browser = Client()
    browser.force_login(operator)
    page = f"/admin/taskhub/environment/{made.environment_id}/change/"
    initial = browser.get(page).context["adminform"].form.initial
    form = {name: "" if value is None else value for name, value in initial.items()} | {"env": '{"CI": "1"}'}
    assert 'name="seen_version"' in browser.get(page).content.decode()
    environments.environment_update(actor=SYSTEM, name="backend", allowed=[])
    refused = browser.post(page, {**form, "description": "words of mine"})
    assert refused.status_code == 200
    assert "changed meanwhile" in refused.content.decode()
    assert Environment.objects.get().open_to_all is False
    assert browser.post(page, {**form, "seen_version": "2"}).status_code == 302


def test_without_an_environment_no_sandbox_of_anothers_is_used(api: APIClient, operator: User) -> None:
    bob = client_of(make_account("bob", "agent"))
    environment("theirs", allowed=["bob"])
    task = task_create(actor=SYSTEM, title="t")
    execution = queued(bob, task.pk, environment="theirs")
    Execution.objects.filter(pk=execution.pk).update(sandbox_id="box", status="completed")
    for body in ({"same_sandbox": True}, {"sandbox_id": "box"}, {"sandbox_id": "box", "environment": None}):
        refused = run_of(api, task.pk, **body)
        assert (refused.status_code, refused.json()["error"]["code"]) == (404, "environment_not_found")
    for client in (bob, client_of(operator)):
        assert queued(client, task.pk, same_sandbox=True).requested_sandbox_id == "box"
        Execution.objects.update(status="completed")
