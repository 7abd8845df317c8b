"""`done` and a change of what was verified at the same moment: the task is never done on work that was not verified."""

from __future__ import annotations

import threading

import pytest
from django.db import connections

from taskhub.auth.actor import Actor
from taskhub.models import AuditEntry, Task
from taskhub.services.evidence import Unverified
from taskhub.services.tasks import task_create, task_update
from taskhub.services.verifications import Requested, verification_request
from tests.evidence import verified


def together(*acts: object) -> list[object]:
    """What each has returned or raised."""
    ready, results = threading.Barrier(len(acts)), [object()] * len(acts)

    def do(n: int) -> None:
        try:
            ready.wait(60)
            results[n] = acts[n]()  # type: ignore[operator]
        except Exception as error:  # noqa: BLE001 - judged by the test
            results[n] = error
        finally:
            connections.close_all()

    threads = [threading.Thread(target=do, args=[n]) for n in range(len(acts))]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return results


@pytest.mark.django_db(transaction=True)
def test_done_and_a_change_at_once(actor: Actor) -> None:
    task = task_create(actor=actor, title="t", status="review", verify="make test", verify_policy="required")
    first, second = together(
        lambda: verification_request(actor=actor, task_id=task.pk),
        lambda: verification_request(actor=actor, task_id=task.pk),
    )
    assert isinstance(first, Requested)
    assert isinstance(second, Requested)
    assert first.execution.pk == second.execution.pk
    assert {first.is_new, second.is_new} == {True, False}
    Task.objects.get().executions.all().delete()
    verified(actor, task.pk)
    done, changed = together(
        lambda: task_update(actor=actor, task_id=task.pk, status="done"),
        lambda: task_update(actor=actor, task_id=task.pk, description="other"),
    )
    assert isinstance(changed, Task)
    after = Task.objects.get()
    assert after.verified == ""
    changes = [set(entry.changes) for entry in AuditEntry.objects.filter(action="task:update").order_by("pk")]
    if isinstance(done, Unverified):
        assert after.status == "review"
    else:
        assert after.status == "done"
        assert "status" in changes[0]
        assert "verified" in changes[1]
