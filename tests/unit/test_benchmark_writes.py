"""What the benchmarks write: their readers expect one event for each request, numbered without a gap."""

from __future__ import annotations

import pytest
from django_eventstream.models import Event
from rest_framework.test import APIClient

from benchmarks.writers import status_path, status_update
from taskhub.auth.actor import SYSTEM
from taskhub.services.tasks import task_create

pytestmark = [pytest.mark.django_db, pytest.mark.sqlite_suffices]


def test_each_update_of_a_status_is_one_event(api: APIClient) -> None:
    path = status_path(str(task_create(actor=SYSTEM, title="t").pk))
    before = Event.objects.count()
    for turn in range(4):
        assert api.put(path, status_update(0, turn), format="json").status_code == 200
    assert Event.objects.count() == before + 4
