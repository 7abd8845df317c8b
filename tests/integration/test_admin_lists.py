"""The admin's lists and pages: what they show and link to, and that their queries do not grow with their rows."""

from __future__ import annotations

import json
import uuid
from collections.abc import Callable
from datetime import timedelta
from html import unescape
from typing import Any

import pytest
from django.contrib import admin
from django.contrib.auth.models import Group, User
from django.db import connection
from django.db.models import Model
from django.test import Client
from django.test.utils import CaptureQueriesContext
from django.utils import timezone
from django_eventstream.models import Event
from oauth2_provider.models import Application

from sandboxes.models import Poll, Sandbox, Subscription
from taskhub.admin.list_pages import CountedPaginator
from taskhub.auth.actor import SYSTEM
from taskhub.events.process_status import PROCESS_NAME, write_report
from taskhub.models import (
    AdmissionRule,
    Agent,
    Announcement,
    ApiToken,
    Artifact,
    AuditEntry,
    Claim,
    Environment,
    Execution,
    ExecutionStatus,
    StreamConnection,
    StreamProcess,
    Task,
    WebhookDelivery,
    WebhookEndpoint,
)
from taskhub.services.environments import environment_create
from taskhub.services.executions import execution_queue
from taskhub.services.oauth_grants import client_register
from taskhub.services.tasks import task_create
from tests.admin_pages import list_of

pytestmark = pytest.mark.django_db
REPORT: Any = {"clients": {"tasks": 2}, "counters": {}, "lag_events": 0, "lag_s": 0.0, "redis": True}


def fresh() -> str:
    """A name that nothing has."""
    return uuid.uuid4().hex


def make_tasks(count: int) -> list[Task]:
    return Task.objects.bulk_create(Task(title=f"t{n}", tags=["a"]) for n in range(count))


def make_executions(count: int) -> None:
    Execution.objects.bulk_create(
        Execution(
            task=task,
            timeout_s=1,
            session_name=f"s-{task.pk}",
            sandbox_id=f"box-{task.pk}",
            status=ExecutionStatus.COMPLETED,
            started_at=timezone.now(),
        )
        for task in make_tasks(count)
    )


def envelope(name: str, task_id: uuid.UUID) -> str:
    said = {"id": str(uuid.uuid4()), "event": name, "data": {"task_id": str(task_id), "assignee": "alice"}}
    return json.dumps({**said, "timestamp": "2026-01-01T00:00:00Z"}, separators=(",", ":"))


def make_events(count: int) -> None:
    names = ("task_created", "task_updated", "execution_event")
    first = Event.objects.count() + 1
    Event.objects.bulk_create(
        (
            Event(channel="tasks", type="message", eid=n, data=envelope(names[n % 3], uuid.uuid4()))
            for n in range(first, first + count)
        ),
        batch_size=5000,
    )


def make_accounts(count: int) -> None:
    agents = Group.objects.get_or_create(name="agent")[0]
    for account in User.objects.bulk_create(User(username=fresh(), password="!") for _ in range(count)):
        account.groups.add(agents)


def make_listeners(count: int) -> None:
    write_report(REPORT)
    now = timezone.now()
    StreamConnection.objects.bulk_create(
        StreamConnection(id=uuid.uuid4(), account="alice", process=PROCESS_NAME, opened_at=now) for _ in range(count)
    )


def make_endpoints(count: int) -> list[WebhookEndpoint]:
    return WebhookEndpoint.objects.bulk_create(
        WebhookEndpoint(url="https://hooks.example/x", sealed_secret=fresh(), cursor=0) for _ in range(count)
    )


def make_deliveries(count: int) -> None:
    (endpoint,) = make_endpoints(1)
    WebhookDelivery.objects.bulk_create(
        WebhookDelivery(endpoint=endpoint, sequence=n, event_type="task_created", next_attempt_at=timezone.now())
        for n in range(count)
    )


def make_agents(count: int) -> list[Agent]:
    agents = [Agent(account="alice", name=fresh(), last_seen_at=timezone.now()) for _ in range(count)]
    return Agent.objects.bulk_create(agents)


def make_claims(count: int) -> None:
    make_tasks(count)
    now = timezone.now()
    Claim.objects.bulk_create(
        Claim(task=task, agent=agent, token=fresh(), lease_s=900, expires_at=now, attempt=1, ended_at=now)
        for task, agent in zip(Task.objects.all()[:count], make_agents(count), strict=True)
    )


def make_environments(count: int) -> None:
    for _ in range(count):
        environment_create(actor=SYSTEM, name=f"e-{fresh()}".lower()[:60], image="python:3.12-slim")


