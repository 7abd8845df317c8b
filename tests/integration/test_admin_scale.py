"""Pages of lists and the status of events cost the same however many rows are kept: their statements say so.

Timed with 100,000 tasks and 1,000,000 events by `python -m benchmarks admin`; here the statements and SQLite's plans
for them are looked at, and what is found among many rows.
"""

from __future__ import annotations

import re
import uuid
from collections.abc import Iterator
from datetime import timedelta
from typing import Any
from urllib.parse import urlencode

import pytest
from django.contrib import admin
from django.contrib.auth.models import User
from django.db import connection
from django.db.models import Model
from django.test import Client
from django.test.utils import CaptureQueriesContext
from django.utils import timezone
from django_eventstream.models import Event, EventCounter

from taskhub.admin import list_pages
from taskhub.admin.base import HubModelAdmin
from taskhub.events import outbox
from taskhub.events.channels import TASKS
from taskhub.models import Agent, AuditEntry, Claim, Execution, ExecutionStatus, Task, WebhookDelivery, WebhookEndpoint

pytestmark = [pytest.mark.django_db, pytest.mark.sqlite_suffices]
# What SQLite calls back into Python for, once for each row.
PYTHON_FUNCTION = re.compile(r"django_(?!eventstream|session|content_type|admin_log)\w+\(", re.IGNORECASE)
HUGE = (Task, Execution, Event, AuditEntry, WebhookDelivery, Claim)
TABLES = {model._meta.db_table for model in HUGE}
SOME_ID = "00000000-0000-4000-8000-000000000001"
DAY = "2026-11-26"
QUERIES: dict[type[Model], list[str]] = {
    Task: [
        *("status__exact=todo", "assignee=alice", "status__exact=todo&assignee=alice"),
        *("priority__exact=low", "private__exact=1", "tag=a", "last_execution=lost", "tag=a&status__exact=done"),
        *(
            f"created_at_from={DAY}",
            f"created_at_to={DAY}",
            f"created_at_from={DAY}&tag=a",
            f"created_at_to={DAY}&tag=a",
        ),
    ],
    Execution: [
        *("status__exact=lost", f"task__id__exact={SOME_ID}", "sandbox_id__exact=box", "error_code__isempty=0"),
        *(
            f"queued_at_from={DAY}",
            f"queued_at_to={DAY}&error_code__isempty=0",
            f"queued_at_from={DAY}&status__exact=lost",
        ),
    ],
    Event: [
        *("event=announcement", f"created_from={DAY}", f"created_from={DAY}&created_to={DAY}"),
        f"created_to={DAY}&event=announcement",
    ],
    AuditEntry: [
        "door__exact=mcp",
        "action__icontains=task",
        f"at_from={DAY}&at_to={DAY}",
        f"at_to={DAY}&door__exact=mcp",
    ],
    WebhookDelivery: [
        "status__exact=failed",
        "error__isempty=0",
        f"created_at_from={DAY}",
        f"endpoint__id__exact={SOME_ID}",
    ],
    Claim: [
        *("end__exact=lost", "ended_at__isempty=1"),
        *(f"begun_at_from={DAY}&begun_at_to={DAY}", f"begun_at_to={DAY}&end__exact=lost"),
    ],
}
EVERY_LIST = ["", "p=2", "q=nowhere", "q=two+words", f"q={SOME_ID}", "o=1", "o=-2", "_facets=True"]


@pytest.fixture
def client(operator: User) -> Client:
    made = Client()
    made.force_login(operator)
    return made


def address_of(model: type[Model], query: str = "") -> str:
    return f"/admin/{model._meta.app_label}/{model._meta.model_name}/?{query}"


def statements(client: Client, address: str) -> list[str]:
    with CaptureQueriesContext(connection) as queries:
        assert client.get(address).status_code == 200, address
    return [query["sql"] for query in queries]


def plan_of(sql: str) -> list[str]:
    with connection.cursor() as cursor:
        cursor.execute(f"EXPLAIN QUERY PLAN {sql}")
        return [row[-1] for row in cursor.fetchall()]


