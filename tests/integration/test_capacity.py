"""A sandbox service that is full, throttles or refuses, in Daytona's own words, over the real local sandbox server."""

from __future__ import annotations

import uuid
from collections.abc import Iterator
from datetime import timedelta
from typing import Any

import pytest
from asgiref.sync import async_to_sync
from django.utils import timezone
from rest_framework.test import APIClient

from sandboxes.circuit_breaker import breaker
from sandboxes.gateway import open_gateway
from taskhub import jobs
from taskhub.models import ACTIVE_STATUSES, AdmissionState, Execution
from tests.processes import wait_until
from tests.sandbox_server import KEY, SandboxServer, running_sandbox_server

pytestmark = [pytest.mark.django_db]

ROOM = 2
TOTAL_CPU = (
    "Total CPU limit exceeded. Maximum allowed: 10.\nTo increase concurrency limits, upgrade your organization's Tier "
    "by visiting https://app.daytona.io/dashboard/limits."
)


@pytest.fixture(scope="module")
def limited(tmp_path_factory: pytest.TempPathFactory) -> Iterator[SandboxServer]:
    folder = tmp_path_factory.mktemp("limited")
    options = ("--limit-cpus", str(ROOM), "--limit-sandbox-cpus", "2", "--faults", "--transition-ms", "5")
    with running_sandbox_server(folder, *options) as server:
        yield server


@pytest.fixture(autouse=True)
def service(limited: SandboxServer, settings: Any) -> Iterator[SandboxServer]:
    settings.DAYTONA_API_URL = limited.env["DAYTONA_API_URL"]
    settings.DAYTONA_API_KEY = KEY
    breaker.succeeded()
    yield limited
    breaker.succeeded()  # it leaves a service that throttles alone
    settings.DAYTONA_API_URL = limited.env["DAYTONA_API_URL"]
    limited.forget_faults()
    async_to_sync(delete_all)()


async def delete_all() -> None:
    async with open_gateway() as gateway:
        page = await gateway.page(None)
        for item in page.items:
            await gateway.sandbox_delete(item["id"])


def start(queued: dict[str, str]) -> Execution:
    jobs.execution_start(queued["execution_id"])
    return Execution.objects.get(pk=queued["execution_id"])


def ended(queued: dict[str, str]) -> Execution:
    def has_ended() -> bool:
        Execution.objects.filter(pk=queued["execution_id"]).update(lease_until=None)
        jobs.execution_end(queued["execution_id"])
        return Execution.objects.get(pk=queued["execution_id"]).status not in ACTIVE_STATUSES

    wait_until(has_ended, "the execution ends", 60)
    return Execution.objects.get(pk=queued["execution_id"])


def admitted_now() -> list[str]:
    """What the admission at the end of a release, or of a look, has let start."""
    return [str(pk) for pk in Execution.objects.filter(status="starting").values_list("pk", flat=True)]


def shown(api: APIClient, queued: dict[str, str]) -> dict[str, Any]:
    return dict(api.get(f"/api/exec/status/{queued['task_id']}").json())


def test_idle_sandboxes_give_way(execute: Any, api: APIClient) -> None:
    kept = [execute(f"echo kept {n}; echo {n} > out.txt") for n in range(ROOM)]
    for queued in kept:
        start(queued)
        assert ended(queued).status == "completed"
    waits = execute("echo done")
    assert start(waits).status == "queued"
    state = shown(api, waits)
    assert (state["status"], state["error"]) == ("queued", None)
    assert state["waiting"].items() >= {"reason": "capacity", "position": 1}.items()
    assert Execution.objects.get(pk=waits["execution_id"]).attempts == 0
    jobs.executions_release()
    assert admitted_now() == [waits["execution_id"]]
    assert start(waits).status == "running"
    assert shown(api, waits)["waiting"] is None
    assert ended(waits).status == "completed"
    # The oldest gave way, and only as many as were needed; what it left is kept.
    released = Execution.objects.filter(released_at__isnull=False)
    assert [str(execution.pk) for execution in released] == [kept[0]["execution_id"]]
    log = api.get(f"/api/exec/logs/{kept[0]['task_id']}").json()
    assert [line["line"] for line in log["lines"]] == ["kept 0"]
    files = api.get(f"/api/exec/artifacts/{kept[0]['task_id']}").json()["items"]
    assert [file["path"] for file in files] == ["out.txt"]


def test_without_others_that_wait_a_sandbox_is_kept(execute: Any) -> None:
    queued = execute("true")
    start(queued)
    ended(queued)
    jobs.executions_release()
    assert Execution.objects.get().released_at is None


@pytest.mark.parametrize("status", [403, 400])
@pytest.mark.parametrize(
    "text",
    [
        TOTAL_CPU,
        "Total memory limit exceeded. Maximum allowed: 10GiB.",
        "Total disk limit exceeded. Maximum allowed: 30GiB.\nConsider archiving your unused Sandboxes.",
    ],
)
def test_a_full_account_is_waited_for(
    execute: Any, api: APIClient, service: SandboxServer, status: int, text: str
) -> None:
    service.fault("POST /api/sandbox", status=status, body={"statusCode": status, "message": text})
    queued = execute("echo done")
    execution = start(queued)
    assert (execution.status, execution.attempts, execution.waiting_reason) == ("queued", 0, "capacity")
    assert AdmissionState.objects.get().ceiling == 0
    AdmissionState.objects.update(retry_at=None)
    jobs.executions_admit()
    assert start(queued).status == "running"
    assert ended(queued).status == "completed"
    assert shown(api, queued)["error"] is None


