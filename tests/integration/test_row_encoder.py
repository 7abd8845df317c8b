"""Lists of tasks are encoded without models and the serializer: their bytes are the serializer's."""

from __future__ import annotations

import random
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from django.contrib.auth.models import AnonymousUser, User
from django.db import connection
from django.test.utils import CaptureQueriesContext
from rest_framework.renderers import JSONRenderer
from rest_framework.request import Request
from rest_framework.test import APIClient, APIRequestFactory

from taskhub.api.renderers import JSONRenderer as SplicingRenderer
from taskhub.api.renderers import JsonText
from taskhub.api.serializers import TASK_ENCODER, TaskSerializer
from taskhub.api.tasks import TaskViewSet
from taskhub.models import ClosedAs, Note, NoteKind, Task, TaskPriority, TaskStatus, Verdict, VerifyPolicy
from taskhub.roles import Caller
from taskhub.selectors.tasks import task_list_for
from tests.conftest import client_of, make_account

pytestmark = pytest.mark.django_db
LETTERS = "aZ 0\"\\/<>&\x01\x1f\x7f\x85\t\n\r\b\f\u2028\u2029éß\u0301日🙂\ue000%{}'"
ORDERINGS = ("", "created_at", "-updated_at", "title", "-status", "priority", "-priority")


def text(chance: random.Random, most: int) -> str:
    return "".join(chance.choices(LETTERS, k=chance.randrange(most)))


def rows(chance: random.Random, count: int) -> Iterator[Task]:
    for _ in range(count):
        tags = [f"x{text(chance, 20)}" for _ in range(chance.randrange(4))]
        yield Task(
            title=f"t{text(chance, 30)}",
            description=text(chance, 400),
            status=chance.choice(TaskStatus.values),
            priority=chance.choice(TaskPriority.values),
            assignee=chance.choice(["", "alice", "bob", 'Zoé 日🙂"\\']),
            tags=tags,
            artifacts=chance.choice([[], tags, [f"a{text(chance, 300)}"]]),
            private=chance.random() < 0.4,
            closed_as=chance.choice(["", *ClosedAs.values]),
            ending=chance.choice(["", "stopped", "timed_out"]),
            created_by=chance.choice(["", "alice"]),
            holder=chance.choice(["", "alice/ü"]),
            held_back=chance.random() < 0.3,
            open_blockers=chance.choice([0, 0, 3]),
            verified=chance.choice(["", *Verdict.values]),
            verify_policy=chance.choice(VerifyPolicy.values),
            version=chance.randrange(1, 2**31 - 1),
        )


@pytest.fixture
def many(db: None) -> None:
    chance = random.Random(20261128)
    tasks = Task.objects.bulk_create(rows(chance, 120))
    for task in tasks:
        # Some without a part of a second, some in the same instant: their ids decide.
        created = datetime(2026, 1, chance.randrange(1, 28), tzinfo=UTC) + timedelta(
            microseconds=chance.choice([0, 0, 1, 500_000, 123_456])
        )
        question = Note.objects.create(task=task, kind=NoteKind.QUESTION) if chance.random() < 0.2 else None
        Task.objects.filter(pk=task.pk).update(
            created_at=created, updated_at=created + timedelta(days=1), open_question=question
        )


def as_serialized(caller: Caller, query: str) -> bytes:
    """The page as it is made of models by the serializer, and by DRF's own renderer."""
    view = TaskViewSet(action="list", format_kwarg=None)
    view.request = Request(APIRequestFactory().get(f"/api/tasks/?{query}"))
    view.request.user = caller
    pages = view.pagination_class()  # type: ignore[misc]  # the settings name one
    tasks = view.filter_queryset(task_list_for(user=caller))
    page = pages.paginate_queryset(tasks, view.request, _Ordered())
    answer: bytes = JSONRenderer().render(
        pages.get_paginated_response(TaskSerializer(page, many=True).data).data,
    )
    return answer


class _Ordered:
    """A view that has no way of its own to read rows."""

    orderings = TaskViewSet.orderings


@pytest.mark.usefixtures("many")
@pytest.mark.parametrize("role", ["", "viewer", "agent", "operator"])
def test_the_bytes_are_those_of_the_serializer(role: str) -> None:
    user = make_account("alice", role) if role else None
    client: APIClient = client_of(user) if user else APIClient()
    seen: set[bool] = set()
    for ordering in ORDERINGS:
        query = f"ordering={ordering}&page_size=50" if ordering else "page_size=50"
        for _ in range(3):
            answer = client.get(f"/api/tasks/?{query}")
            assert answer.content == as_serialized(user or AnonymousUser(), query)
            seen |= {row["private"] for row in answer.json()["results"] if row["assignee"] != "alice"}
            if answer.json()["next"] is None:
                break
            query = answer.json()["next"].partition("?")[2]
        back = answer.json()["previous"].partition("?")[2]
        assert client.get(f"/api/tasks/?{back}").content == as_serialized(user or AnonymousUser(), back)
    assert seen == ({True, False} if role == "operator" else {False})


@pytest.mark.usefixtures("many")
@pytest.mark.parametrize(
    "query", ["status=todo&priority=high", "ready=true", "waiting_for=any", "q=%C3%A9", "ids=", "page_size=1"]
)
def test_filtered_ones_too(operator: User, query: str) -> None:
    answer = client_of(operator).get(f"/api/tasks/?{query}")
    assert answer.content == as_serialized(operator, query)


def test_a_list_of_nothing_is_one(operator: User) -> None:
    assert client_of(operator).get("/api/tasks/").content == b'{"next":null,"previous":null,"results":[]}'
    assert TASK_ENCODER.read(Task.objects.none()) == []


@pytest.mark.usefixtures("many")
def test_an_indented_answer_is_likewise(operator: User) -> None:
    answer = client_of(operator).get("/api/tasks/?page_size=3", HTTP_ACCEPT="application/json; indent=2")
    assert answer.content.startswith(b'{\n  "next": "')
    assert len(answer.json()["results"]) == 3


@pytest.mark.usefixtures("many")
def test_a_page_is_one_query_without_what_is_not_shown() -> None:
    with CaptureQueriesContext(connection) as queries:
        TASK_ENCODER.read(task_list_for(user=AnonymousUser()))
    (query,) = queries
    assert "folded_text" not in query["sql"]
    assert "override_reason" not in query["sql"]


@pytest.mark.parametrize("value", [None, 1, "a\u2028b", {"x": [JsonText("[1]")]}, True])
def test_the_renderer_takes_json_as_it_is_and_spells_all_else(value: Any) -> None:
    shown = {"next": value, "results": JsonText('["\u2029",{"a":1}]')}
    plain = {"next": value, "results": ["\u2029", {"a": 1}]}
    assert SplicingRenderer().render(shown) == JSONRenderer().render(plain)