def names_in(sql: str) -> dict[str, str]:
    """The huge tables of a statement by the name that its plan uses: an alias, or the table's own."""
    found = re.findall(r'"(\w+)"(?: (U\d+|T\d+))?', sql)
    return {alias or table: table for table, alias in found if table in TABLES}


def complaints(sql: str) -> Iterator[str]:
    """Why the statement may cost more with every row that is kept."""
    if PYTHON_FUNCTION.search(sql):
        yield "runs Python for each row"
    huge = names_in(sql)
    if not sql.startswith("SELECT") or not huge:
        return
    if "COUNT(" in sql and "LIMIT 10000" not in sql and "GROUP BY" not in sql:
        yield "counts without a limit"
    plan = plan_of(sql)
    scanned = [step.split()[1] for step in plan if step.startswith("SCAN") and step.split()[1] in huge]
    if not scanned:
        return
    is_sorted = any("TEMP B-TREE FOR ORDER BY" in step for step in plan)
    if is_sorted or "LIMIT" not in sql or " WHERE " in sql.replace("WHERE U0", ""):
        yield f"reads all of {', '.join(scanned)}: {plan}"


@pytest.fixture
def some_rows(monkeypatch: pytest.MonkeyPatch) -> None:
    """More than one page, and more than those among which filters look."""
    monkeypatch.setattr(HubModelAdmin, "list_per_page", 2)
    monkeypatch.setattr(list_pages, "SOUGHT", 3)
    endpoint = WebhookEndpoint.objects.create(url="https://hooks.example/x", sealed_secret="x", cursor=0)
    agent = Agent.objects.create(account="alice", name="robot", last_seen_at=timezone.now())
    make_events(5)
    for n in range(5):
        task = Task.objects.create(title=f"t{n}")
        Claim.objects.create(task=task, agent=agent, token=f"{n}", lease_s=9, expires_at=timezone.now(), attempt=1)
        Execution.objects.create(task=task, timeout_s=1, session_name="s", sandbox_id="b")
        AuditEntry.objects.create(door="rest", action="x:y")
        WebhookDelivery.objects.create(
            endpoint=endpoint, sequence=n, event_type="task_created", next_attempt_at=timezone.now()
        )


@pytest.mark.usefixtures("some_rows")
@pytest.mark.parametrize("model", HUGE, ids=lambda model: model.__name__)
def test_a_list_reads_a_bounded_number_of_rows(client: Client, model: type[Model]) -> None:
    wrong = {
        (query, complaint): sql
        for query in [*EVERY_LIST, *QUERIES[model]]
        for sql in statements(client, address_of(model, query))
        for complaint in complaints(sql)
    }
    assert wrong == {}


@pytest.mark.parametrize(
    ("sql", "complaint"),
    [
        ('SELECT COUNT(*) FROM "taskhub_task"', "counts"),
        ('SELECT "id" FROM "taskhub_task" ORDER BY "holder" LIMIT 50', "reads all"),
        ('SELECT "id" FROM "taskhub_task" WHERE "priority" = \'low\' ORDER BY "created_at" DESC LIMIT 50', "reads all"),
        ('SELECT DISTINCT "endpoint_id" FROM "taskhub_webhookdelivery"', "reads all"),
        ('SELECT django_datetime_trunc("day", "created", \'UTC\', \'UTC\') FROM "django_eventstream_event"', "Python"),
    ],
)
def test_a_statement_that_grows_is_found(sql: str, complaint: str) -> None:
    assert any(complaint in said for said in complaints(sql))


def test_a_statement_that_an_index_serves_is_none() -> None:
    newest = 'SELECT "id" FROM "taskhub_task" ORDER BY "created_at" DESC, "id" DESC LIMIT 50'
    assert list(complaints(newest)) == []


@pytest.mark.parametrize("model", admin.site._registry, ids=lambda model: model.__name__)
def test_the_choices_of_filters_are_not_sought_in_a_large_table(client: Client, model: type[Model]) -> None:
    for sql in statements(client, address_of(model)):
        assert not PYTHON_FUNCTION.search(sql), sql
        if "DISTINCT" in sql:
            # Of accounts, and the states of sandboxes that were watched lately.
            assert model.__name__ in {"ApiToken", "Sandbox"}, sql


