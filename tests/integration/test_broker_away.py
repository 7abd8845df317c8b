"""A broker that is away, for real: the request is answered, and reconciliation sends the job later."""

from __future__ import annotations

from typing import Any

import pytest
from celery import Celery, current_app
from rest_framework.test import APIClient

from taskhub.models import Execution
from tests.processes import free_port


@pytest.mark.django_db(transaction=True)
def test_an_execution_is_queued_while_the_broker_is_away(api: APIClient, monkeypatch, caplog) -> None:
    away = Celery("away", broker=f"redis://127.0.0.1:{free_port()}/0", set_as_current=False)
    away.conf.update(broker_transport_options=current_app.conf.broker_transport_options)
    monkeypatch.setattr("taskhub.services.dispatch.current_app", away)
    task = api.post("/api/tasks/", {"title": "t"}, format="json").json()
    answer: Any = api.post(f"/api/exec/{task['id']}", {"script_content": "true"}, format="json")
    assert answer.status_code == 202, answer.content
    assert Execution.objects.get().status == "queued"
    assert "taskhub.jobs.execution_start is not sent now" in caplog.text
    away.close()
