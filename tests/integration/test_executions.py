"""The life of an execution: services and jobs, called as a worker calls them, over the real local sandbox server."""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from datetime import timedelta
from typing import Any

import pytest
from django.core.files.storage import default_storage
from django.utils import timezone
from django_eventstream.models import Event
from rest_framework.test import APIClient

from sandboxes.errors import KeyRefused, SandboxUnavailable
from taskhub import jobs
from taskhub.executions import get_executor
from taskhub.executions.place import execution_place
from taskhub.models import AuditEntry, Execution, ExecutionStatus, Task
from taskhub.services import admission, execution_leases, executions
from taskhub.services.executions import Outcome
from taskhub.worker import starting
from taskhub.worker.starting import launch_of

pytestmark = [pytest.mark.django_db, pytest.mark.usefixtures("sandboxes")]


def steps() -> list[str]:
    data = [json.loads(text) for text in Event.objects.order_by("eid").values_list("data", flat=True)]
    return [event["data"]["execution_event"] for event in data if event["event"] == "execution_event"]


def reconcile_until(execution_id: str, wanted: Callable[[Execution], bool]) -> Execution:
    """What beat and the worker do, in this thread: look, settle, until the row is as wanted."""
    until = time.monotonic() + 30
    while True:
        execution = Execution.objects.get(pk=execution_id)
        if wanted(execution):
            return execution
        assert time.monotonic() < until, execution.status
        jobs.executions_reconcile()
        jobs.execution_end(execution_id)
        Execution.objects.filter(pk=execution_id, status="running").update(lease_until=None)


def ended(execution: Execution) -> bool:
    return not execution.is_active


def test_script_runs_and_its_end_is_told(execute: Any, api: APIClient) -> None:
    queued = execute("echo out; echo err >&2; echo $WHO; exit 7", env={"WHO": "it's $me"})
    assert queued["status"] == "queued"
    assert queued["session_name"] == f"taskhub-{queued['execution_id']}"
    assert queued["log_file"] == f"logs/task-{queued['execution_id']}.log"
    assert Task.objects.get().status == "inprogress"
    jobs.execution_start(queued["execution_id"])
    execution = reconcile_until(queued["execution_id"], ended)
    assert (execution.status, execution.exit_code) == ("failed", 7)
    assert steps() == ["started", "failed"]
    tail = api.get(f"/api/exec/logs/{queued['task_id']}?tail=10").json()
    assert {(line["stream"], line["line"]) for line in tail["lines"]} == {
        ("stdout", "out"),
        ("stderr", "err"),
        ("stdout", "it's $me"),
    }
    assert [line["n"] for line in tail["lines"]] == [1, 2, 3]
    status = api.get(f"/api/exec/status/{queued['task_id']}").json()
    assert (status["exit_code"], status["sandbox_id"]) == (7, execution.sandbox_id)
    assert [entry.action for entry in AuditEntry.objects.filter(execution_id=execution.pk).order_by("id")] == [
        "execution:queue",
        "execution:start",
        "execution:finish",
    ]


def test_a_start_that_is_repeated_runs_the_script_once(execute: Any) -> None:
    queued = execute('echo once >> "$HOME/ran"; cat "$HOME/ran"')
    execution_id = queued["execution_id"]
    admission.executions_admit()
    claimed = executions.execution_claim_start(execution_id=execution_id, lease_s=60)
    assert claimed is not None
    launch = launch_of(claimed)
    first = jobs.async_to_sync(get_executor().launch)(launch)
    # The worker died before it could say so; another takes over when the lease has run out.
    Execution.objects.update(lease_until=None)
    jobs.execution_start(execution_id)
    execution = reconcile_until(execution_id, ended)
    assert execution.command_id == first.command_id
    assert (execution.status, execution.log_lines, execution.attempts) == ("completed", 1, 2)
    # The first worker comes back to life: its word counts no more.
    assert not executions.execution_mark_started(execution=claimed, place=first)
    assert steps() == ["started", "completed"]


