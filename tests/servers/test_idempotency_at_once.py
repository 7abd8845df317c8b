"""Two requests with one Idempotency-Key at once, and a process that is killed in between: on SQLite and PostgreSQL."""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path

import httpx
import psycopg
import pytest

from tests.postgres import make_database
from tests.servers.hubs import Installation

AT_ONCE = 8


@pytest.fixture
def own_database(postgres_url: str) -> str:
    """A database of PostgreSQL for one test."""
    return make_database(postgres_url, "idempotency")


@contextmanager
def running(folder: Path, url: str | None = None) -> Iterator[Installation]:
    made = Installation(folder, url)
    try:
        made.start_web("one")
        yield made
    finally:
        made.end()


def post(installation: Installation, key: str, title: str = "t") -> httpx.Response:
    return httpx.post(
        f"{installation.address('one')}/api/tasks/",
        json={"title": title},
        headers={**installation.headers, "Idempotency-Key": key},
        timeout=120,
    )


def titles(installation: Installation) -> list[str]:
    answer = httpx.get(f"{installation.address('one')}/api/tasks/", headers=installation.headers, timeout=120)
    return [task["title"] for task in answer.json()["results"]]


@pytest.mark.parametrize("database", ["sqlite", pytest.param("postgres", marks=pytest.mark.postgres)])
def test_requests_at_once_make_one_task(request: pytest.FixtureRequest, tmp_path: Path, database: str) -> None:
    url = request.getfixturevalue("own_database") if database == "postgres" else None
    with running(tmp_path, url) as installation, ThreadPoolExecutor(AT_ONCE) as pool:
        for n in range(5):
            answers = list(pool.map(lambda key: post(installation, key, key), [f"key-{n}"] * AT_ONCE))
            made = {answer.json()["id"] for answer in answers if answer.status_code == 201}
            refused = {answer.json()["error"]["code"] for answer in answers if answer.status_code != 201}
            assert len(made) == 1
            assert refused <= {"in_progress"}
        assert sorted(titles(installation)) == [f"key-{n}" for n in range(5)]


@pytest.mark.postgres
def test_a_killed_process_leaves_nothing_and_the_repeat_makes_it(tmp_path: Path, own_database: str) -> None:
    """The request is held in its transaction, behind its insert of the task, and its process is killed there."""
    waits = "SELECT 1 FROM pg_locks WHERE NOT granted AND relation = 'taskhub_auditentry'::regclass"
    with running(tmp_path, own_database) as installation, ThreadPoolExecutor(1) as pool:
        with psycopg.connect(own_database) as other, psycopg.connect(own_database, autocommit=True) as watcher:
            other.execute("LOCK TABLE taskhub_auditentry IN ACCESS EXCLUSIVE MODE")
            first = pool.submit(post, installation, "killed")
            while watcher.execute(waits).fetchone() is None:
                assert not first.done(), first.result().text
            second = post(installation, "killed")
            assert (second.status_code, second.json()["error"]["code"]) == (409, "in_progress")
            installation.processes["one"].popen.kill()
            with pytest.raises(httpx.HTTPError):
                first.result()
        installation.start_web("one")
        assert titles(installation) == []
        made = post(installation, "killed")
        assert made.status_code == 201
        assert post(installation, "killed").json() == made.json()
        assert titles(installation) == ["t"]