@pytest.mark.parametrize("query", ["", "last=day"])
def test_the_dashboard_reads_the_rows_of_its_window_alone(client: Client, query: str) -> None:
    wrong = [
        (complaint, sql)
        for sql in statements(client, f"/admin/?{query}")
        for complaint in complaints(sql)
        # Of what runs and waits, and of a window of time: an index leads there.
        if "counts" not in complaint
    ]
    assert wrong == []


# --- What is found among many rows --------------------------------------------------------------------


def make_events(count: int) -> None:
    body = '{{"id":"{}","event":"task_created","data":{{}}}}'
    Event.objects.bulk_create(
        Event(channel=TASKS, type="message", data=body.format(uuid.uuid4()), eid=n) for n in range(1, count + 1)
    )


def shown(client: Client, model: type[Model], query: str) -> tuple[list[Any], str]:
    page = client.get(address_of(model, query))
    assert page.status_code == 200
    return [row.pk for row in page.context["cl"].result_list], page.content.decode()


def test_filters_without_an_index_look_among_the_newest_rows(client: Client, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(list_pages, "SOUGHT", 5)
    make_events(8)
    every = list(Event.objects.order_by("-id").values_list("pk", flat=True))
    assert shown(client, Event, "")[0] == every
    found, page = shown(client, Event, "event=task_created")
    assert found == every[:5]
    assert "look among the newest" in page
    Event.objects.filter(pk=every[6]).update(created=timezone.now() - timedelta(days=3))
    day = (timezone.now() - timedelta(days=3)).date()
    assert shown(client, Event, f"event=task_created&created_to={day}")[0] == [every[6], every[7]]


def test_tasks_are_sought_among_the_newest_unless_an_index_serves(
    client: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(list_pages, "SOUGHT", 3)
    tasks = [Task.objects.create(title=f"t{n}", tags=["a"], assignee="alice", priority="low") for n in range(5)]
    newest = [task.pk for task in reversed(tasks)]
    assert shown(client, Task, "tag=a")[0] == newest[:3]
    assert shown(client, Task, "q=t0")[0] == []
    assert shown(client, Task, f"q={newest[-1]}")[0] == newest[-1:]
    for query in ("assignee=alice", "status__exact=todo"):
        found, page = shown(client, Task, query)
        assert found == newest
        assert "look among the newest" not in page


@pytest.mark.parametrize("tag", ["a", "ü", 'a"b', "a\\b", "\x7f\n", "日本 🙂"])
def test_a_tag_is_found_however_json_spells_it(client: Client, tag: str) -> None:
    task = Task.objects.create(title="t", tags=["a b", tag])
    Task.objects.create(title="t", tags=[f"{tag}x"])
    assert shown(client, Task, urlencode({"tag": tag}))[0] == [task.pk]


def test_what_is_sought_is_paged_through(client: Client, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(list_pages, "FOUND_LIMIT", 120)
    make_events(130)
    every = list(Event.objects.order_by("-id").values_list("pk", flat=True))
    pages = [shown(client, Event, f"event=task_created&p={n}") for n in (1, 2, 5)]
    assert [found for found, _ in pages] == [every[:25], every[25:50], every[100:120]]
    assert "the first 120 events" in pages[0][1]
    assert client.get(address_of(Event, "event=task_created&p=6")).status_code == 302  # back to the list


def test_a_day_holds_its_first_and_last_moment(client: Client) -> None:
    make_events(4)
    keys = list(Event.objects.order_by("id").values_list("pk", flat=True))
    midnight = timezone.localtime().replace(hour=0, minute=0, second=0, microsecond=0) - timedelta(days=2)
    moments = [midnight - timedelta(microseconds=1), midnight, midnight + timedelta(days=1, microseconds=-1)]
    for key, moment in zip(keys, [*moments, midnight + timedelta(days=1)], strict=True):
        Event.objects.filter(pk=key).update(created=moment)
    day = midnight.date()
    assert shown(client, Event, f"created_from={day}&created_to={day}")[0] == [keys[2], keys[1]]
    assert shown(client, Event, f"created_to={day - timedelta(days=9)}")[0] == []
    assert shown(client, Event, f"created_from={day + timedelta(days=9)}")[0] == []


@pytest.mark.parametrize(
    "bad", ["created_from=x", "created_to=%00", "created_to=9999-12-31", "created_from=2026-13-01"]
)
def test_a_day_that_is_none_filters_nothing(client: Client, bad: str) -> None:
    make_events(1)
    assert len(shown(client, Event, bad)[0]) == 1


def test_deliveries_and_entries_are_found_by_ids_and_text(client: Client) -> None:
    endpoint = WebhookEndpoint.objects.create(url="https://hooks.example/x", sealed_secret="x", cursor=0)
    delivery = WebhookDelivery.objects.create(
        endpoint=endpoint,
        sequence=1,
        event_type="task_created",
        event_id=str(uuid.uuid4()),
        task_id=uuid.uuid4(),
        error="refused",
        next_attempt_at=timezone.now(),
    )
    for query in (delivery.pk, delivery.event_id, delivery.task_id, "task_cr", "refused"):
        assert shown(client, WebhookDelivery, f"q={query}")[0] == [delivery.pk]
    entry = AuditEntry.objects.create(
        actor_name="alice", door="rest", action="x:y", task_id=uuid.uuid4(), token_name="nightly"
    )
    other = AuditEntry.objects.create(door="rest", action="x:y", execution_id=uuid.uuid4(), sandbox_id="box-1")
    for query in (entry.task_id, "alice", "nightly"):
        assert shown(client, AuditEntry, f"q={query}")[0] == [entry.pk]
    for query in (other.execution_id, "box-1"):
        assert shown(client, AuditEntry, f"q={query}")[0] == [other.pk]
    task = Task.objects.create(title="Größe", assignee="bob")
    execution = Execution.objects.create(
        task=task, timeout_s=1, session_name="s", sandbox_id="box-7", status=ExecutionStatus.LOST
    )
    for query in (task.pk, execution.pk, "größe", "box-7"):
        assert shown(client, Execution, f"q={query}")[0] == [execution.pk]
    for query in (task.pk, "GRÖSSE", "bob"):
        assert shown(client, Task, f"q={query}")[0] == [task.pk]
    agent = Agent.objects.create(account="carol", name="robot", last_seen_at=timezone.now())
    claim = Claim.objects.create(task=task, agent=agent, token="x", lease_s=9, expires_at=timezone.now(), attempt=1)
    for query in (task.pk, "größe", "carol", "robot"):
        assert shown(client, Claim, f"q={query}")[0] == [claim.pk]
    assert shown(client, Claim, f"q={execution.pk}")[0] == []


# --- The status of events -----------------------------------------------------------------------------


def test_the_status_of_events_counts_nothing(client: Client) -> None:
    asked = statements(client, "/api/events/status")
    assert not [sql for sql in asked if "COUNT(" in sql]
    assert not [complaint for sql in asked for complaint in complaints(sql)]


def test_the_rate_of_events_reads_the_latest_ones_alone() -> None:
    with CaptureQueriesContext(connection) as queries:
        outbox.read_rate(TASKS)
    (sql,) = [query["sql"] for query in queries if "eventcounter" not in query["sql"]]
    plan = " ".join(plan_of(sql))
    assert "created" in plan, plan
    assert "SCAN" not in plan, plan
    assert "B-TREE" not in plan, plan  # nothing is sorted
    assert "LIMIT 1" in sql


def test_the_rate_of_events_is_that_of_the_last_minute() -> None:
    assert outbox.read_rate(TASKS) == 0.0
    now = timezone.now()
    Event.objects.bulk_create(Event(channel=TASKS, type="message", data="{}", eid=n) for n in range(1, 301))
    EventCounter.objects.update_or_create(name=TASKS, defaults={"value": 300})
    assert outbox.read_rate(TASKS) == 5.0
    Event.objects.filter(eid__lte=240).update(created=now - timedelta(seconds=90))
    assert outbox.read_rate(TASKS) == 1.0
    Event.objects.update(created=now - timedelta(seconds=90))
    assert outbox.read_rate(TASKS) == 0.0
