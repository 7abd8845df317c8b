"""The admin's actions: each goes through its service, is audited, is an operator's, and tells exactly what it did."""

from __future__ import annotations

import uuid
from collections.abc import Iterator
from datetime import timedelta
from typing import Any

import pytest
from django.contrib import admin
from django.contrib.auth.models import User
from django.db.models import Model
from django.test import Client
from django.utils import timezone
from django_eventstream.models import Event

from sandboxes.circuit_breaker import breaker
from sandboxes.jobs import sandboxes_act
from sandboxes.models import Sandbox, Subscription
from taskhub.auth.actor import SYSTEM, Actor
from taskhub.errors import Invalid, NotFound
from taskhub.events.process_status import PROCESS_NAME, write_report
from taskhub.models import (
    AdmissionRule,
    Announcement,
    AuditEntry,
    Environment,
    Execution,
    ExecutionStatus,
    Replay,
    StreamConnection,
    StreamProcess,
    Task,
    TaskStatus,
    WebhookDelivery,
    WebhookEndpoint,
)
from taskhub.services.announcements import announcement_create
from taskhub.services.environments import environment_create
from taskhub.services.executions import Outcome, execution_finish, execution_queue
from taskhub.services.replays import REPLAY_LIMIT, replay_request
from taskhub.services.tasks import task_create
from taskhub.webhooks.deliveries import endpoint_send_test
from taskhub.webhooks.endpoints import endpoint_create
from tests.admin_pages import act, list_of
from tests.conftest import make_account

pytestmark = pytest.mark.django_db
ACTING = [(model, name) for model, shown in admin.site._registry.items() for name in shown.actions]


def answered(operator_client: Client, action: str, *rows: Model, **answers: Any) -> str:
    """As `act`, with the form that the action shows first."""
    page = act(operator_client, action, *rows)
    for name in answers:
        assert f'name="{name}"' in page
    assert all(str(row) in page for row in rows)
    return act(operator_client, action, *rows, _answered="1", **answers)


def audited(action: str) -> list[tuple[str, str]]:
    return list(AuditEntry.objects.filter(action=action).values_list("actor_name", "door"))


def make_task(title: str = "t", **fields: Any) -> Task:
    return task_create(actor=SYSTEM, title=title, **fields)


# --- Tasks and executions ----------------------------------------------------------------------------


def test_a_script_is_run_for_several_tasks_and_refusals_are_named(operator_client: Client) -> None:
    free, busy = make_task("free"), make_task("busy")
    execution_queue(actor=SYSTEM, task_id=busy.pk, script="true")
    said = answered(operator_client, "run", free, busy, script="echo 1\r\necho 2\r\n", timeout_s="60", sandbox_id="")
    assert "1 of 2 queued." in said
    assert "busy: The task is being executed already; wait for its end or stop it." in said
    execution = Execution.objects.get(task=free)
    assert (execution.script, execution.timeout_s, execution.requested_sandbox_id) == ("echo 1\necho 2\n", 60, "")
    assert ("operator", "admin") in audited("execution:queue")
    assert Execution.objects.count() == 2


def test_without_a_script_the_tasks_own_block_runs(operator_client: Client) -> None:
    told = make_task("told", description="```bash\necho own\n```")
    silent = make_task("silent")
    said = answered(operator_client, "run", told, silent, script="", timeout_s="", sandbox_id="")
    assert "1 of 2 queued." in said
    assert "silent: Send script_content" in said
    assert Execution.objects.get().script == "echo own\n"


def test_a_wrong_answer_asks_again_and_does_nothing(operator_client: Client) -> None:
    task = make_task()
    said = answered(operator_client, "run", task, script="true", timeout_s="0", sandbox_id="")
    assert "greater than or equal to 1" in said
    assert 'name="_answered"' in said
    assert not Execution.objects.exists()


def test_tasks_are_stopped(operator_client: Client) -> None:
    busy, free = make_task("busy"), make_task("free")
    execution = execution_queue(actor=SYSTEM, task_id=busy.pk, script="true")
    said = act(operator_client, "stop", busy, free)
    assert "1 of 2 being stopped." in said
    assert "free: The task is not being executed." in said
    execution.refresh_from_db()
    assert execution.status == ExecutionStatus.STOPPED
    assert audited("execution:stop") == [("operator", "admin")]


