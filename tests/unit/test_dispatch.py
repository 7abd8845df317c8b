"""Jobs that services send: on commit, and not after a rollback."""

from __future__ import annotations

from typing import Any
from uuid import UUID, uuid4

import pytest
from celery import current_app
from django.db import transaction
from kombu.exceptions import OperationalError
from redis.exceptions import ConnectionError as RedisConnectionError

from taskhub.services.dispatch import EXECUTION_END, EXECUTION_START, send_job, send_job_on_commit

ID = UUID("0f0f0f0f-0f0f-4f0f-8f0f-0f0f0f0f0f0f")


@pytest.fixture
def sent(monkeypatch: pytest.MonkeyPatch) -> list[tuple[str, list[str]]]:
    found: list[tuple[str, list[str]]] = []
    monkeypatch.setattr(current_app, "send_task", lambda name, args: found.append((name, args)))
    return found


@pytest.mark.django_db(transaction=True)
def test_a_job_is_sent_when_the_transaction_commits_and_not_before(sent: list[Any]) -> None:
    with transaction.atomic():
        send_job_on_commit(EXECUTION_START, ID)
        assert sent == []
    assert sent == [("taskhub.jobs.execution_start", [str(ID)])]


@pytest.mark.django_db(transaction=True)
def test_no_job_is_sent_after_a_rollback(sent: list[Any]) -> None:
    def fails() -> None:
        with transaction.atomic():
            send_job_on_commit(EXECUTION_START, ID)
            raise LookupError

    with pytest.raises(LookupError):
        fails()
    with transaction.atomic():
        send_job_on_commit(EXECUTION_END, other := uuid4())
    assert sent == [("taskhub.jobs.execution_end", [str(other)])]


@pytest.mark.parametrize("error", [OperationalError("away"), RedisConnectionError("away")])
def test_a_broker_that_is_away_costs_a_warning(monkeypatch, caplog, error: Exception) -> None:
    def away(*_: Any, **__: Any) -> None:
        raise error

    monkeypatch.setattr(current_app, "send_task", away)
    send_job(EXECUTION_START, ID)
    (record,) = caplog.records
    assert record.levelname == "WARNING"
    assert record.getMessage().startswith("taskhub.jobs.execution_start is not sent now")


def test_another_error_is_an_error(monkeypatch) -> None:
    def broken(*_: Any, **__: Any) -> None:
        raise LookupError

    monkeypatch.setattr(current_app, "send_task", broken)
    with pytest.raises(LookupError):
        send_job(EXECUTION_START, ID)


def test_the_names_are_those_of_the_jobs() -> None:
    from taskhub import jobs  # noqa: PLC0415 - which registers them

    assert {EXECUTION_START, EXECUTION_END} <= current_app.tasks.keys()
    assert (jobs.execution_start.name, jobs.execution_end.name) == (EXECUTION_START, EXECUTION_END)
