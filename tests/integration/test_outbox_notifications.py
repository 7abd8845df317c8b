"""The outbox as the storage of django-eventstream's own `send_event`."""

from __future__ import annotations

import json

import pytest
from django_eventstream import send_event

from taskhub.events import outbox

pytestmark = pytest.mark.django_db


def test_send_event_of_the_library_lands_in_the_same_table() -> None:
    send_event("tasks", "message", {"hello": "world"})
    (row,) = outbox.read_after("tasks", 0, 10)
    assert (row.seq, row.type, json.loads(row.data)) == (1, "message", {"hello": "world"})
