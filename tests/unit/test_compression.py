"""Compressed answers: which are, and which never, because of the BREACH attack."""

from __future__ import annotations

from typing import Any

import pytest
from django.contrib.auth.models import User
from django.test import Client

from taskhub.auth.actor import SYSTEM
from taskhub.services import tasks
from tests.conftest import client_of

pytestmark = [pytest.mark.django_db, pytest.mark.sqlite_suffices]
GZIP = {"accept-encoding": "gzip"}


@pytest.fixture
def task_id() -> str:
    for n in range(5):
        made = tasks.task_create(actor=SYSTEM, title=f"task {n}", description="long " * 400)
    return str(made.pk)


def is_compressed(answer: Any) -> bool:
    assert answer.status_code == 200
    return bool(answer.headers.get("Content-Encoding") == "gzip")


@pytest.mark.usefixtures("task_id")
@pytest.mark.parametrize("path", ["/", "/api/tasks/", "/api/tasks/board/", "/api/schema/"])
def test_pages_and_lists_are_compressed_where_the_client_takes_it(client: Client, path: str) -> None:
    answer = client.get(path, headers=GZIP)
    assert is_compressed(answer)
    assert "Accept-Encoding" in answer.headers["Vary"]
    assert not is_compressed(client.get(path))


@pytest.mark.usefixtures("task_id")
@pytest.mark.parametrize(
    ("site", "expected"), [("same-origin", True), ("none", True), ("cross-site", False), ("same-site", False)]
)
@pytest.mark.parametrize("path", ["/", "/api/tasks/"])
def test_what_another_site_makes_a_browser_ask_is_not(
    client: Client, alice: User, path: str, site: str, expected: bool
) -> None:
    client.force_login(alice)
    assert is_compressed(client.get(path, headers={**GZIP, "sec-fetch-site": site})) is expected


@pytest.mark.usefixtures("task_id")
def test_cookies_without_the_mark_of_a_browser_are_answered_plainly(client: Client, alice: User) -> None:
    client.force_login(alice)
    assert not is_compressed(client.get("/api/tasks/", headers=GZIP))


def test_an_etag_is_the_version_and_small_answers_are_left_alone(alice: User, task_id: str) -> None:
    found = client_of(alice).get(f"/api/tasks/{task_id}/", headers=GZIP)
    assert not is_compressed(found)
    assert found.headers["ETag"] == '"1"'
    assert not is_compressed(client_of(alice).get("/api/me/", headers=GZIP))