def test_stop_ends_the_script_and_keeps_its_log(execute: Any, api: APIClient) -> None:
    queued = execute("echo begun; trap 'echo asked; exit 3' TERM; while true; do sleep 0.05; done")
    jobs.execution_start(queued["execution_id"])
    _until_logged(api, queued["task_id"], "begun")
    answer = api.post(f"/api/exec/stop/{queued['task_id']}")
    assert answer.status_code == 202
    assert api.post(f"/api/exec/stop/{queued['task_id']}").status_code == 202
    execution = reconcile_until(queued["execution_id"], ended)
    assert (execution.status, execution.exit_code) == ("stopped", 3)
    lines = api.get(f"/api/exec/logs/{queued['task_id']}").json()["lines"]
    # Between them bash may say of the interrupted sleep that it was terminated.
    assert [line["line"] for line in lines if line["stream"] == "stdout"] == ["begun", "asked"]
    assert api.post(f"/api/exec/stop/{queued['task_id']}").json()["error"]["code"] == "execution_not_active"
    assert AuditEntry.objects.filter(action="execution:stop").count() == 1


def _until_logged(api: APIClient, task_id: str, text: str) -> None:
    until = time.monotonic() + 20
    while text not in str(api.get(f"/api/exec/logs/{task_id}").json()["lines"]):
        assert time.monotonic() < until


def test_a_script_that_ignores_sigterm_is_killed(execute: Any, api: APIClient, monkeypatch) -> None:
    monkeypatch.setattr("sandboxes.execute.ladder.SIGNALS", (("TERM", 0.3), ("KILL", 10.0)))
    queued = execute("trap '' TERM; echo begun; while true; do sleep 0.05; done")
    jobs.execution_start(queued["execution_id"])
    _until_logged(api, queued["task_id"], "begun")
    api.post(f"/api/exec/stop/{queued['task_id']}")
    execution = reconcile_until(queued["execution_id"], ended)
    assert (execution.status, execution.exit_code) == ("stopped", 137)


def test_a_script_that_runs_too_long_times_out(execute: Any) -> None:
    queued = execute("sleep 600", timeout_s=1)
    jobs.execution_start(queued["execution_id"])
    Execution.objects.update(started_at=timezone.now() - timedelta(seconds=2))
    execution = reconcile_until(queued["execution_id"], ended)
    assert execution.status == "timed_out"
    assert steps() == ["started", "timed_out"]


def test_a_queued_execution_is_stopped_without_ever_running(execute: Any, api: APIClient) -> None:
    queued = execute("echo never")
    answer = api.post(f"/api/exec/stop/{queued['task_id']}")
    assert answer.json()["status"] == "stopped"
    jobs.execution_start(queued["execution_id"])
    assert Execution.objects.get().sandbox_id == ""
    assert steps() == ["stopped"]


def test_second_execution_of_a_task_is_refused_while_the_first_is_active(execute: Any, api: APIClient) -> None:
    queued = execute("sleep 5")
    again = api.post(f"/api/exec/{queued['task_id']}", {"script_content": "true"}, format="json")
    assert (again.status_code, again.json()["error"]["code"]) == (409, "execution_active")
    assert again.json()["error"]["details"] == {"execution_id": queued["execution_id"]}
    executions.execution_finish(execution=Execution.objects.get(), outcome=Outcome(ExecutionStatus.LOST))
    third = api.post(f"/api/exec/{queued['task_id']}", {"script_content": "true"}, format="json")
    assert third.status_code == 202


def refused_in(api: APIClient, sandbox_id: str) -> tuple[int, str]:
    task_id = api.post("/api/tasks/", {"title": "t"}, format="json").json()["id"]
    body = {"script_content": "true", "sandbox_id": sandbox_id}
    response = api.post(f"/api/exec/{task_id}", body, format="json", HTTP_IDEMPOTENCY_KEY="once")
    return response.status_code, response.json().get("error", {}).get("code", "")


