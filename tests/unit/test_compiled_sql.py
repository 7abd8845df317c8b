"""Statements that are built once do what the ORM does."""

from __future__ import annotations

from datetime import timedelta
from uuid import uuid4

import pytest
from django.db import connection, transaction
from django.db.models import CharField
from django.test.utils import CaptureQueriesContext
from django.utils import timezone

from taskhub.auth.actor import SYSTEM
from taskhub.lib.compiled_sql import GIVEN, OneRow, insert, update
from taskhub.models import AuditEntry, Task
from taskhub.services.tasks import task_lock

pytestmark = pytest.mark.django_db


def values(row: Task | AuditEntry) -> dict[str, object]:
    return {field.attname: getattr(row, field.attname) for field in row._meta.concrete_fields}


def test_a_row_is_read_as_the_orm_reads_it() -> None:
    task = Task.objects.create(title="t", tags=["ä", '"'], artifacts=["a/b"])
    assert values(task_lock(SYSTEM, task.pk)) == values(Task.objects.get(pk=task.pk))


def test_deferred_fields_are_loaded() -> None:
    Task.objects.create(title="one", description="the first")
    found = OneRow(Task.objects.filter(title=GIVEN).only("title"), CharField())
    task = found.find("one")
    assert task is not None
    assert task.get_deferred_fields() >= {"description", "tags"}
    assert task.description == "the first"
    assert found.find("two") is None


def test_an_update_writes_the_named_fields_and_no_other() -> None:
    task = Task.objects.create(title="t")
    other = Task.objects.create(title="other")
    before = task.updated_at
    task.title, task.tags, task.assignee = "new", ["x"], "not written"
    update(task, ("title", "tags", "updated_at"))
    kept = Task.objects.get(pk=task.pk)
    assert (kept.title, kept.tags, kept.assignee) == ("new", ["x"], "")
    assert kept.updated_at == task.updated_at > before
    assert values(Task.objects.get(pk=other.pk)) == values(other)


def test_an_inserted_row_is_the_one_that_the_orm_would_write() -> None:
    task_id, changes = uuid4(), {"tags": [["ä"], None]}
    insert(AuditEntry(action="one", door="rest", task_id=task_id, changes=changes))
    AuditEntry.objects.create(action="one", door="rest", task_id=task_id, changes=changes)
    ours, theirs = AuditEntry.objects.filter(task_id=task_id).order_by("id")
    assert timezone.now() - ours.at < timedelta(minutes=1)
    own = {"id", "at"}
    assert {k: v for k, v in values(ours).items() if k not in own} == {
        k: v for k, v in values(theirs).items() if k not in own
    }


def test_the_lock_is_in_the_statement() -> None:
    """But for SQLite, which has locked the whole file by then."""
    task = Task.objects.create(title="t")
    with transaction.atomic(), CaptureQueriesContext(connection) as queries:
        task_lock(SYSTEM, task.pk)
    locks = [query["sql"].endswith("FOR UPDATE") for query in queries]
    assert locks == [connection.features.has_select_for_update]
