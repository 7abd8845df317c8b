"""The admin's list pages, as an operator uses them."""

from __future__ import annotations

from html import unescape
from typing import Any

from django.db.models import Model
from django.test import Client


def list_of(model: type[Model]) -> str:
    return f"/admin/{model._meta.app_label}/{model._meta.model_name}/"


def act(client: Client, action: str, *rows: Model, **answers: Any) -> str:
    """What the page says afterwards. `answers` answer the action's form."""
    body = {"action": action, "_selected_action": [str(row.pk) for row in rows], **answers}
    answer = client.post(list_of(type(rows[0])), body, follow=True)
    assert answer.status_code == 200
    return unescape(answer.content.decode())
