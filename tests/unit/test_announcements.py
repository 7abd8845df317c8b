"""Announcements: who may make them, what they say over REST, in the admin and on the stream, and when they end."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from datetime import timedelta
from typing import Any

import pytest
from asgiref.sync import sync_to_async
from django.contrib.auth.models import User
from django.db import connections
from django.test import Client
from django.utils import timezone
from django_eventstream.models import Event
from rest_framework.test import APIClient

from taskhub.auth.actor import SYSTEM
from taskhub.events.announcements import announced
from taskhub.events.feed import Reader
from taskhub.events.filters import Filters
from taskhub.events.frames import read_frame
from taskhub.events.hub import Hub
from taskhub.models import Announcement, ApiToken, AuditEntry
from taskhub.services import announcements
from taskhub.services.tasks import task_create

pytestmark = pytest.mark.django_db(transaction=True)

ADDRESS = "/api/announcements/"


@pytest.fixture
def as_operator(operator: User) -> APIClient:
    client = APIClient()
    client.credentials(HTTP_AUTHORIZATION=f"Bearer {ApiToken.objects.create(user=operator)[1]}")
    return client


def make(text: str = "t", level: str = "info", **fields: Any) -> Announcement:
    return announcements.announcement_create(actor=SYSTEM, text=text, level=level, **fields)


def over(announcement: Announcement) -> None:
    """Its end comes."""
    Announcement.objects.filter(pk=announcement.pk).update(ends_at=timezone.now() - timedelta(seconds=1))


def told() -> list[dict[str, Any]]:
    return [json.loads(text)["data"] for text in Event.objects.order_by("eid").values_list("data", flat=True)]


# --- REST --------------------------------------------------------------------------------------------


def test_an_operator_announces_and_withdraws(as_operator: APIClient, anonymous: APIClient) -> None:
    ends_at = timezone.now() + timedelta(hours=1)
    sent = {"level": "warning", "text": "Maintenance at six.", "ends_at": ends_at.isoformat()}
    answer = as_operator.post(ADDRESS, sent, format="json")
    assert answer.status_code == 201
    made = answer.json()
    assert {name: made[name] for name in ("level", "text", "made_by", "withdrawn_at")} == {
        "level": "warning",
        "text": "Maintenance at six.",
        "made_by": "operator",
        "withdrawn_at": None,
    }
    assert anonymous.get(ADDRESS).json()["results"] == [made]
    assert as_operator.delete(f"{ADDRESS}{made['id']}/").status_code == 204
    assert anonymous.get(ADDRESS).json()["results"] == []
    first, second = told()
    assert first["ends_at"] is not None
    assert (first["withdrawn"], second["withdrawn"]) == (False, True)
    assert first["announcement_id"] == second["announcement_id"] == made["id"]
    entries = AuditEntry.objects.order_by("id").values_list("action", "door", "actor_name", "subject")
    subject = f"announcement:{made['id']}"
    assert list(entries) == [
        ("announcement:create", "rest", "operator", subject),
        ("announcement:withdraw", "rest", "operator", subject),
    ]


def test_expired_announcements_are_listed_for_operators(
    as_operator: APIClient, api: APIClient, anonymous: APIClient
) -> None:
    over(make("past"))
    announcements.announcement_withdraw(actor=SYSTEM, announcement_id=make("withdrawn").pk)
    make("present")

    def texts(client: APIClient, query: str = "") -> list[str]:
        return [found["text"] for found in client.get(ADDRESS + query).json()["results"]]

    assert texts(as_operator) == texts(api) == texts(anonymous) == texts(api, "?all=0") == ["present"]
    assert texts(as_operator, "?all=1") == ["present", "withdrawn", "past"]
    for client in (api, anonymous):
        assert client.get(f"{ADDRESS}?all=1").status_code == 403
    for wrong in ("perhaps", ""):
        assert as_operator.get(f"{ADDRESS}?all={wrong}").status_code == 400


@pytest.mark.parametrize(
    ("body", "field"),
    [
        ({"level": "info"}, "text"),
        ({"level": "info", "text": "  "}, "text"),
        ({"level": "info", "text": "x" * 1001}, "text"),
        ({"level": "loud", "text": "t"}, "level"),
        ({"text": "t"}, "level"),
        ({"level": "info", "text": "t", "ends_at": "soon"}, "ends_at"),
        ({"level": "info", "text": "t", "colour": "red"}, "colour"),
    ],
)
def test_a_wrong_one_is_named(as_operator: APIClient, body: dict[str, Any], field: str) -> None:
    answer = as_operator.post(ADDRESS, body, format="json")
    assert answer.status_code == 400
    assert field in answer.json()["error"]["details"]
    assert not Announcement.objects.exists()


def test_an_announcement_that_has_expired_is_refused(as_operator: APIClient) -> None:
    body = {"level": "info", "text": "t", "ends_at": "2020-01-01T00:00:00Z"}
    answer = as_operator.post(ADDRESS, body, format="json")
    assert (answer.status_code, answer.json()["error"]["code"]) == (409, "announcement_over")
    assert not Announcement.objects.exists()


def test_only_current_announcements_are_withdrawn(as_operator: APIClient) -> None:
    made = make()
    address = f"{ADDRESS}{made.pk}"
    assert [as_operator.delete(address).status_code for _ in range(2)] == [204, 409]
    ended = make()
    over(ended)
    answer = as_operator.delete(f"{ADDRESS}{ended.pk}")
    assert (answer.status_code, answer.json()["error"]["code"]) == (409, "announcement_over")
    unknown = as_operator.delete(f"{ADDRESS}0f0f0f0f-0f0f-4f0f-8f0f-0f0f0f0f0f0f")
    assert (unknown.status_code, unknown.json()["error"]["code"]) == (404, "announcement_not_found")
    assert len(told()) == 3


def test_current_announcements_are_limited(as_operator: APIClient) -> None:
    made = [make() for _ in range(announcements.CURRENT_LIMIT)]
    body = {"level": "info", "text": "one more"}
    answer = as_operator.post(ADDRESS, body, format="json")
    assert (answer.status_code, answer.json()["error"]["code"]) == (409, "too_many_announcements")
    over(made[0])
    assert as_operator.post(ADDRESS, body, format="json").status_code == 201


def test_the_name_outlives_the_account(as_operator: APIClient, operator: User, anonymous: APIClient) -> None:
    as_operator.post(ADDRESS, {"level": "info", "text": "t"}, format="json")
    operator.delete()
    assert [found["made_by"] for found in anonymous.get(ADDRESS).json()["results"]] == ["operator"]


# --- The admin ---------------------------------------------------------------------------------------


def test_the_admin_creates_and_withdraws_through_the_services(operator: User) -> None:
    client = Client()
    client.force_login(operator)
    add = "/admin/taskhub/announcement/add/"
    assert client.post(add, {"level": "critical", "text": "Down."}).status_code == 302
    made = Announcement.objects.get()
    assert (made.made_by_name, told()[0]["text"]) == ("operator", "Down.")
    page = f"/admin/taskhub/announcement/{made.pk}/change/"
    assert "Down." in client.get(page).content.decode()
    assert client.post(page, {"level": "info", "text": "Up."}).status_code == 403
    assert client.post(f"/admin/taskhub/announcement/{made.pk}/delete/", {"post": "yes"}).status_code == 403
    body = {"action": "withdraw", "_selected_action": [str(made.pk)]}
    for _ in range(2):
        assert client.post("/admin/taskhub/announcement/", body).status_code == 302
    assert "has ended" in client.get("/admin/taskhub/announcement/").content.decode()
    assert [data["withdrawn"] for data in told()] == [False, True]
    assert set(AuditEntry.objects.values_list("door", flat=True)) == {"admin"}


def test_the_admin_says_what_the_service_refuses(operator: User) -> None:
    client = Client()
    client.force_login(operator)
    body = {"level": "info", "text": "t", "ends_at_0": "2020-01-01", "ends_at_1": "00:00"}
    answer = client.post("/admin/taskhub/announcement/add/", body, follow=True)
    assert "ends_at has passed; send a later time." in answer.content.decode()
    assert not Announcement.objects.exists()


# --- The stream --------------------------------------------------------------------------------------


@pytest.fixture
async def hub() -> AsyncIterator[Hub]:
    made = Hub()
    yield made
    await made.close()
    await sync_to_async(connections.close_all)()


async def test_clients_receive_current_announcements_without_a_query(hub: Hub, monkeypatch) -> None:
    first = await sync_to_async(make)("first")
    await sync_to_async(over)(await sync_to_async(make)("past"))
    feed = await hub.feed("tasks")
    assert [one.text for one in feed.announcements()] == ["first"]
    second = await sync_to_async(make)("second", ends_at=timezone.now() + timedelta(hours=1))
    await feed.catch_up(feed.head + 1)
    assert [one.text for one in feed.announcements()] == ["second", "first"]
    await sync_to_async(announcements.announcement_withdraw)(actor=SYSTEM, announcement_id=first.pk)
    await feed.catch_up(feed.head + 1)

    async def refuse(*_: Any) -> None:
        raise AssertionError("a query")

    monkeypatch.setattr(hub.reader, "run", refuse)
    assert await hub.feed("tasks") is feed
    assert feed.announcements() == [announced(second)]
    monkeypatch.setattr("taskhub.events.announcements.timezone.now", lambda: second.ends_at)
    assert feed.announcements() == []
    monkeypatch.undo()


async def test_what_a_feed_missed_is_read_again(hub: Hub) -> None:
    feed = await hub.feed("tasks")
    await sync_to_async(make)("not heard of")
    await sync_to_async(Event.objects.all().delete)()
    await feed.catch_up(1)
    assert [one.text for one in feed.announcements()] == ["not heard of"]


async def test_task_and_assignee_filters_do_not_filter_announcements(hub: Hub) -> None:
    feed = await hub.feed("tasks")
    task = await sync_to_async(task_create)(actor=SYSTEM, title="secret", assignee="bob", private=True)
    await sync_to_async(make)("hello")
    wanted = [
        Filters(task_id="0f0f0f0f-0f0f-4f0f-8f0f-0f0f0f0f0f0f"),
        Filters(assignee="alice", viewer="alice"),
        Filters(types=frozenset({"announcement"}), viewer=""),
    ]
    for filters in wanted:
        async with asyncio.timeout(10):
            piece = await anext(feed.follow(0, filters))
        assert "hello" in piece.decode()
        assert str(task.pk) not in piece.decode()
    frames = await feed._frames_after(Reader(0))
    assert [Filters(types=frozenset({"task_created"})).wants(frame) for frame in frames] == [True, False]


def test_a_foreign_event_of_that_name_is_no_announcement() -> None:
    frame = read_frame("tasks", 1, "message", json.dumps({"event": "announcement", "data": {"text": 5}}))
    assert frame.announced is None
