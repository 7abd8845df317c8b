"""Lists of tasks are served by indexes: searches find what each row holds, and plans neither scan nor sort."""

from __future__ import annotations

import random
from importlib import import_module
from types import SimpleNamespace
from typing import Any

import pytest
from django.contrib.auth.models import User
from django.core.management import call_command
from django.db import connection, transaction
from django.test import Client
from django.test.utils import CaptureQueriesContext

from taskhub.auth.actor import SYSTEM
from taskhub.checks import searches_have_an_index
from taskhub.lib.text_folding import fold
from taskhub.models import Execution, ExecutionKind, Note, NoteKind, Task, search_index
from taskhub.models.task import folded_text
from taskhub.selectors import found_tasks
from taskhub.selectors.tasks import tasks_containing, tasks_tagged
from taskhub.services.execution_rows import execution_create

LETTERS = "aaabbcé%_\\\"'-ß 日🙂İ*(:^\x1f"
TAGS = ["a", "ab", "ü", 'a"b', "a\\b", "c,d", "日本 🙂", "%", "abcabc"]
ORDERS = [f"{sign}{name}" for name in ("created_at", "updated_at", "title", "status", "priority") for sign in ("", "-")]
SERVED = [
    *(f"status=todo&ordering={order}" for order in ORDERS),
    *("", "assignee=alice", "assignee=nobody", "created_by=alice", "priority=high", "private=true", "ready=true"),
    *("waiting_for=person", "waiting_for=answer", "waiting_for=review"),
    *("ordering=updated_at", "ordering=-updated_at", "ordering=title"),
    *("ordering=status", "ordering=-status", "ordering=priority", "ordering=-priority"),
]
LOOKED_UP = [
    *("q=word", "q=%25%5F%22x", "tags=a", "tags=abc", "waiting_for=any", "waiting_for=person&waiting_for=review"),
    *("updated_since=2026-11-28T00:00:00Z", "last_execution=lost"),
]
"""Of these the ids of the hits are read first. So few rows are sorted."""


@pytest.fixture
def client(operator: User) -> Client:
    made = Client()
    made.force_login(operator)
    return made


def some_text(chance: random.Random, most: int) -> str:
    return "".join(chance.choices(LETTERS, k=chance.randrange(most)))


def make_tasks(chance: random.Random, count: int) -> None:
    Task.objects.bulk_create(
        Task(
            title=f"t{some_text(chance, 12)}",
            description=some_text(chance, 40),
            tags=chance.sample(TAGS, chance.randrange(4)),
        )
        for _ in range(count)
    )


def assert_all_found(chance: random.Random) -> None:
    tasks = list(Task.objects.all())
    words = [some_text(chance, 7) for _ in range(60)] + [task.title[1:6] for task in tasks[:40]]
    for word in [*words, "\\", "%", "_%_", '"""', "ABC", "É"]:
        wanted = {task.pk for task in tasks if fold(word) in folded_text(task.title, task.description)}
        assert {task.pk for task in tasks_containing(Task.objects.all(), word)} == wanted, repr(word)
    for tag in TAGS:
        wanted = {task.pk for task in tasks if tag in task.tags}
        if tag == "c,d":
            wanted |= {task.pk for task in tasks if {"c", "d"} <= set(task.tags)}
        assert {task.pk for task in tasks_tagged(Task.objects.all(), [tag])} == wanted, tag


@pytest.mark.django_db
@pytest.mark.parametrize("few", [3, found_tasks.FEW])
def test_searches_find_what_a_look_at_each_row_finds(monkeypatch: pytest.MonkeyPatch, few: int) -> None:
    monkeypatch.setattr(found_tasks, "FEW", few)
    chance = random.Random(20261128)
    make_tasks(chance, 150)
    assert_all_found(chance)
    for task in Task.objects.order_by("id")[:60]:
        task.title, task.tags = f"u{some_text(chance, 12)}", chance.sample(TAGS, 2)
        task.save()
    Task.objects.filter(pk__in=list(Task.objects.order_by("-id").values_list("pk", flat=True)[:40])).delete()
    Task.objects.order_by("id").update(version=7)
    make_tasks(chance, 20)
    assert_all_found(chance)


