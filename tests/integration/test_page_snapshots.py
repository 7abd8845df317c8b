"""A page that is read in parts is of one moment, whatever is changed between its queries."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
from django.db import connections
from django.test import Client

from taskhub.api import task_pages
from taskhub.models import Task
from tests.conftest import make_account

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.postgres_only]


@pytest.mark.parametrize("change", ["leaves", "moves"])
def test_what_changes_between_the_queries_of_a_page_shortens_it_by_nothing(
    change: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    Task.objects.bulk_create(Task(title=f"{n}", status="todo") for n in range(12))
    client = Client()
    client.force_login(make_account("reader", "operator"))
    read = task_pages._first_ids

    def then_changed(*arguments: Any) -> Any:
        ids = read(*arguments)
        with ThreadPoolExecutor(1) as elsewhere:
            elsewhere.submit(changed, ids[2]).result(60)
            elsewhere.submit(connections.close_all).result(60)
        return ids

    def changed(task_id: Any) -> None:
        tasks = Task.objects.filter(pk=task_id)
        tasks.delete() if change == "leaves" else tasks.update(status="done")

    monkeypatch.setattr(task_pages, "_first_ids", then_changed)
    page = client.get("/api/tasks/?ordering=status&status=todo&status=inprogress&page_size=5").json()
    assert len(page["results"]) == 5
    assert page["next"] is not None
