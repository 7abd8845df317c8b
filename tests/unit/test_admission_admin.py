"""Limits and pauses, set in the admin by the forms it shows, and over REST: audited, and what runs goes on."""

from __future__ import annotations

import re
from html import unescape
from typing import Any

import pytest
from django.contrib.auth.models import User
from django.test import Client
from rest_framework.test import APIClient

from taskhub.auth.actor import Actor
from taskhub.models import HUB, AdmissionRule, AdmissionState, AuditEntry, Execution
from taskhub.services import admission, executions, tasks
from taskhub.services.admission_rules import admission_rule_set
from tests.conftest import client_of, make_account
from tests.unit.test_admission import start

pytestmark = pytest.mark.django_db

RULES = "/admin/taskhub/admissionrule/"


@pytest.fixture
def client(operator: User) -> Client:
    client = Client()
    client.force_login(operator, backend="taskhub.accounts.AccountBackend")
    return client


@pytest.fixture
def running(alice: User) -> Execution:
    execution = queued(alice)
    admission.executions_admit()
    return start(execution.pk)


def queued(user: User) -> Execution:
    actor = Actor(door="rest", user=user)
    task = tasks.task_create(actor=actor, title="t")
    return executions.execution_queue(actor=actor, task_id=task.pk, script="true")


def sent(client: Client, address: str, **changes: str) -> Any:
    """The form of this page as a browser sends it, with these fields filled in."""
    page = client.get(address).content.decode()
    fields = {}
    for tag in re.findall(r"<input[^>]*>", page):
        found = dict(re.findall(r'([\w-]+)="([^"]*)"', tag))
        is_off = found.get("type") in {"checkbox", "radio"} and "checked" not in tag
        if "name" in found and not is_off and found["name"] != "csrfmiddlewaretoken":
            fields[found["name"]] = unescape(found.get("value", ""))
    return client.post(address, {**fields, **changes, "_save": "Save"}, follow=True)


def test_the_hub_is_paused_and_resumed_by_forms(client: Client, alice: User, running: Execution) -> None:
    assert sent(client, f"{RULES}add/", paused="on").status_code == 200
    assert AdmissionRule.objects.get().is_for_hub
    waits = queued(alice)
    admission.executions_admit()
    assert Execution.objects.get(pk=waits.pk).waiting_reason == "paused"
    assert Execution.objects.get(pk=running.pk).status == "running"
    # The row leads to its form.
    page = client.get(RULES).content.decode()
    (address,) = set(re.findall(rf'href="({RULES}[^"]+/change/)[^"]*"', page))
    shown = client.get(address)
    assert "the hub" in shown.content.decode()
    answer = client.post(
        address, {"at_once": "", "paused_until_0": "", "paused_until_1": "", "_save": "Save"}, follow=True
    )
    assert answer.status_code == 200
    assert not AdmissionRule.objects.get().paused
    admission.executions_admit()
    assert Execution.objects.get(pk=waits.pk).status == "starting"
    written = AuditEntry.objects.filter(action="admission:set", subject="hub").order_by("pk")
    assert [(entry.actor_name, entry.door, entry.changes) for entry in written] == [
        ("operator", "admin", {"paused": [False, True]}),
        ("operator", "admin", {"paused": [True, False]}),
    ]


def test_an_account_is_limited_by_a_form(client: Client, alice: User, running: Execution) -> None:
    assert sent(client, f"{RULES}add/", account="alice", at_once="1").status_code == 200
    bob = make_account("bob", "agent")
    mine, others = queued(alice), queued(bob)
    assert admission.executions_admit() == [others.pk]
    assert Execution.objects.get(pk=mine.pk).waiting_reason == "limit"
    assert Execution.objects.get(pk=running.pk).status == "running"
    assert AuditEntry.objects.get(action="admission:set").subject == "account:alice"
    assert sent(client, f"{RULES}alice/change/", at_once="2").status_code == 200
    assert admission.executions_admit() == [mine.pk]


@pytest.mark.parametrize(
    ("fields", "text"),
    [
        ({"account": "alcie", "paused": "on"}, "Account not found."),
        ({"at_once": "0"}, "greater than or equal to 1"),
        ({"at_once": "-1"}, "greater than or equal to 1"),
        ({"paused": "on", "paused_until_0": "2020-01-01", "paused_until_1": "00:00:00"}, "would have ended already"),
        ({"paused": "on", "paused_until_0": "soon", "paused_until_1": "00:00:00"}, "Enter a valid date"),
    ],
)
def test_what_rest_refuses_the_forms_refuse(client: Client, fields: dict[str, str], text: str) -> None:
    assert text in sent(client, f"{RULES}add/", **fields).content.decode()
    assert not AdmissionRule.objects.exists()


def test_a_second_rule_for_the_hub_is_refused_in_words(client: Client) -> None:
    sent(client, f"{RULES}add/", at_once="3")
    assert "already exists" in sent(client, f"{RULES}add/", at_once="4").content.decode()
    assert AdmissionRule.objects.get(pk=HUB).at_once == 3


def test_only_operators_reach_the_forms(alice: User) -> None:
    client = Client()
    client.force_login(alice, backend="taskhub.accounts.AccountBackend")
    assert client.post(f"{RULES}add/", {"paused": "on"}).status_code in {302, 403}
    assert not AdmissionRule.objects.exists()