@pytest.mark.django_db
def test_what_is_found_by_the_index_alone() -> None:
    """One of many rows: the statements name it by its id."""
    Task.objects.bulk_create(Task(title=f"some {n}") for n in range(20))
    wanted = Task.objects.create(title="Überprüfung 50% \\o/", tags=["x"])
    with CaptureQueriesContext(connection) as queries:
        for text in ("ÜBERPRÜF", "prufung 50%", "% \\o/", "\\o/"):
            assert list(tasks_containing(Task.objects.all(), text)) == [wanted]
        assert list(tasks_tagged(Task.objects.all(), ["x"])) == [wanted]
    read = [query["sql"] for query in queries if "ORDER BY" in query["sql"]]
    assert len(read) == 5
    assert all(wanted.pk.hex in sql.replace("-", "") for sql in read)


def executed(task: Task, *statuses: str) -> None:
    """The last one is that of the newest run."""
    for n, status in enumerate(statuses, 1):
        Execution.objects.create(
            task=task, timeout_s=1, session_name="s", status=status, script="true", newest=n == len(statuses)
        )


def test_a_last_execution_is_found_among_many_that_were_run_again(
    client: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(found_tasks, "FEW", 3)
    for n in range(9):
        executed(Task.objects.create(title=f"again {n}"), "lost", "completed")
    wanted = Task.objects.create(title="wanted")
    executed(wanted, "completed", "lost")
    with CaptureQueriesContext(connection) as queries:
        shown = client.get("/api/tasks/?last_execution=lost").json()["results"]
    assert [row["id"] for row in shown] == [str(wanted.pk)]
    assert wanted.pk.hex in queries[-1]["sql"].replace("-", "")


@pytest.mark.django_db
def test_a_run_takes_the_mark_of_the_newest_from_those_before_it() -> None:
    task = Task.objects.create(title="t")
    executed(task, "lost", "failed")
    Execution.objects.update(newest=True)
    check = Execution.objects.create(
        task=task, timeout_s=1, session_name="s", status="completed", script="", kind=ExecutionKind.VERIFY
    )
    with transaction.atomic():
        made = execution_create(actor=SYSTEM, task=task, script="true", timeout_s=1)
    assert set(Execution.objects.filter(newest=True)) == {made, check}


@pytest.mark.django_db
def test_the_migration_marks_the_newest_run_of_each_task() -> None:
    one, two = Task.objects.create(title="one"), Task.objects.create(title="two")
    executed(one, "lost", "failed", "completed")
    executed(two, "lost")
    wanted = set(Execution.objects.filter(newest=True))
    Execution.objects.update(newest=True)
    unmark = import_module("taskhub.migrations.0099_indexes_of_lists").unmark
    unmark(None, SimpleNamespace(connection=connection))
    assert set(Execution.objects.filter(newest=True)) == wanted
    assert len(wanted) == 2


@pytest.mark.django_db(transaction=True)
def test_the_index_outlives_new_row_numbers_and_comes_back_with_a_new_table() -> None:
    chance = random.Random(1)
    make_tasks(chance, 50)
    Task.objects.filter(pk__in=list(Task.objects.values_list("pk", flat=True)[:20])).delete()
    with connection.cursor() as cursor:
        cursor.execute("VACUUM")
    assert_all_found(chance)
    with connection.cursor() as cursor:
        of_table = " ON taskhub_task" if connection.vendor == "postgresql" else ""
        # As with a table that Django makes anew on SQLite.
        cursor.execute(f"DROP TRIGGER taskhub_task_searched_insert{of_table}")
    make_tasks(chance, 20)
    assert_all_found(chance)  # without the index
    assert searches_have_an_index(databases=["default"]) != []
    call_command("migrate", verbosity=0)
    assert search_index.search_index_missing() == []
    assert searches_have_an_index(databases=["default"]) == []
    assert_all_found(chance)
    with connection.cursor() as cursor:
        cursor.execute(f"SELECT count(*) FROM {search_index.SEARCHED}")
        assert cursor.fetchone() == (50,)


@pytest.mark.django_db
def test_searches_work_without_an_index() -> None:
    with connection.cursor() as cursor:
        if connection.vendor == "sqlite":
            cursor.execute(f"DROP TABLE {search_index.TEXTS}")
            for name in ("insert", "update", "delete"):
                cursor.execute(f"DROP TRIGGER taskhub_task_searched_{name}")
        else:
            cursor.execute(f"DROP INDEX {search_index.TEXT_INDEX}; DROP INDEX {search_index.TAG_INDEX}")
    chance = random.Random(2)
    make_tasks(chance, 30)
    assert_all_found(chance)
    (warning,) = searches_have_an_index(databases=["default"])
    assert "all tasks" in warning.msg


# --- Plans --------------------------------------------------------------------------------------------------


@pytest.fixture
def some_rows(db: None) -> None:
    """Several pages. PostgreSQL's planner reads a small table whole, and sorts it, unless it is told otherwise."""
    chance = random.Random(3)
    make_tasks(chance, 120)
    Task.objects.filter(pk__in=Task.objects.values("pk")[:60]).update(
        priority="high", assignee="alice", created_by="alice", private=True
    )
    for n, task in enumerate(Task.objects.order_by("id")[:9]):
        note = Note.objects.create(task=task, kind=NoteKind.QUESTION)
        if n % 3 == 0:
            Task.objects.filter(pk=task.pk).update(open_question=note)
        elif n % 3 == 1:
            Task.objects.filter(pk=task.pk).update(held_back=True)
        else:
            Task.objects.filter(pk=task.pk).update(status="review")
        Execution.objects.create(task=task, timeout_s=1, session_name="s", status="lost")
    if connection.vendor == "postgresql":
        with connection.cursor() as cursor:
            cursor.execute("ANALYZE taskhub_task, taskhub_execution")
            cursor.execute("SET LOCAL enable_seqscan = off; SET LOCAL enable_sort = off")


def plan_of(sql: str) -> str:
    head = "EXPLAIN QUERY PLAN" if connection.vendor == "sqlite" else "EXPLAIN"
    with connection.cursor() as cursor:
        cursor.execute(f"{head} {sql}")
        return "\n".join(str(row[-1]) for row in cursor.fetchall())


def scans(plan: str) -> bool:
    """Reads a table that grows, not in the order of an index."""
    if connection.vendor == "sqlite":
        return any(
            step.startswith("SCAN taskhub_") and " USING " not in step and search_index.TEXTS not in step
            for step in plan.splitlines()
        )
    return "Seq Scan on taskhub_" in plan


def sorts(plan: str) -> bool:
    """Sorts all that is found; rows that are equal in the first keys, as few are in a title, may be sorted."""
    if connection.vendor == "sqlite":
        return "USE TEMP B-TREE FOR ORDER BY" in plan or "DISTINCT" in plan
    return any(step.strip(" ->").startswith(("Sort  (", "Unique", "HashAggregate")) for step in plan.splitlines())


def statements(client: Client, query: str) -> list[str]:
    """Of the first page and, where there is one, of the second; those of a search's own table, too."""
    with CaptureQueriesContext(connection) as queries:
        first = client.get(f"/api/tasks/?page_size=5&{query}").json()
        if first["next"]:
            assert client.get(first["next"]).status_code == 200
    assert first["results"]
    tables = ('"taskhub_task"', f"FROM {search_index.SEARCHED}")
    return [query["sql"] for query in queries if any(table in query["sql"] for table in tables)]


@pytest.mark.usefixtures("some_rows")
@pytest.mark.parametrize("query", SERVED)
def test_an_index_serves_the_filter_and_the_order(client: Client, query: str) -> None:
    plans = {sql: plan_of(sql) for sql in statements(client, query)}
    assert plans
    for sql, plan in plans.items():
        # The rows of a page that was found in parts are read by their ids: that sorts these alone.
        is_of_ids = '"taskhub_task"."id" IN (' in sql
        bad = scans(plan) or (sorts(plan) and not is_of_ids)
        assert not bad, f"{plan}\n{sql}"


@pytest.mark.usefixtures("some_rows")
@pytest.mark.parametrize("query", LOOKED_UP)
def test_an_index_knows_the_hits(client: Client, query: str) -> None:
    if query.startswith("q=word"):
        Task.objects.create(title="a word")
    elif query.startswith("q="):
        Task.objects.create(title='%_"x')
    elif query == "tags=abc":
        Task.objects.create(title="t", tags=["abc"])
    found: dict[str, Any] = {sql: plan_of(sql) for sql in statements(client, query)}
    assert {sql: plan for sql, plan in found.items() if scans(plan)} == {}


def test_a_plan_that_scans_or_sorts_is_found(some_rows: None) -> None:
    by_words = plan_of("SELECT id FROM taskhub_task ORDER BY description LIMIT 5")
    if connection.vendor == "sqlite":
        assert sorts(by_words)
        assert scans(plan_of("SELECT id FROM taskhub_task WHERE description = 'x' ORDER BY rowid"))
    else:
        assert sorts(by_words)
        assert scans(plan_of("SELECT id FROM taskhub_task WHERE description = 'x'"))