def test_stopping_a_finished_execution_does_not_stop_the_next_one(operator_client: Client) -> None:
    task = make_task()
    first = execution_queue(actor=SYSTEM, task_id=task.pk, script="true")
    execution_finish(execution=first, outcome=Outcome(ExecutionStatus.FAILED))
    second = execution_queue(actor=SYSTEM, task_id=task.pk, script="true")
    assert "0 of 1 being stopped." in act(operator_client, "stop", first)
    assert audited("execution:stop") == []
    assert "1 of 1 being stopped." in act(operator_client, "stop", second)
    assert audited("execution:stop") == [("operator", "admin")]


def test_allowed_status_changes_are_applied(operator_client: Client) -> None:
    new, begun = make_task("new"), make_task("begun", status="inprogress")
    said = answered(operator_client, "change_status", new, begun, status="review")
    assert "1 of 2 now Review." in said
    assert "new: A task that is todo cannot become review; it may become inprogress, done." in said
    assert {task.title: task.status for task in Task.objects.all()} == {"new": "todo", "begun": "review"}
    assert audited("task:update") == [("operator", "admin")]


def test_too_many_rows_are_refused_as_a_whole(operator_client: Client) -> None:
    tasks = Task.objects.bulk_create(Task(title=f"t{n}") for n in range(101))
    body = {"action": "change_status", "_answered": "1", "status": "done", "select_across": "1"}
    answer = operator_client.post(list_of(Task), {**body, "_selected_action": [str(tasks[0].pk)]}, follow=True)
    assert "At most 100 at once; nothing was done." in answer.content.decode()
    assert not Task.objects.exclude(status=TaskStatus.TODO).exists()


def test_an_action_on_a_rows_page_returns_to_it(operator_client: Client) -> None:
    task = make_task()
    page = f"{list_of(Task)}{task.pk}/change/"
    shown = operator_client.get(page).content.decode()
    assert 'name="action" value="run"' in shown
    # Only what can apply: it is not being executed.
    assert 'name="action" value="stop"' not in shown
    execution_queue(actor=SYSTEM, task_id=make_task().pk, script="true")
    shown = operator_client.get(f"{list_of(Task)}{Execution.objects.get().task_id}/change/").content.decode()
    assert 'class="hub-button hub-danger" name="action" value="stop"' in shown
    assert 'name="action" value="run"' not in shown
    body = {"action": "change_status", "_selected_action": str(task.pk), "_row": str(task.pk)}
    asked = operator_client.post(list_of(Task), body).content.decode()
    assert f'name="_row" value="{task.pk}"' in asked
    answer = operator_client.post(list_of(Task), {**body, "_answered": "1", "status": "done"})
    assert (answer.status_code, answer["Location"]) == (302, page)


@pytest.mark.parametrize("key", ["no-uuid", "", "00000000-0000-4000-8000-000000000000", "'; DROP TABLE"])
def test_unknown_keys_are_refused(operator_client: Client, key: str) -> None:
    for action in ("stop", "run"):
        answer = operator_client.post(
            list_of(Task), {"action": action, "_selected_action": [key], "_row": key}, follow=True
        )
        assert answer.status_code == 200
    assert not AuditEntry.objects.exists()


@pytest.mark.parametrize("key", ["x", "\0", "99999999999999999999", "-1"])
def test_malformed_keys_are_refused(operator_client: Client, key: str) -> None:
    for model, action in ((Event, "send_again"), (Sandbox, "stop")):
        body = {"action": action, "_selected_action": [key], "_answered": "1"}
        assert operator_client.post(list_of(model), body, follow=True).status_code == 200
    assert not AuditEntry.objects.exists()


def test_actions_need_the_csrf_token(operator: User) -> None:
    operator_client = Client(enforce_csrf_checks=True)
    operator_client.force_login(operator)
    task = make_task()
    body = {"action": "change_status", "_selected_action": [str(task.pk)], "_answered": "1", "status": "done"}
    assert operator_client.post(list_of(Task), body).status_code == 403
    # An address that is followed acts on nothing.
    assert operator_client.get(list_of(Task), body, follow=True).status_code == 200
    task.refresh_from_db()
    assert task.status == TaskStatus.TODO