def test_throttling_pauses_for_as_long_as_is_asked_and_teaches_no_ceiling(execute: Any, service: SandboxServer) -> None:
    body = {"statusCode": 429, "error": "Too Many Requests", "message": "ThrottlerException: Too Many Requests"}
    headers = {"Retry-After-sandbox-create": "37"}
    service.fault("POST /api/sandbox", status=429, headers=headers, body=body)
    queued = execute("echo done")
    execution = start(queued)
    assert (execution.status, execution.attempts) == ("queued", 0)
    state = AdmissionState.objects.get()
    assert state.ceiling is None
    assert state.throttled_until is not None
    assert timedelta(seconds=30) < state.throttled_until - timezone.now() <= timedelta(seconds=37)
    jobs.executions_admit()
    assert start(queued).status == "queued"
    AdmissionState.objects.update(throttled_until=timezone.now())
    breaker.succeeded()
    jobs.executions_admit()
    assert start(queued).status == "running"
    assert ended(queued).status == "completed"


@pytest.mark.parametrize(
    ("refusal", "code"),
    [
        ((403, "Forbidden resource"), "sandbox_forbidden"),
        ((403, "Organization is suspended: Please verify your email address"), "account_suspended"),
        ((400, "Snapshot not found: CPU limit"), "snapshot_not_found"),
        ((400, "CPU request 8 exceeds maximum allowed per sandbox (4)."), "capacity_never"),
        ((403, "Memory request 16GB exceeds maximum allowed per sandbox (8GB)."), "capacity_never"),
    ],
)
def test_what_never_changes_fails_at_once(
    execute: Any, api: APIClient, service: SandboxServer, refusal: tuple[int, str], code: str
) -> None:
    status, text = refusal
    service.fault("POST /api/sandbox", status=status, body={"statusCode": status, "message": text})
    queued = execute("echo done")
    start(queued)
    state = shown(api, queued)
    assert (state["status"], state["error"]["code"], state["waiting"]) == ("failed", code, None)
    assert "does not answer" not in state["error"]["message"]
    assert not AdmissionState.objects.filter(ceiling__isnull=False).exists()


def test_a_stopped_sandbox_is_waited_for_in_the_same_way(execute: Any, api: APIClient) -> None:
    mine = async_to_sync(made_and_stopped)()
    others = [execute("echo kept") for _ in range(ROOM)]
    for queued in others:
        start(queued)
        ended(queued)
    waits = execute("echo in mine", sandbox_id=mine)
    assert start(waits).status == "queued"
    assert shown(api, waits)["waiting"]["reason"] == "capacity"
    assert Execution.objects.get(pk=waits["execution_id"]).attempts == 0
    jobs.executions_release()
    assert admitted_now() == [waits["execution_id"]]
    assert start(waits).status == "running"
    assert ended(waits).status == "completed"
    assert Execution.objects.get(pk=waits["execution_id"]).sandbox_id == mine


async def made_and_stopped() -> str:
    async with open_gateway() as gateway:
        sandbox, _ = await gateway.sandbox_create(name=f"mine-{uuid.uuid4()}", labels={}, ttl_minutes=60)
        await gateway.stop(str(sandbox.id))
        return str(sandbox.id)


def test_full_for_a_day_without_a_sandbox_of_ours_fails(execute: Any, api: APIClient, settings: Any) -> None:
    """Those of others fill the account."""
    settings.TASKHUB_EXECUTION_WAIT_S = 3600

    async def fill() -> None:
        async with open_gateway() as gateway:
            for _ in range(ROOM):
                await gateway.sandbox_create(name=f"theirs-{uuid.uuid4()}", labels={}, ttl_minutes=60)

    async_to_sync(fill)()
    queued = execute("echo done")
    assert start(queued).status == "queued"
    jobs.executions_admit()
    assert shown(api, queued)["status"] == "queued"
    Execution.objects.update(waiting_since=timezone.now() - timedelta(seconds=3601))
    jobs.executions_admit()
    error = shown(api, queued)["error"]
    assert error["code"] == "capacity_never"
    assert error["message"] == "The sandbox service was full for 1 h while this hub had no sandbox there."


def test_the_time_limit_counts_from_the_start(execute: Any, service: SandboxServer) -> None:
    service.fault("POST /api/sandbox", status=403, body={"statusCode": 403, "message": TOTAL_CPU})
    queued = execute("echo done", timeout_s=30)
    start(queued)
    Execution.objects.update(queued_at=timezone.now() - timedelta(hours=2), waiting_since=timezone.now())
    AdmissionState.objects.update(retry_at=None)
    jobs.executions_admit()
    start(queued)
    assert ended(queued).status == "completed"


def test_a_start_that_was_throttled_halfway_and_then_stopped_leaves_no_sandbox(
    execute: Any, api: APIClient, service: SandboxServer, settings: Any
) -> None:
    service.fault("POST .*/process/session", status=429, headers={"Retry-After-authenticated": "60"}, body={})
    queued = execute("echo done")
    assert start(queued).status == "queued"
    assert len(service.states()) == 1
    api.post(f"/api/exec/stop/{queued['task_id']}")
    assert shown(api, queued)["status"] == "stopped"
    settings.TASKHUB_SANDBOX_KEEP_S = 0
    breaker.succeeded()
    jobs.executions_release()
    wait_until(lambda: "started" not in service.states(), "the sandbox is deleted")


def test_twelve_at_once_without_limits_all_run(execute: Any, settings: Any, tmp_path: Any) -> None:
    with running_sandbox_server(tmp_path, "--transition-ms", "5") as unlimited:
        settings.DAYTONA_API_URL = unlimited.env["DAYTONA_API_URL"]
        queued = [execute("echo done") for _ in range(12)]
        assert [start(each).status for each in queued] == ["running"] * 12
        assert {ended(each).status for each in queued} == {"completed"}
    assert not Execution.objects.exclude(waiting_reason="").exists()
