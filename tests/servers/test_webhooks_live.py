"""Webhooks from a hub of real processes: web, beat and workers, one of which is killed while it sends."""

from __future__ import annotations

import signal
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
import redis
from standardwebhooks import Webhook

from tests.processes import wait_until
from tests.receiver import Handler, Receiver, receiving
from tests.servers.hubs import Installation

CELERY = ("-m", "celery", "--app", "config", "--quiet")


class Hub(Installation):
    def start_worker(self, name: str) -> None:
        self.start(name, *CELERY, "worker", "--pool", "threads", "--concurrency", "4", "--loglevel", "WARNING")

    def rest(self, method: str, path: str, **body: Any) -> Any:
        url = f"{self.address('one')}/api/{path}"
        answer = httpx.request(method, url, headers=self.headers, json=body or None, timeout=90, trust_env=False)
        assert answer.status_code < 300, answer.text
        return answer.json()

    def deliveries(self, endpoint: dict[str, Any]) -> list[dict[str, Any]]:
        found: list[dict[str, Any]] = self.rest("GET", f"webhooks/{endpoint['id']}/deliveries/")["results"]
        return found

    def tell(self, title: str = "t") -> None:
        self.rest("POST", "tasks/", title=title)


@pytest.fixture
def hub(tmp_path: Path) -> Iterator[Hub]:
    made = Hub(tmp_path)
    try:
        made.env |= {"TASKHUB_WEBHOOKS_ALLOW_PRIVATE": "1"}
        made.start_web("one")
        schedule = ("--pidfile=", "--loglevel", "WARNING")
        made.start("beat", *CELERY, "beat", *schedule)
        yield made
    finally:
        made.end()


@pytest.fixture
def receiver() -> Iterator[Receiver]:
    with receiving() as made:
        yield made


def test_two_workers_tell_each_endpoint_of_each_event_once(hub: Hub, receiver: Receiver) -> None:
    for name in ("first", "second"):
        hub.start_worker(name)
    endpoints = [hub.rest("POST", "webhooks/", url=receiver.url) for _ in range(2)]
    for n in range(20):
        hub.tell(str(n))
    got = receiver.wait_for(40)
    for endpoint in endpoints:
        wait_until(
            lambda endpoint=endpoint: [one["status"] for one in hub.deliveries(endpoint)] == ["delivered"] * 20,
            "everything is settled",
        )
        known = {one["id"] for one in hub.deliveries(endpoint)}
        mine = [each for each in got if each.id in known]
        said = [Webhook(endpoint["secret"]).verify(each.body, each.headers) for each in mine]
        assert sorted(one["data"]["title"] for one in said) == sorted(str(n) for n in range(20))
    assert len(receiver.requests) == len({each.id for each in receiver.requests}) == 40
    for process in hub.processes.values():
        assert endpoints[0]["secret"] not in "\n".join(process.output)


def test_what_a_killed_worker_was_sending_is_sent_again_with_the_same_id(hub: Hub, receiver: Receiver) -> None:
    dead = threading.Event()

    def answer(handler: Handler) -> None:
        if len(receiver.requests) == 1:
            dead.wait(60)
        handler.respond(200)

    receiver.answer = answer
    endpoint = hub.rest("POST", "webhooks/", url=receiver.url)
    hub.start_worker("doomed")
    hub.tell()
    (first,) = receiver.wait_for(1)
    hub.processes["doomed"].signal(signal.SIGKILL)
    hub.processes["doomed"].wait()
    dead.set()
    # What another worker would do after the lease's 30 s, and time with the turn.
    hub.manage(
        *("shell", "--no-imports", "-c"),
        "from taskhub.models import WebhookDelivery\nassert WebhookDelivery.objects.update(lease_until=None) == 1",
    )
    with redis.Redis.from_url(hub.env["REDIS_URL"]) as client:
        client.delete("taskhub:webhooks")
    hub.start_worker("next")
    second = receiver.wait_for(2)[1]
    assert (second.id, second.body) == (first.id, first.body)
    wait_until(lambda: hub.deliveries(endpoint)[0]["status"] == "delivered", "it is settled")
    assert hub.deliveries(endpoint)[0]["attempts"] == 2