@pytest.mark.parametrize(("query", "status"), [("s=task", 200), ("s=a&page=x", 404), ("s=a&page=99", 404), ("", 200)])
def test_the_search_for_pages_takes_odd_words(operator_client: Client, query: str, status: int) -> None:
    assert operator_client.get(f"/admin/search/?{query}").status_code == status


# --- Sandboxes, subscriptions, announcements ---------------------------------------------------------


def seen(document: dict[str, Any]) -> Sandbox:
    return Sandbox.objects.create(id=document["id"], state=document["state"], seen_at=timezone.now())


@pytest.fixture
def no_daytona(settings) -> Iterator[None]:
    settings.DAYTONA_API_URL, settings.DAYTONA_API_KEY = "http://127.0.0.1:9/api", "k"
    breaker.succeeded()
    yield
    breaker.succeeded()


def test_the_outcome_of_an_action_on_a_sandbox_is_in_its_row(operator: User, no_daytona: None) -> None:
    box = seen({"id": "box", "state": "started"})
    sandboxes_act("stop", operator.pk, [box.pk])
    box.refresh_from_db()
    assert box.last_action == "stop: The sandbox service does not answer; try again."
    sandboxes_act("start", make_account("former", "agent").pk, [box.pk])
    box.refresh_from_db()
    assert box.last_action == "start: The account that asked for it is not an operator any more."
    assert not AuditEntry.objects.exists()


def test_subscriptions_are_disconnected(operator_client: Client) -> None:
    watching = Subscription.objects.create(kind="logs", sandbox_id="box", process="p", opened_at=timezone.now())
    assert "1 of 1 being closed." in act(operator_client, "disconnect", watching)
    watching.refresh_from_db()
    assert watching.disconnect_requested_at is not None
    assert audited("subscription:disconnect") == [("operator", "admin")]


def test_announcements_are_withdrawn_once(operator_client: Client) -> None:
    made = announcement_create(actor=SYSTEM, text="Down.", level="info")
    assert "1 of 1 withdrawn." in act(operator_client, "withdraw", made)
    assert "0 of 1 withdrawn." in act(operator_client, "withdraw", made)
    assert audited("announcement:withdraw") == [("operator", "admin")]


# --- Replays -----------------------------------------------------------------------------------------


@pytest.fixture
def listener() -> StreamConnection:
    write_report({"clients": {}, "counters": {}, "lag_events": 0, "lag_s": 0.0, "redis": True})
    return StreamConnection.objects.create(
        id=uuid.uuid4(), account="alice", process=PROCESS_NAME, opened_at=timezone.now()
    )


def test_selected_events_are_replayed_in_order(
    operator_client: Client, operator: User, listener: StreamConnection
) -> None:
    for title in "abc":
        make_task(title)
    chosen = [Event.objects.get(channel="tasks", eid=number) for number in (3, 1)]
    foreign = Event.objects.create(channel="others", eid=9, data="{}")
    said = answered(operator_client, "send_again", *chosen, foreign, stream=str(listener.pk))
    assert f"2 of 3 events are sent again to {listener}." in said
    assert "others:9: No open stream delivers this channel." in said
    assert Replay.objects.get().numbers == [1, 3]
    entry = AuditEntry.objects.get(action="replay:request")
    assert (entry.actor, entry.door, entry.subject) == (operator, "admin", f"stream:{listener.pk}")
    assert entry.changes == {"account": [None, "alice"], "first": [None, 1], "last": [None, 3], "events": [None, 2]}


@pytest.mark.parametrize(("first", "last"), [("2", "1"), ("1", "1001"), ("0", "3"), ("", "3"), ("x", "3")])
def test_an_invalid_range_is_refused(
    operator_client: Client, listener: StreamConnection, first: str, last: str
) -> None:
    make_task()
    said = answered(operator_client, "send_again", listener, first=first, last=last)
    assert 'name="_answered"' in said
    assert not Replay.objects.exists()


def test_a_range_of_expired_events_is_reported(operator_client: Client, listener: StreamConnection) -> None:
    assert "All of these events have expired." in answered(operator_client, "send_again", listener, first="1", last="9")
    assert audited("replay:request") == []


