"""The admin's actions on sandboxes, against the local sandbox server."""

from __future__ import annotations

from html import unescape
from typing import Any

import pytest
from django.contrib.auth.models import User
from django.db.models import Model
from django.test import Client
from django.utils import timezone

from sandboxes.models import Sandbox
from sandboxes.services.sandboxes import sandbox_create
from taskhub.auth.actor import SYSTEM
from taskhub.models import (
    AuditEntry,
)

pytestmark = pytest.mark.django_db


@pytest.fixture
def client(operator: User) -> Client:
    made = Client()
    made.force_login(operator)
    return made


def list_of(model: type[Model]) -> str:
    return f"/admin/{model._meta.app_label}/{model._meta.model_name}/"


def act(client: Client, action: str, *rows: Model, **answers: Any) -> str:
    """What the page says afterwards. `answers` answer the action's form."""
    body = {"action": action, "_selected_action": [str(row.pk) for row in rows], **answers}
    answer = client.post(list_of(type(rows[0])), body, follow=True)
    assert answer.status_code == 200
    return unescape(answer.content.decode())


def audited(action: str) -> list[tuple[str, str]]:
    return list(AuditEntry.objects.filter(action=action).values_list("actor_name", "door"))


# --- Sandboxes, subscriptions, announcements ---------------------------------------------------------


def seen(document: dict[str, Any]) -> Sandbox:
    return Sandbox.objects.create(id=document["id"], state=document["state"], seen_at=timezone.now())


def test_sandboxes_are_stopped_started_and_after_a_question_deleted(client: Client, sandboxes: None) -> None:
    there = seen(sandbox_create(actor=SYSTEM, fields={}))
    gone = seen({"id": "gone", "state": "started"})
    for action, done in (("stop", "stopped"), ("start", "started")):
        said = act(client, action, there, gone)
        assert f"1 of 2 being {done}." in said
        assert "gone: Sandbox not found." in said
        assert audited(f"sandbox:{action}") == [("operator", "admin")]
    assert "Delete these sandboxes" in act(client, "remove", there)
    assert audited("sandbox:delete") == []
    assert "1 of 1 being deleted." in act(client, "remove", there, _answered="1")
    assert audited("sandbox:delete") == [("operator", "admin")]