ROWS: dict[type[Model], Callable[[int], object]] = {
    Task: make_tasks,
    Execution: make_executions,
    Event: make_events,
    User: make_accounts,
    StreamConnection: make_listeners,
    Group: lambda count: Group.objects.bulk_create(Group(name=fresh()) for _ in range(count)),
    AuditEntry: lambda count: AuditEntry.objects.bulk_create(
        AuditEntry(actor=User.objects.get(), door="rest", action="task:update", task_id=uuid.uuid4())
        for _ in range(count)
    ),
    Announcement: lambda count: Announcement.objects.bulk_create(
        Announcement(text=f"t{n}", made_by=User.objects.get()) for n in range(count)
    ),
    ApiToken: lambda count: [
        ApiToken.objects.create(user=User.objects.create(username=fresh()), name="t") for _ in range(count)
    ],
    Application: lambda count: [
        client_register(name="t", redirect_uris=["https://a.example/"], is_public=True) for _ in range(count)
    ],
    StreamProcess: lambda count: StreamProcess.objects.bulk_create(
        StreamProcess(name=fresh(), reported_at=timezone.now(), report=REPORT) for _ in range(count)
    ),
    Sandbox: lambda count: Sandbox.objects.bulk_create(
        Sandbox(id=fresh(), state="started", seen_at=timezone.now()) for _ in range(count)
    ),
    Subscription: lambda count: Subscription.objects.bulk_create(
        Subscription(user=User.objects.get(), user_name="o", kind="logs", sandbox_id="b", opened_at=timezone.now())
        for _ in range(count)
    ),
    AdmissionRule: lambda count: AdmissionRule.objects.bulk_create(
        AdmissionRule(account=fresh()) for _ in range(count)
    ),
    Environment: make_environments,
    Agent: make_agents,
    Claim: make_claims,
    WebhookEndpoint: make_endpoints,
    WebhookDelivery: make_deliveries,
    Poll: lambda count: Poll.objects.bulk_create(
        Poll(name=fresh()[:20], started_at=timezone.now(), took_ms=1, watched=1, requests=1) for _ in range(count)
    ),
}


def queries_of(operator_client: Client, address: str) -> int:
    with CaptureQueriesContext(connection) as queries:
        answer = operator_client.get(address)
    assert answer.status_code == 200
    return len(queries)


def test_every_list_of_the_admin_is_covered() -> None:
    assert set(admin.site._registry) == set(ROWS)


@pytest.mark.parametrize("model", ROWS, ids=lambda model: model.__name__)
def test_forty_rows_cost_no_more_queries_than_ten(operator_client: Client, model: type[Model]) -> None:
    address = f"{list_of(model)}?all="
    ROWS[model](10)
    operator_client.get(address)  # what is read once for the process
    few = queries_of(operator_client, address)
    ROWS[model](30)
    assert operator_client.get(address).content.count(b'class="action-select') in {0, model._default_manager.count()}
    assert queries_of(operator_client, address) <= few <= 12


@pytest.mark.parametrize("model", ROWS, ids=lambda model: model.__name__)
def test_an_empty_list_says_what_the_list_is(operator_client: Client, model: type[Model]) -> None:
    what = admin.site._registry[model].what  # type: ignore[attr-defined]  # all are HubModelAdmin
    assert what.endswith(".")
    page = operator_client.get(f"{list_of(model)}?q=nothing-of-the-kind").content.decode()
    assert "No row matches." in page
    assert what in unescape(page)
    if model not in {User, Group}:  # there is always one
        model._default_manager.all().delete()
        assert "Nothing here yet." in operator_client.get(list_of(model)).content.decode()
        assert what in unescape(operator_client.get(list_of(model)).content.decode())


