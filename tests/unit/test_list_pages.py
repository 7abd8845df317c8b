"""Keyset pages of every list but the tasks': rows with equal keys, and others that come and go meanwhile."""

from __future__ import annotations

import uuid
from collections.abc import Callable
from typing import Any

import pytest
from django.contrib.auth.models import User
from django.db.models import Model
from django.urls import get_resolver
from django.utils import timezone
from rest_framework.generics import GenericAPIView
from rest_framework.test import APIClient

from sandboxes.models import Subscription, Watching
from taskhub.api.pagination import KeysetPages
from taskhub.models import (
    Agent,
    Announcement,
    AuditEntry,
    Environment,
    EnvironmentVersion,
    Execution,
    ExecutionStatus,
    Note,
    NoteKind,
    StreamProcess,
    Task,
    WebhookDelivery,
    WebhookEndpoint,
)

pytestmark = pytest.mark.django_db
COUNT, SIZE = 23, 5
NOW = timezone.now()
TASK, ENDPOINT = uuid.UUID(int=1), uuid.UUID(int=2)


def executions() -> list[Model]:
    task, _ = Task.objects.get_or_create(pk=TASK, title="t")
    made = {"task": task, "status": ExecutionStatus.COMPLETED, "script": "true", "timeout_s": 1}
    rows = Execution.objects.bulk_create(Execution(**made) for _ in range(COUNT))
    Execution.objects.update(queued_at=NOW)
    return list(rows)


def history() -> list[Model]:
    Task.objects.get_or_create(pk=TASK, title="t")
    return list(AuditEntry.objects.bulk_create(AuditEntry(task_id=TASK, action="task:update") for _ in range(COUNT)))


def notes() -> list[Model]:
    Task.objects.get_or_create(pk=TASK, title="t")
    rows = Note.objects.bulk_create(Note(task_id=TASK, kind=NoteKind.NOTE, text="n") for _ in range(COUNT))
    Note.objects.update(at=NOW)
    return list(rows)


def announcements() -> list[Model]:
    rows = Announcement.objects.bulk_create(Announcement(text="t") for _ in range(COUNT))
    Announcement.objects.update(created_at=NOW)
    return list(rows)


def webhooks() -> list[Model]:
    made = {"url": "https://example.com/", "sealed_secret": "x", "cursor": 0}
    rows = WebhookEndpoint.objects.bulk_create(WebhookEndpoint(**made) for _ in range(COUNT))
    WebhookEndpoint.objects.update(created_at=NOW)
    return list(rows)


def deliveries() -> list[Model]:
    endpoint, _ = WebhookEndpoint.objects.get_or_create(pk=ENDPOINT, url="https://example.com/", cursor=0)
    made = {"endpoint": endpoint, "event_type": "task_created", "body": "{}", "next_attempt_at": NOW}
    rows = WebhookDelivery.objects.bulk_create(WebhookDelivery(**made) for _ in range(COUNT))
    WebhookDelivery.objects.update(created_at=NOW)
    return list(rows)


def subscriptions() -> list[Model]:
    StreamProcess.objects.get_or_create(name="p", defaults={"reported_at": timezone.now(), "report": {}})
    made = {"kind": Watching.STATUS, "sandbox_id": "b", "process": "p", "opened_at": NOW}
    return list(Subscription.objects.bulk_create(Subscription(**made) for _ in range(COUNT)))


def environments() -> list[Model]:
    rows = Environment.objects.bulk_create(Environment(name=f"e{n}") for n in range(COUNT))
    EnvironmentVersion.objects.bulk_create(
        EnvironmentVersion(environment=row, name=row.name, number=1, document={}) for row in rows
    )
    Environment.objects.update(created_at=NOW)
    return list(rows)


def agents() -> list[Model]:
    return list(
        Agent.objects.bulk_create(Agent(account="a", name=f"agent {n}", last_seen_at=NOW) for n in range(COUNT))
    )


LISTS: dict[str, Callable[[], list[Model]]] = {
    "/api/executions/": executions,
    f"/api/tasks/{TASK}/executions/": executions,
    f"/api/tasks/{TASK}/history/": history,
    f"/api/tasks/{TASK}/notes/": notes,
    "/api/announcements/": announcements,
    "/api/webhooks/": webhooks,
    f"/api/webhooks/{ENDPOINT}/deliveries/": deliveries,
    "/api/subscriptions/": subscriptions,
    "/api/environments/": environments,
    "/api/agents/": agents,
}


@pytest.fixture
def client(operator: User) -> APIClient:
    made = APIClient()
    made.force_login(operator)
    return made


def remove(model: type[Model], pk: str) -> None:
    if model is Environment:
        EnvironmentVersion.objects.filter(environment=pk).delete()
    model._default_manager.filter(pk=pk).delete()


def id_of(row: dict[str, Any]) -> str:
    return str(row.get("id") or row["execution_id"])


@pytest.mark.parametrize("address", LISTS)
def test_pages_hold_each_row_once_while_others_come_and_go(client: APIClient, address: str) -> None:
    rows = LISTS[address]()
    seen: list[str] = []
    place: str | None = f"{address}?page_size={SIZE}"
    while place:
        page = client.get(place).json()
        assert len(page["results"]) <= SIZE
        seen += [id_of(row) for row in page["results"]]
        # The row that the cursor stands behind goes, and newer ones come.
        remove(type(rows[0]), seen[-1])
        place = page["next"]
        if len(seen) == SIZE:
            assert client.get(page["next"]).json()["previous"]
    assert len(seen) == len(set(seen))
    assert set(seen) == {str(row.pk) for row in rows}


def test_every_list_is_here_and_ends_its_order_in_the_unique_key() -> None:
    views = {
        getattr(pattern.callback, "cls", None)
        for resolver in get_resolver().url_patterns
        for pattern in getattr(resolver, "url_patterns", ())
    }
    lists = {view for view in views if isinstance(view, type) and issubclass(view, GenericAPIView)}
    paged = {view for view in lists if issubclass(view.pagination_class or object, KeysetPages)}
    assert {view.__name__ for view in paged} == {
        *("TaskViewSet", "ExecutionsView", "TaskExecutionsView", "TaskHistoryView", "AnnouncementsViewSet"),
        *("WebhooksViewSet", "WebhookDeliveriesView", "SubscriptionsView", "TaskNotesView"),
        *("EnvironmentsViewSet", "TaskCardsView", "AgentsView"),
    }
    for view in paged:
        assert view.pagination_class.ordering[-1] == "-id"
