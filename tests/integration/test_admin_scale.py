"""Pages of lists and the status of events cost the same however many rows are kept: their statements say so.

Timed once by hand with 100,000 tasks and 1,000,000 events; here the statements and SQLite's plans are looked at.
"""

from __future__ import annotations

import re
from datetime import timedelta

import pytest
from django.contrib import admin
from django.contrib.auth.models import User
from django.db import connection
from django.db.models import Model
from django.test import Client
from django.test.utils import CaptureQueriesContext
from django.utils import timezone
from django_eventstream.models import Event, EventCounter

from taskhub.admin.events import SOUGHT
from taskhub.events import outbox
from taskhub.events.channels import TASKS

pytestmark = [pytest.mark.django_db, pytest.mark.sqlite_suffices]
# What SQLite calls back into Python for, once for each row.
PYTHON_FUNCTION = re.compile(r"django_\w*(?:trunc|cast|extract)\w*\(", re.IGNORECASE)


@pytest.fixture
def client(operator: User) -> Client:
    made = Client()
    made.force_login(operator)
    return made


def statements(client: Client, address: str) -> list[str]:
    with CaptureQueriesContext(connection) as queries:
        assert client.get(address).status_code == 200
    return [query["sql"] for query in queries]


@pytest.mark.parametrize("model", admin.site._registry, ids=lambda model: model.__name__)
def test_a_list_counts_a_bounded_number_of_rows_and_runs_no_python_on_each(client: Client, model: type[Model]) -> None:
    for sql in statements(client, f"/admin/{model._meta.app_label}/{model._meta.model_name}/"):
        assert not PYTHON_FUNCTION.search(sql), sql
        if sql.startswith("SELECT COUNT("):
            assert "LIMIT 10000" in sql, sql
        if "DISTINCT" in sql:
            # Of accounts, endpoints, and the states of sandboxes that were watched lately.
            assert model.__name__ in {"ApiToken", "WebhookDelivery", "Sandbox"}, sql


def test_events_are_sought_by_name_among_the_newest(client: Client) -> None:
    Event.objects.create(channel=TASKS, type="message", data="{}", eid=1)
    newest = Event.objects.get().pk
    counted = [
        sql
        for sql in statements(client, "/admin/django_eventstream/event/?event=announcement")
        if "substr" in sql.lower()
    ]
    assert counted
    for sql in counted:
        assert f'"id" > {newest - SOUGHT}' in sql


def test_the_rate_of_events_reads_the_latest_ones_alone() -> None:
    with CaptureQueriesContext(connection) as queries:
        outbox.read_rate(TASKS)
    (sql,) = [query["sql"] for query in queries if "eventcounter" not in query["sql"]]
    with connection.cursor() as cursor:
        cursor.execute(f"EXPLAIN QUERY PLAN {sql}")
        plan = " ".join(row[-1] for row in cursor.fetchall())
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
