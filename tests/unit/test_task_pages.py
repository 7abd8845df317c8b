"""Pages of tasks that are read in parts: they hold what the whole list holds, in its order, in both directions."""

from __future__ import annotations

import random
from typing import Any

import pytest
from django.contrib.auth.models import User
from django.test import Client

from taskhub.models import Task, TaskPriority, TaskStatus

pytestmark = pytest.mark.django_db
RANKS = {name: rank for rank, name in enumerate(TaskPriority.values)}
FILTERS: dict[str, dict[str, list[str]]] = {
    "": {},
    "status=todo": {"status": ["todo"]},
    "status=todo&status=done": {"status": ["todo", "done"]},
    "priority=high": {"priority": ["high"]},
    "priority=low&priority=high": {"priority": ["low", "high"]},
    "status=review&priority=medium": {"status": ["review"], "priority": ["medium"]},
}
ORDERS = [f"{sign}{name}" for name in ("created_at", "updated_at", "title", "status", "priority") for sign in ("", "-")]
PAGES_MOST = 20
ORDERS += ["", "priority,title", "-status,-priority", "-priority,status,updated_at"]


@pytest.fixture
def tasks(operator: User) -> list[Task]:
    """Few titles and ranks, so that many rows are equal in them; of one status there are few."""
    chance = random.Random(20261128)
    statuses = ["todo"] * 12 + ["inprogress"] * 12 + ["done"] * 12 + ["review"]
    Task.objects.bulk_create(
        Task(title=chance.choice("abc"), status=chance.choice(statuses), priority=chance.choice(TaskPriority.values))
        for _ in range(40)
    )
    for task in Task.objects.all():  # some were changed at the same time
        Task.objects.filter(pk=task.pk).update(updated_at=task.created_at.replace(microsecond=chance.randrange(4)))
    return list(Task.objects.all())


@pytest.fixture
def client(operator: User) -> Client:
    made = Client()
    made.force_login(operator)
    return made


def wanted(tasks: list[Task], filters: dict[str, list[str]], ordering: str) -> list[str]:
    """By Python's own sort, the last key first."""
    rows = [task for task in tasks if all(getattr(task, name) in given for name, given in filters.items())]
    keys = [key for key in ordering.split(",") if key]
    for key in reversed([*keys, "-created_at", "-id"]):
        name = key.lstrip("-")
        rows.sort(
            key=lambda task, name=name: RANKS[task.priority] if name == "priority" else getattr(task, name),  # type: ignore[misc]
            reverse=key.startswith("-"),
        )
    return [str(task.pk) for task in rows]


def walk(client: Client, address: str | None, way: str) -> list[dict[str, Any]]:
    pages = []
    while address:
        pages.append(client.get(address).json())
        address = pages[-1][way]
        assert len(pages) < PAGES_MOST, "the pages have no end"
    return pages


@pytest.mark.parametrize("filters", FILTERS)
def test_pages_in_parts_hold_the_whole_list_in_its_order(client: Client, tasks: list[Task], filters: str) -> None:
    for ordering in ORDERS:
        pages = walk(client, f"/api/tasks/?page_size=9&{filters}&ordering={ordering}", "next")
        found = [row["id"] for page in pages for row in page["results"]]
        assert found == wanted(tasks, FILTERS[filters], ordering), ordering
        if len(pages) > 1:
            back = walk(client, pages[-1]["previous"], "previous")
            assert [page["results"] for page in reversed(back)] == [page["results"] for page in pages[:-1]], ordering


def test_every_status_is_part_of_a_list(client: Client) -> None:
    """A part that was left out would hide its tasks."""
    for status in TaskStatus.values:
        Task.objects.create(title=status, status=status)
    for ordering in ("title", "-priority", "updated_at", "status"):
        shown = client.get(f"/api/tasks/?ordering={ordering}").json()["results"]
        assert {row["status"] for row in shown} == set(TaskStatus.values)
