"""The search index of PostgreSQL where something is in its way: each part that can be made is made."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from django.db import connection

from taskhub.models import Task, search_index

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.postgres_only]
TRIGGERS = list(search_index._POSTGRES_TRIGGERS)


@pytest.fixture
def dropped() -> Iterator[None]:
    with connection.cursor() as cursor:
        cursor.execute("DROP FUNCTION taskhub_task_searched() CASCADE")
        cursor.execute(f"DROP TABLE {search_index.SEARCHED}")
    yield
    search_index.search_index_make()
    assert search_index.search_index_missing() == []


def indexed() -> list[str]:
    with connection.cursor() as cursor:
        cursor.execute(f"SELECT folded_text FROM {search_index.SEARCHED} ORDER BY 1")
        return [text.strip() for (text,) in cursor.fetchall()]


@pytest.mark.usefixtures("dropped")
def test_without_trigrams_there_is_still_the_index_of_the_tags(monkeypatch: pytest.MonkeyPatch) -> None:
    Task.objects.create(title="before")
    with monkeypatch.context() as without:
        without.setitem(search_index._ON_POSTGRES, search_index.TEXT_INDEX, "nothing USING gin (text)")
        search_index.search_index_make()
    assert search_index.search_index_missing() == [search_index.TEXT_INDEX]
    assert search_index.search_index_is_kept("tags")
    assert not search_index.search_index_is_kept("folded_text")
    assert indexed() == ["before"]


@pytest.mark.usefixtures("dropped")
def test_the_table_is_filled_in_parts(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(search_index, "_PART", 2)
    for n in range(5):
        Task.objects.create(title=f"{n}")
    search_index.search_index_make()
    assert indexed() == ["0", "1", "2", "3", "4"]


def test_behind_the_columns_nothing_of_it_is_in_the_way_of_writes(monkeypatch: pytest.MonkeyPatch) -> None:
    with monkeypatch.context() as without:
        without.setattr(search_index, "_has_columns", lambda _: False)
        search_index.search_index_make()
    missing = search_index.search_index_missing()
    search_index.search_index_make()
    assert set(missing) == {*TRIGGERS, *search_index._ON_POSTGRES}
    assert search_index.search_index_missing() == []