def test_a_huge_hub_is_shown_by_the_page(operator_client: Client, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(CountedPaginator, "most", 500)
    few = {}
    for model in (Task, Event, Execution):
        ROWS[model](10)
        few[model] = queries_of(operator_client, list_of(model))
    make_tasks(600)
    make_events(2_000)
    for model, queries in few.items():
        assert queries_of(operator_client, list_of(model)) <= queries
    page = operator_client.get(list_of(Event))
    assert len(page.context["cl"].result_list) == 25
    assert "the first 500 events" in page.content.decode()
    # The last page that is counted, and those that a filter or a search picks.
    for query in ("p=10", "event=execution_event", "q=nothing-of-the-kind", "event=announcement"):
        with CaptureQueriesContext(connection) as queries:
            page = operator_client.get(f"{list_of(Event)}?{query}")
        assert page.status_code == 200
        assert len(queries) <= few[Event] + 2  # a filter by name asks for the newest event, and for older ones
        said = page.context["cl"].result_list
        assert {json.loads(event.data)["event"] for event in said} <= {"execution_event"} or "event=" not in query


# --- Links between rows ------------------------------------------------------------------------------


def page_of(operator_client: Client, row: Model) -> str:
    answer = operator_client.get(f"{list_of(type(row))}{row.pk}/change/")
    assert answer.status_code == 200, answer
    return answer.content.decode()


def test_a_task_leads_to_its_executions_these_to_their_sandbox_and_back(operator_client: Client) -> None:
    task, other = (task_create(actor=SYSTEM, title=title) for title in ("mine", "other"))
    execution = execution_queue(actor=SYSTEM, task_id=task.pk, script="true", sandbox_id="box")
    execution_queue(actor=SYSTEM, task_id=other.pk, script="true", sandbox_id="elsewhere")
    sandbox = Sandbox.objects.create(id="box", state="started", seen_at=timezone.now())
    executions = f"/admin/taskhub/execution/?task__id__exact={task.pk}"
    assert f'<a href="{executions}">1</a>' in page_of(operator_client, task)
    assert list(operator_client.get(executions).context["cl"].result_list) == [execution]
    page = page_of(operator_client, execution)
    assert f"/admin/taskhub/task/{task.pk}/change/" in page
    assert "/admin/sandboxes/sandbox/box/change/" in page
    assert list(operator_client.get("/admin/taskhub/execution/?q=box").context["cl"].result_list) == [execution]
    assert "/admin/taskhub/execution/?sandbox_id__exact=box" in page_of(operator_client, sandbox)


def test_an_execution_leads_to_the_files_it_left(operator_client: Client) -> None:
    task = task_create(actor=SYSTEM, title="t")
    execution = execution_queue(actor=SYSTEM, task_id=task.pk, script="true")
    kept = Artifact.objects.create(execution=execution, path="out/<b>.txt", size=7, stored_as="x")
    page = page_of(operator_client, execution)
    assert f'<a href="/api/exec/artifacts/{task.pk}/{kept.pk}">out/&lt;b&gt;.txt</a> (7 bytes)' in page


def test_audit_entries_and_events_link_to_their_rows(operator_client: Client) -> None:
    task = task_create(actor=SYSTEM, title="mine")
    link = f"/admin/taskhub/task/{task.pk}/change/"
    for row in (AuditEntry.objects.get(), Event.objects.get()):
        assert link in page_of(operator_client, row)
        assert link in operator_client.get(list_of(type(row))).content.decode()
    task.delete()
    answer = operator_client.get(link, follow=True)
    assert "Perhaps it was deleted?" in answer.content.decode()


def test_a_subscription_leads_to_its_sandbox_and_its_account(operator_client: Client, alice: User) -> None:
    row = Subscription.objects.create(
        user=alice, user_name="alice", kind="logs", sandbox_id="box", opened_at=timezone.now()
    )
    page = page_of(operator_client, row)
    assert "/admin/sandboxes/sandbox/box/change/" in page
    assert f"/admin/auth/user/{alice.pk}/change/" in page


def test_the_environment_of_a_script_is_never_shown(operator_client: Client) -> None:
    task = task_create(actor=SYSTEM, title="t")
    execution = execution_queue(actor=SYSTEM, task_id=task.pk, script="true", env={"KEY": "hunter2"})
    assert "hunter2" not in page_of(operator_client, execution)


def test_what_rows_hold_is_text_and_never_markup(operator_client: Client) -> None:
    evil = "<img src=x onerror=alert(1)>"
    task = task_create(actor=SYSTEM, title=evil, assignee=evil, tags=[evil], artifacts=[evil], description=evil)
    execution = execution_queue(actor=SYSTEM, task_id=task.pk, script=evil)
    sandbox = Sandbox.objects.create(id="b<x", name=evil, state=evil, document={"a": evil}, seen_at=timezone.now())
    foreign = Event.objects.create(channel=evil, eid=7, type=evil, data=evil)
    odd = Event.objects.create(channel="tasks", eid=8, type="message", data='{"data": {"task_id": ["<img src=x"]}}')
    rows = [task, execution, foreign, odd, *Event.objects.all(), *AuditEntry.objects.all()]
    for row in rows:
        assert "<img src=x" not in page_of(operator_client, row)
    assert "<img src=x" not in operator_client.get("/admin/sandboxes/sandbox/b_3Cx/change/").content.decode()
    for model in (Task, Execution, Event, AuditEntry, type(sandbox)):
        assert "<img src=x" not in operator_client.get(list_of(model)).content.decode()


def test_streams_of_processes_that_died_are_not_shown(operator_client: Client) -> None:
    make_listeners(1)
    assert len(operator_client.get(list_of(StreamConnection)).context["cl"].result_list) == 1
    StreamProcess.objects.update(reported_at=timezone.now() - timedelta(minutes=1))
    assert len(operator_client.get(list_of(StreamConnection)).context["cl"].result_list) == 0


@pytest.mark.parametrize("query", ["q=%00", "q='", "p=0", "p=x", "o=99", "task__id__exact=x", "nothing=1", "all=x"])
def test_an_odd_query_causes_no_error(operator_client: Client, query: str) -> None:
    make_executions(1)
    assert operator_client.get(f"{list_of(Execution)}?{query}", follow=True).status_code == 200
