"""Parts are killed while 200 clients watch; at the end every client has every event, once, in order.

One of the events is a question that is asked while a web process is away.
"""

from __future__ import annotations

import asyncio
import signal
from collections.abc import Iterator
from pathlib import Path

import psycopg
import pytest

from tests.postgres import make_database
from tests.processes import Process
from tests.servers.hubs import Installation
from tests.servers.watchers import Watcher, watching

CLIENTS = 200
EVENTS = 2000
PER_SECOND = 80


async def all_have(watchers: list[Watcher], number: int) -> None:
    async with asyncio.timeout(60):
        for watcher in watchers:
            await watcher.until_seen(number)


def assert_nothing_lost_or_twice(watchers: list[Watcher], last: int) -> None:
    assert [watcher.resets for watcher in watchers] == [0] * CLIENTS
    wrong = [watcher.seen for watcher in watchers if watcher.seen != list(range(1, last + 1))]
    assert not wrong, f"{len(wrong)} of {CLIENTS} clients, one of them: {wrong[0][:20]} …"
    question = watchers[0].questions
    assert len(question) == 1
    assert [watcher.questions for watcher in watchers] == [question] * CLIENTS


def publish(hub: Installation, events: int) -> Process:
    arguments = (str(events), str(PER_SECOND), str(question_file(hub)))
    return hub.start("publisher", "-m", "tests.servers.publisher", *arguments)


def ask(hub: Installation) -> None:
    """Returns when the question is asked."""
    question_file(hub).touch()
    hub.processes["publisher"].wait_for_line("asked")


def question_file(hub: Installation) -> Path:
    return Path(hub.env["TASKHUB_DATA_DIR"]) / "question"


@pytest.fixture
def on_postgres(tmp_path: Path, postgres_url: str) -> Iterator[Installation]:
    installation = Installation(tmp_path, make_database(postgres_url, "continuity"))
    yield installation
    installation.end()


@pytest.fixture
def on_sqlite(tmp_path: Path) -> Iterator[Installation]:
    installation = Installation(tmp_path)
    yield installation
    installation.end()


@pytest.mark.postgres
async def test_two_processes_lose_redis_the_database_and_each_other(
    on_postgres: Installation, postgres_url: str
) -> None:
    hub = on_postgres
    await asyncio.gather(*[asyncio.to_thread(hub.start_web, name) for name in ("one", "two")])
    async with watching([hub.address("one"), hub.address("two")], CLIENTS) as watchers:
        publisher = publish(hub, EVENTS)
        await asyncio.to_thread(publisher.wait_for_line, "publishing")
        await all_have(watchers, 100)

        hub.processes["redis"].end()
        await asyncio.sleep(10)  # the time it is away
        assert hub.status("one")["status"] == "degraded"
        await asyncio.to_thread(hub.start_redis)

        hub.processes["one"].signal(signal.SIGKILL)
        hub.processes["one"].wait()
        await asyncio.to_thread(ask, hub)
        await asyncio.to_thread(hub.start_web, "one")

        hub.processes["two"].signal(signal.SIGTERM)
        assert await asyncio.to_thread(hub.processes["two"].wait, 15) in {0, -signal.SIGTERM}
        await asyncio.to_thread(hub.start_web, "two")

        with psycopg.connect(postgres_url, autocommit=True) as connection:
            cut = "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = 'continuity'"
            assert connection.execute(cut).rowcount > 0

        await asyncio.to_thread(publisher.wait_for_line, "published", 90)
        await asyncio.to_thread(publisher.wait)  # it has numbered its last events
        last = _last(hub)
        await all_have(watchers, last)
        assert last >= EVENTS + 2
        assert_nothing_lost_or_twice(watchers, last)
        assert min(watcher.reconnects for watcher in watchers) > 0


async def test_one_process_on_sqlite_is_killed_and_restarted(on_sqlite: Installation) -> None:
    hub = on_sqlite
    await asyncio.to_thread(hub.start_web, "one")
    async with watching([hub.address("one")], CLIENTS) as watchers:
        publisher = publish(hub, 1000)
        await asyncio.to_thread(publisher.wait_for_line, "publishing")
        await all_have(watchers, 100)
        hub.processes["one"].signal(signal.SIGKILL)
        hub.processes["one"].wait()
        await asyncio.to_thread(ask, hub)
        await asyncio.to_thread(hub.start_web, "one")
        await all_have(watchers, 300)
        hub.processes["one"].signal(signal.SIGTERM)
        assert await asyncio.to_thread(hub.processes["one"].wait, 15) in {0, -signal.SIGTERM}
        await asyncio.to_thread(hub.start_web, "one")
        await asyncio.to_thread(publisher.wait_for_line, "published", 90)
        last = _last(hub)
        await all_have(watchers, last)
        assert last >= 1002
        assert_nothing_lost_or_twice(watchers, last)


def _last(hub: Installation) -> int:
    ids = hub.status("one")["last_event_ids"]
    assert isinstance(ids, dict)
    return int(ids["tasks"].partition(":")[2])
