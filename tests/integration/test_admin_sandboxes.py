"""The admin's sandboxes, against the local sandbox server: actions that are queued, a list that is refreshed."""

from __future__ import annotations

from datetime import timedelta
from functools import partial
from typing import Any

import pytest
import redis
from celery import Celery, current_app
from django.test import Client
from django.utils import timezone

from sandboxes import jobs
from sandboxes.models import DESTROYED, Poll, Sandbox
from sandboxes.services import attention
from sandboxes.services.sandboxes import sandbox_create
from taskhub.auth.actor import SYSTEM
from taskhub.models import AuditEntry
from taskhub.web.thread_pool import wait_here
from tests.admin_pages import act, list_of
from tests.processes import free_port

pytestmark = pytest.mark.django_db


def audited(action: str) -> list[tuple[str, str]]:
    return list(AuditEntry.objects.filter(action=action).values_list("actor_name", "door"))


# --- Actions ------------------------------------------------------------------------------------------


class Sent(list[tuple[Any, ...]]):
    """Jobs that were sent, in the place of Celery's app; `run` runs them as a worker does."""

    def send_task(self, name: str, args: list[Any], expires: float) -> None:
        assert current_app.tasks[name]
        assert expires > 0
        self.append((name, args))

    def run(self) -> None:
        while self:
            name, args = self.pop(0)
            current_app.tasks[name](*args)


@pytest.fixture
def sent(monkeypatch: pytest.MonkeyPatch) -> Sent:
    made = Sent()
    monkeypatch.setattr("sandboxes.services.operator_actions.current_app", made)
    return made


def seen(document: dict[str, Any]) -> Sandbox:
    return Sandbox.objects.create(id=document["id"], state=document["state"], seen_at=timezone.now())


def said_of(*rows: Sandbox) -> list[str]:
    return [Sandbox.objects.get(pk=row.pk).last_action for row in rows]


def test_sandboxes_are_stopped_started_and_after_a_question_deleted(
    operator_client: Client, sandboxes: None, sent: Sent
) -> None:
    there = seen(wait_here(partial(sandbox_create, actor=SYSTEM, fields={})))
    gone = seen({"id": "gone", "state": "started"})
    for action, done in (("stop", "stopped"), ("start", "started")):
        said = act(operator_client, action, there, gone)
        assert f"2 will be {done}; the column Last action shows the outcome." in said
        # The page waited for nothing.
        assert said_of(there, gone) == [f"{action}: sent"] * 2
        assert audited(f"sandbox:{action}") == []
        sent.run()
        assert said_of(there, gone) == [f"{action}: accepted", f"{action}: Sandbox not found."]
        assert audited(f"sandbox:{action}") == [("operator", "admin")]
    assert "Delete these sandboxes" in act(operator_client, "remove", there)
    assert sent == []
    assert "1 will be deleted" in act(operator_client, "remove", there, _answered="1")
    sent.run()
    assert audited("sandbox:delete") == [("operator", "admin")]
    # The row has what Daytona answered, before anything is polled.
    there.refresh_from_db()
    assert there.state in {"destroying", "destroyed"}
    page = operator_client.get(list_of(Sandbox)).content.decode()
    assert "delete: accepted (" in page
    assert " s ago" in page


def test_an_operator_is_told_that_the_broker_is_away(
    operator_client: Client, monkeypatch: pytest.MonkeyPatch, sandboxes: None
) -> None:
    away = Celery("away", broker=f"redis://127.0.0.1:{free_port()}/0", set_as_current=False)
    away.conf.update(broker_transport_options=current_app.conf.broker_transport_options)
    monkeypatch.setattr("sandboxes.services.operator_actions.current_app", away)
    box = seen({"id": "box", "state": "started"})
    said = act(operator_client, "stop", box)
    away.close()
    assert "Nothing was done." in said
    assert "no job was sent; try again." in said
    assert said_of(box) == ["stop: not sent"]


# --- The list -----------------------------------------------------------------------------------------


def test_the_list_is_refreshed_only_while_an_operator_looks(
    operator_client: Client, sandboxes: None, settings: Any
) -> None:
    made = wait_here(partial(sandbox_create, actor=SYSTEM, fields={}))
    gone = seen({"id": "gone", "state": "started"})
    Sandbox.objects.update(seen_at=timezone.now() - timedelta(minutes=10))
    with redis.Redis.from_url(settings.REDIS_URL) as server:
        server.delete(attention._KEY)
        jobs.poll_list()
        assert not Sandbox.objects.filter(pk=made["id"]).exists()
        assert not Poll.objects.exists()

        assert "10 min ago" in operator_client.get(list_of(Sandbox)).content.decode()
        assert 0 < server.ttl(attention._KEY) <= attention.LOOKS_FOR_S
        jobs.poll_list()
    assert Sandbox.objects.get(pk=made["id"]).state == "started"
    gone.refresh_from_db()
    assert gone.state == DESTROYED
    assert Poll.objects.get().name == "list"


def test_the_list_is_shown_without_redis(operator_client: Client, settings: Any) -> None:
    settings.REDIS_URL = f"redis://127.0.0.1:{free_port()}/0"
    seen({"id": "box", "state": "started"})
    assert "box" in operator_client.get(list_of(Sandbox)).content.decode()