def test_lists_and_pages_show_why_and_where_an_execution_waits(client: Client, alice: User, running: Execution) -> None:
    admission_rule_set(actor=Actor(door="rest", user=None), paused=True)
    first, second = queued(alice), queued(alice)
    admission.executions_admit()
    page = client.get("/admin/taskhub/execution/").content.decode()
    assert "Starts are paused, position 1" in page
    assert "Starts are paused, position 2" in page
    one = client.get(f"/admin/taskhub/execution/{second.pk}/change/").content.decode()
    assert "Starts are paused, position 2" in one
    assert first.task_id is not None
    assert running.task_id is not None
    executions.execution_request_stop(actor=Actor(door="rest", user=alice), task_id=running.task_id)
    assert "being ended: stopped" in client.get("/admin/taskhub/execution/").content.decode()


# --- Over REST ----------------------------------------------------------------------------------------------


@pytest.fixture
def operators(operator: User) -> APIClient:
    operator.groups.set(make_account("another", "operator").groups.all())
    return client_of(operator)


def test_rest_shows_sums_also_without_a_limit(operators: APIClient, running: Execution, settings: Any) -> None:
    none = {"limit": None, "ceiling": None}
    shown = operators.get("/api/admission/").json()
    assert (shown["at_once"], shown["ceiling"], shown["sandboxes"]) == (None, None, 1)
    assert shown["capacity"] == {"cpu": {"used": 1, **none}, "memory": {"used": 1, **none}, "disk": {"used": 3, **none}}
    settings.TASKHUB_CAPACITY_MEMORY_GIB = 20
    AdmissionState.objects.update_or_create(defaults={"cpu_ceiling": 10})
    shown = operators.get("/api/admission/").json()["capacity"]
    assert [(each["limit"], each["ceiling"]) for each in shown.values()] == [(None, 10), (20, None), (None, None)]


def test_rest_pauses_and_limits_without_a_restart(operators: APIClient, alice: User, running: Execution) -> None:
    paused = operators.put("/api/admission/", {"paused": True}, format="json")
    assert (paused.status_code, paused.json()["account"], paused.json()["paused"]) == (200, "", True)
    waits = queued(alice)
    admission.executions_admit()
    shown = operators.get("/api/admission/").json()
    assert (shown["paused"], shown["running"], shown["waiting"]["paused"]) == (True, 1, 1)
    execution = operators.get(f"/api/executions/{waits.pk}/").json()
    assert execution["waiting"].items() >= {"reason": "paused", "position": 1}.items()
    assert operators.put("/api/admission/", {"at_once": 1}, format="json").json()["paused"] is False
    admission.executions_admit()
    assert operators.get("/api/admission/").json()["at_once"] == 1
    assert operators.get(f"/api/executions/{waits.pk}/").json()["waiting"]["reason"] == "limit"
    limited = operators.put("/api/admission/accounts/alice/", {"at_once": 5, "paused": True}, format="json").json()
    assert (limited["account"], limited["at_once"], limited["changed_by"]) == ("alice", 5, "operator")
    assert [rule["account"] for rule in operators.get("/api/admission/accounts/").json()] == ["alice"]
    assert Execution.objects.get(pk=running.pk).status == "running"
    assert AuditEntry.objects.filter(action="admission:set").count() == 3


def test_the_name_of_the_hubs_rule_is_no_account(operators: APIClient) -> None:
    assert operators.put(f"/api/admission/accounts/{HUB}/", {"paused": True}, format="json").status_code == 404


def test_the_page_shows_who_waits_in_the_order_of_starts(client: Client, alice: User, running: Execution) -> None:
    admission_rule_set(actor=Actor(door="rest", user=alice), at_once=1)
    waits = [queued(alice), queued(alice)]
    admission.executions_admit()
    page = unescape(client.get(RULES).content.decode())
    said = page[page.index('id="who-waits"') : page.index("</section>")]
    assert "1 run" in said
    assert "The limit of executions at once is reached: <b>2</b>" in said
    places = [said.index(f"/admin/taskhub/execution/{execution.pk}/change/") for execution in waits]
    assert places == sorted(places)
    assert f"/admin/taskhub/task/{waits[0].task_id}/change/" in said
    assert said.count("<td>alice</td>") == 2


def test_the_page_says_that_nothing_waits(client: Client) -> None:
    assert "Nothing waits." in client.get(RULES).content.decode()


def test_a_rule_is_paused_for_a_while_and_resumed_by_actions(client: Client, alice: User) -> None:
    admission_rule_set(actor=Actor(door="rest", user=alice), account="alice", at_once=3)
    chosen = {"action": "pause", "_selected_action": "alice"}
    assert b"Start nothing new for a while?" in client.post(RULES, chosen).content
    client.post(RULES, {**chosen, "_answered": "1", "minutes": "5"})
    rule = AdmissionRule.objects.get(pk="alice")
    assert (rule.paused, rule.at_once) == (True, 3)
    assert rule.paused_until is not None
    client.post(RULES, {"action": "resume", "_selected_action": "alice"})
    rule.refresh_from_db()
    assert (rule.paused, rule.paused_until, rule.at_once) == (False, None, 3)
    assert AuditEntry.objects.filter(action="admission:set", door="admin").count() == 2