def test_an_unknown_sandbox_is_refused_when_it_is_asked_for(api: APIClient, execute: Any) -> None:
    assert refused_in(api, "no-such-sandbox") == (404, "sandbox_not_found")
    ran = execute("true")
    jobs.execution_start(ran["execution_id"])
    execution = reconcile_until(ran["execution_id"], ended)
    # A name is no id.
    assert refused_in(api, execution.session_name) == (404, "sandbox_not_found")
    assert Execution.objects.count() == 1
    assert refused_in(api, execution.sandbox_id)[0] != 404


def test_a_sandbox_is_looked_for_at_the_start_where_the_service_does_not_answer(
    execute: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def silent(_: str) -> bool:
        raise SandboxUnavailable

    with monkeypatch.context() as patch:
        patch.setattr(get_executor(), "has_sandbox", silent)
        queued = execute("true", sandbox_id="no-such-sandbox")
    jobs.execution_start(queued["execution_id"])
    execution = Execution.objects.get()
    assert (execution.status, execution.error_code) == ("failed", "sandbox_not_found")
    assert steps() == ["failed"]


def test_a_refused_key_fails_the_execution_and_tells_nothing_of_the_key(execute: Any, settings) -> None:
    settings.DAYTONA_API_KEY = "a-wrong-key-that-nobody-may-see"
    queued = execute("true")
    jobs.execution_start(queued["execution_id"])
    execution = Execution.objects.get()
    assert (execution.status, execution.error_code) == ("failed", KeyRefused().code)
    assert "nobody-may-see" not in execution.error_message


def test_a_start_is_tried_again_while_the_sandbox_service_is_away(execute: Any, settings) -> None:
    at = settings.DAYTONA_API_URL
    settings.DAYTONA_API_URL = "http://127.0.0.1:9/api"
    queued = execute("true")
    jobs.execution_start(queued["execution_id"])
    execution = Execution.objects.get()
    assert (execution.status, execution.attempts) == ("starting", 1)
    settings.DAYTONA_API_URL = at
    Execution.objects.update(lease_until=None)
    jobs.execution_start(queued["execution_id"])
    assert reconcile_until(queued["execution_id"], ended).status == "completed"


def test_a_start_is_given_up_after_five_tries(execute: Any, settings) -> None:
    settings.DAYTONA_API_URL = "http://127.0.0.1:9/api"
    queued = execute("true")
    Execution.objects.update(attempts=executions.START_ATTEMPTS - 1)
    jobs.execution_start(queued["execution_id"])
    execution = Execution.objects.get()
    assert (execution.status, execution.error_code) == ("failed", SandboxUnavailable().code)


def test_a_running_execution_waits_out_a_sandbox_service_that_is_away(execute: Any, settings) -> None:
    at = settings.DAYTONA_API_URL
    queued = execute("sleep 0.2")
    jobs.execution_start(queued["execution_id"])
    settings.DAYTONA_API_URL = "http://127.0.0.1:9/api"
    jobs.executions_reconcile()
    jobs.execution_end(queued["execution_id"])
    assert Execution.objects.get().status == "running"
    settings.DAYTONA_API_URL = at
    assert reconcile_until(queued["execution_id"], ended).status == "completed"


def test_an_execution_whose_sandbox_is_gone_is_lost(execute: Any) -> None:
    queued = execute("sleep 600")
    jobs.execution_start(queued["execution_id"])
    execution = Execution.objects.get()
    jobs.async_to_sync(get_executor().release)(execution_place(execution), made_sandbox=True)
    execution = reconcile_until(queued["execution_id"], ended)
    assert (execution.status, execution.error_code) == ("lost", "sandbox_gone")


def test_sandbox_and_session_are_given_back_after_a_while(execute: Any, settings) -> None:
    queued = execute("true")
    jobs.execution_start(queued["execution_id"])
    reconcile_until(queued["execution_id"], ended)
    jobs.executions_release()
    assert Execution.objects.get().released_at is None
    settings.TASKHUB_SANDBOX_KEEP_S = 0
    jobs.executions_release()
    execution = Execution.objects.get()
    assert execution.released_at is not None
    (seen,) = jobs.async_to_sync(get_executor().observe)([execution_place(execution)])
    assert seen.state == "gone"


def test_a_clock_that_was_set_back_keeps_no_sandbox_longer(execute: Any, settings, pass_time: Any) -> None:
    queued = execute("true")
    jobs.execution_start(queued["execution_id"])
    reconcile_until(queued["execution_id"], ended)
    Execution.objects.update(finished_at=timezone.now() + timedelta(hours=1))
    jobs.executions_release()
    pass_time(settings.TASKHUB_SANDBOX_KEEP_S - 1)
    jobs.executions_release()
    assert Execution.objects.get().released_at is None
    pass_time(2)
    jobs.executions_release()
    assert Execution.objects.get().released_at is not None


def test_a_long_log_is_cut_with_a_marker(execute: Any, api: APIClient, settings) -> None:
    settings.TASKHUB_LOG_LIMIT_BYTES = 10_000
    queued = execute("yes 0123456789 | head -n 5000")
    jobs.execution_start(queued["execution_id"])
    execution = reconcile_until(queued["execution_id"], ended)
    assert execution.log_truncated
    assert default_storage.size(execution.log_file) < 60_000
    last = api.get(f"/api/exec/logs/{queued['task_id']}?tail=1").json()["lines"][0]
    assert last["line"] == "[TaskHub: the log was cut here: it is longer than 10000 bytes]"
    assert last["n"] == execution.log_lines == 10_000 // (10 + 38) + 1


def test_without_a_script_the_bash_block_of_the_description_runs(api: APIClient) -> None:
    description = "Say it.\n\n```python\nprint(1)\n```\n\n```bash\necho from the description\n```\n"
    task = api.post("/api/tasks/", {"title": "t", "description": description}, format="json").json()
    queued = api.post(f"/api/exec/{task['id']}", {}, format="json")
    assert queued.status_code == 202
    assert Execution.objects.get().script == "echo from the description\n"


def test_nothing_to_run_is_told(api: APIClient) -> None:
    task = api.post("/api/tasks/", {"title": "t"}, format="json").json()
    answer = api.post(f"/api/exec/{task['id']}", {}, format="json")
    assert (answer.status_code, answer.json()["error"]["code"]) == (400, "script_missing")


@pytest.mark.parametrize(
    ("body", "status", "field"),
    [
        ({"script_content": ""}, 400, "script_content"),
        ({"script_content": 5}, 400, "script_content"),
        ({"script_content": "x" * (1024 * 1024 + 1)}, 413, None),
        ({"script_content": "true", "timeout_s": 0}, 400, "timeout_s"),
        ({"script_content": "true", "timeout_s": "soon"}, 400, "timeout_s"),
        ({"script_content": "true", "env": {"A-B": "x"}}, 400, "env"),
        ({"script_content": "true", "env": {"A": 1}}, 400, "env"),
        ({"script_content": "true", "env": []}, 400, "env"),
        ({"script": "true"}, 400, "script"),
    ],
)
def test_a_wrong_execution_request_is_named(api: APIClient, body: dict[str, Any], status: int, field: str) -> None:
    task = api.post("/api/tasks/", {"title": "t"}, format="json").json()
    answer = api.post(f"/api/exec/{task['id']}", body, format="json")
    assert answer.status_code == status
    assert status == 413 or field in answer.json()["error"]["details"]
    assert not Execution.objects.exists()


def test_jobs_that_were_lost_are_sent_again(execute: Any, monkeypatch) -> None:
    sent: list[Any] = []
    for module in (jobs, starting):
        monkeypatch.setattr(module, "send_job", lambda name, execution_id: sent.append((name, str(execution_id))))
    queued = execute("true")
    start = ("taskhub.jobs.execution_start", queued["execution_id"])
    jobs.executions_reconcile()  # the job of its request was lost: it is still queued
    assert sent == [start]
    jobs.executions_reconcile()  # that job may still come
    assert sent == [start]
    Execution.objects.update(admitted_at=timezone.now() - timedelta(minutes=1))
    jobs.executions_reconcile()
    assert sent == [start, start]


def test_a_stop_whose_worker_died_is_still_a_stop(execute: Any, api: APIClient) -> None:
    queued = execute("echo begun; trap 'exit 0' TERM; while true; do sleep 0.05; done")
    jobs.execution_start(queued["execution_id"])
    _until_logged(api, queued["task_id"], "begun")
    api.post(f"/api/exec/stop/{queued['task_id']}")
    # A worker sends the signal and dies before it can say how the script ended.
    taken = execution_leases.execution_take_lease(
        execution_id=queued["execution_id"], status=ExecutionStatus.RUNNING, lease_s=0
    )
    assert taken is not None
    executions.execution_mark_ending(execution=taken, ending=ExecutionStatus.STOPPED)
    jobs.async_to_sync(get_executor().stop)(execution_place(taken))
    execution = reconcile_until(queued["execution_id"], ended)
    assert (execution.status, execution.exit_code) == ("stopped", 0)


def test_a_start_that_nobody_saw_is_ended_before_it_is_called_stopped(execute: Any, api: APIClient) -> None:
    queued = execute("sleep 600")
    admission.executions_admit()
    claimed = executions.execution_claim_start(execution_id=queued["execution_id"], lease_s=0)
    assert claimed is not None
    place = jobs.async_to_sync(get_executor().launch)(launch_of(claimed))
    api.post(f"/api/exec/stop/{queued['task_id']}")
    jobs.execution_start(queued["execution_id"])
    assert Execution.objects.get().status == "stopped"
    (seen,) = jobs.async_to_sync(get_executor().observe)([place])
    assert seen.state == "gone"


def test_of_two_starts_at_once_the_one_that_runs_is_the_one_that_counts(execute: Any, monkeypatch) -> None:
    queued = execute("echo ran once; exit 4", env={"SECRET": "s3cret"})
    admission.executions_admit()
    claimed = executions.execution_claim_start(execution_id=queued["execution_id"], lease_s=60)
    assert claimed is not None
    executor = get_executor()
    jobs.async_to_sync(executor.launch)(launch_of(claimed))
    # The second one looked for commands before the first one had sent its own.
    monkeypatch.setattr("sandboxes.execute.executor._started", lambda commands: None)
    twin = jobs.async_to_sync(executor.launch)(launch_of(claimed))
    monkeypatch.undo()
    assert executions.execution_mark_started(execution=claimed, place=twin)
    execution = reconcile_until(queued["execution_id"], ended)
    assert (execution.status, execution.exit_code, execution.log_lines) == ("failed", 4, 1)
    assert execution.env == {"SECRET": "s3cret"}  # plain: kept as the script is


def test_what_a_script_leaves_running_ends_with_it_whatever_its_environment(execute: Any, api: APIClient) -> None:
    queued = execute(
        "setsid bash -c 'while true; do echo left; sleep 0.05; done' & echo done",
        env={"TASKHUB_EXECUTION": "another", "PATH": "/usr/bin:/bin", "dir": "/x", "IFS": "0"},
    )
    jobs.execution_start(queued["execution_id"])
    execution = reconcile_until(queued["execution_id"], ended)
    assert (execution.status, execution.log_truncated) == ("completed", False)


def test_a_start_that_takes_its_workers_with_it_is_given_up(execute: Any) -> None:
    queued = execute("true")
    Execution.objects.update(status="starting", attempts=executions.START_ATTEMPTS)
    jobs.execution_start(queued["execution_id"])
    execution = Execution.objects.get()
    assert (execution.status, execution.error_code) == ("failed", "start_failed")


def test_a_log_of_carriage_returns_is_read_line_by_line(execute: Any, api: APIClient) -> None:
    queued = execute(r"printf '10%%\r20%%\r30%%\nend\n'")
    jobs.execution_start(queued["execution_id"])
    assert reconcile_until(queued["execution_id"], ended).log_lines == 2
    lines = api.get(f"/api/exec/logs/{queued['task_id']}").json()["lines"]
    assert [line["line"] for line in lines] == ["10%\r20%\r30%", "end"]
