"""Following an execution over the real local sandbox server, while its log's connection is away."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

from taskhub import jobs
from taskhub.models import Execution, ExecutionStatus
from taskhub.services import execution_leases
from taskhub.web.thread_pool import wait_here
from taskhub.worker.following import Following
from tests.sandboxes.ill_daytona import KEY, Daytona

pytestmark = pytest.mark.django_db


@pytest.fixture(scope="module")
def daytona(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Daytona]:
    made = Daytona(tmp_path_factory.mktemp("daytona"))
    yield made
    made.close()


def test_runner_that_ended_while_its_log_was_away_did_not_die(
    execute: Any, settings: Any, daytona: Daytona, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings.DAYTONA_API_URL, settings.DAYTONA_API_KEY = daytona.api_url, KEY
    daytona.fault("GET .*/logs.*follow=true", ws_close_code=1006, after_bytes=0)
    queued = execute("echo one; exit 7")
    jobs.execution_start(queued["execution_id"])
    execution = execution_leases.execution_take_lease(
        execution_id=queued["execution_id"], status=ExecutionStatus.RUNNING, lease_s=600
    )
    assert execution is not None
    monkeypatch.setattr("taskhub.worker.following.LOOK_S", 0.5)
    monkeypatch.setattr("taskhub.worker.following.LAST_WORD_S", 0.5)
    try:
        wait_here(Following(execution).run)
    finally:
        daytona.heal()
    ended = Execution.objects.get()
    assert (ended.status, ended.exit_code, ended.error_code) == ("failed", 7, "")
    assert (ended.log_lines, ended.log_truncated) == (1, False)