def test_events_that_cannot_be_replayed_are_refused(listener: StreamConnection, actor: Actor) -> None:
    make_task()
    with pytest.raises(Invalid):
        replay_request(actor=actor, listener_id=listener.pk, numbers=range(1, REPLAY_LIMIT + 2))
    with pytest.raises(NotFound):
        replay_request(actor=actor, listener_id=uuid.uuid4(), numbers=[1])
    StreamProcess.objects.update(reported_at=timezone.now() - timedelta(minutes=1))
    with pytest.raises(NotFound):
        replay_request(actor=actor, listener_id=listener.pk, numbers=[1])
    assert not Replay.objects.exists()


def test_an_account_is_paused_for_a_while_and_resumed(operator_client: Client) -> None:
    rule = AdmissionRule.objects.create(account=make_account("mallory", "agent").username, at_once=3)
    answered(operator_client, "pause", rule, minutes="10")
    rule.refresh_from_db()
    assert (rule.paused, rule.at_once, rule.paused_until is not None) == (True, 3, True)
    act(operator_client, "resume", rule)
    rule.refresh_from_db()
    assert (rule.paused, rule.at_once) == (False, 3)
    assert len(audited("admission:set")) == 2


# --- Environments ------------------------------------------------------------------------------------


def test_environments_are_deleted_but_for_the_default(operator_client: Client, settings: Any) -> None:
    settings.TASKHUB_DEFAULT_ENVIRONMENT = "usual"
    made = [environment_create(actor=SYSTEM, name=name).environment for name in ("backend", "usual")]
    said = answered(operator_client, "remove", *made)
    assert "1 of 2 deleted." in said
    assert "usual: It is the hub's default" in said
    assert list(Environment.objects.filter(deleted_at=None)) == made[1:]
    assert audited("environment:delete") == [("operator", "admin")]


# --- Who may -----------------------------------------------------------------------------------------


def test_every_list_with_actions_is_covered() -> None:
    acting = {model.__name__ for model, _ in ACTING}
    assert acting == {
        *("Task", "Execution", "Announcement", "Sandbox", "Subscription", "Event", "StreamConnection"),
        *("WebhookEndpoint", "WebhookDelivery", "User", "AdmissionRule", "Environment"),
    }


@pytest.mark.sqlite_suffices
@pytest.mark.parametrize("role", ["", "viewer", "agent"])
@pytest.mark.parametrize(("model", "action"), ACTING)
def test_actions_are_for_operators(listener: StreamConnection, role: str, model: type[Model], action: str) -> None:
    task = make_task()
    endpoint, _ = endpoint_create(actor=SYSTEM, url="https://hooks.example/")
    rows: dict[type[Model], Model] = {
        AdmissionRule: AdmissionRule.objects.create(account="mallory"),
        Environment: environment_create(actor=SYSTEM, name="backend").environment,
        Task: task,
        Execution: execution_queue(actor=SYSTEM, task_id=task.pk, script="true"),
        Announcement: announcement_create(actor=SYSTEM, text="t", level="info"),
        Sandbox: seen({"id": "box", "state": "started"}),
        Subscription: Subscription.objects.create(kind="logs", process="p", opened_at=timezone.now()),
        Event: Event.objects.get(eid=1),
        StreamConnection: listener,
        User: make_account("mallory", "viewer"),
        WebhookEndpoint: endpoint,
        WebhookDelivery: endpoint_send_test(actor=SYSTEM, endpoint_id=endpoint.pk),
    }
    operator_client = Client()
    if role:
        operator_client.force_login(make_account("somebody", role))
    before = AuditEntry.objects.count()
    answers = {"status": "done", "script": "true", "first": "1", "last": "1", "stream": str(listener.pk)}
    body = {"action": action, "_selected_action": str(rows[model].pk), "_answered": "1", **answers}
    answer = operator_client.post(list_of(model), body)
    assert (answer.status_code, answer["Location"].split("?")[0]) == (302, "/admin/login/")
    assert AuditEntry.objects.count() == before
    assert not Replay.objects.exists()
    assert not Subscription.objects.filter(disconnect_requested_at__isnull=False).exists()
