"""How executions end whatever their scripts do, over the real local sandbox server; what is told meanwhile.

Scripts here kill, stop and hide what would end them: they run only in namespaces of their own, bubblewrap's or those of
Daytona's daemon.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import time
import uuid
from datetime import timedelta
from functools import partial
from typing import Any

import pytest
from asgiref.sync import async_to_sync
from django.utils import timezone
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from rest_framework.test import APIClient

from sandboxes.execute import ladder
from sandboxes.gateway import open_gateway
from taskhub import jobs
from taskhub.executions.place import execution_place
from taskhub.models import Execution, ExecutionStatus, Task
from taskhub.services import execution_leases, executions
from taskhub.web.thread_pool import wait_here
from tests.processes import alive, wait_until
from tests.settling import settle

DAEMON = os.environ.get("TASKHUB_TEST_DAEMON", "")

pytestmark = [pytest.mark.django_db, pytest.mark.sqlite_suffices, pytest.mark.usefixtures("sandboxes", "namespaces")]


@pytest.fixture
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    """The rungs that cannot help here are left sooner."""
    monkeypatch.setattr(ladder, "SIGNALS", (("TERM", 1.0), ("KILL", 1.0)))


ENDS_WITHIN_S = 40.0
"""The ladder takes at most 20 s; a machine that is busy with other tests makes the rest of the way longer."""


def wait_for_line(api: APIClient, task_id: str, text: str) -> None:
    wait_until(lambda: text in str(api.get(f"/api/exec/logs/{task_id}").json().get("lines")), text, 60)


# What a script does, whether its runner can still be asked, whether its log is there.
HOSTILE = {
    "removes the runner's folder": "rm -rf ~/.taskhub",
    "moves the runner's folder": "mv ~/.taskhub ~/moved",
    "locks the home": "chmod 000 ~/.taskhub",
    "removes the sandbox service's own folder": "rm -rf ~/.daytona",
    "replaces the runner's control": "cd ~/.taskhub/*/ && rm -f control && mkdir control",
    "holds the runner's control": "sleep SLEEP 9<>$(echo ~/.taskhub/*/control) & (trap '' PIPE; yes >&9) &",
    "locks everything of its own": "chmod 000 ~",
    "makes fresh shells hang": "for f in .bashrc .bash_profile .profile .zshenv .zshrc; do echo sleep 900 >~/$f; done",
    "puts itself in the place of programs": "mkdir ~/bin; ln -s /bin/true ~/bin/kill; export PATH=~/bin:$PATH",
    "stops the runner": "kill -STOP $PPID",
    "stops its own group": "(sleep 0.3; kill -STOP 0) &",
    "stops everything": "setsid sh -c 'sleep 0.2; kill -STOP -1' & sleep 0.3",
    "ignores signals": "trap '' TERM INT HUP",
    "closes its descriptors": "exec 0<&- 1>&- 2>&-",
    "leaves its session": "setsid sleep SLEEP & env -i setsid sleep SLEEP &",
    "deletes itself": 'rm -f "$0"; rm -rf ~/*',
    "forks": "for i in $(seq 30); do (trap '' TERM; sleep SLEEP) & done",
}


OUT_OF_THE_DAEMONS_REACH = {"removes the sandbox service's own folder", "locks everything of its own"}


@pytest.mark.parametrize("what", HOSTILE)
def test_stop_ends_a_script_that(api: APIClient, execute: Any, impatient: None, what: str) -> None:
    word = f"7{uuid.uuid4().int % 10**8}"
    queued = execute(f"echo begun; sleep {word} & {HOSTILE[what].replace('SLEEP', word)}\nsleep {word}")
    jobs.execution_start(queued["execution_id"])
    wait_until(lambda: bool(alive(f"sleep {word}")), "the script runs", 60)
    api.post(f"/api/exec/stop/{queued['task_id']}")
    execution = settle(queued["execution_id"])
    assert execution.status == "stopped"
    assert "does not answer" not in execution.error_message
    if execution.leftover:
        jobs.execution_stop_sandbox(queued["execution_id"])
    wait_until(lambda: not alive(f"sleep {word}"), "the end of all processes")
    lines = [line["line"] for line in api.get(f"/api/exec/logs/{queued['task_id']}").json()["lines"]]
    # Daytona's daemon keeps its logs there: what a worker has followed until then is all there is, and none did here.
    assert "begun" in lines or (DAEMON and what in OUT_OF_THE_DAEMONS_REACH)
    assert not any("\x1b_" in line for line in lines)


@pytest.mark.parametrize(
    "script",
    ["rm -rf ~/.taskhub", "mv ~/.taskhub ~/moved", "rm -rf ~/.daytona", "kill -STOP $PPID", "trap '' TERM"],
)
def test_time_limit_ends_it_too(execute: Any, impatient: None, script: str) -> None:
    word = f"7{uuid.uuid4().int % 10**8}"
    queued = execute(f"echo begun; {script}; sleep {word}", timeout_s=1)
    jobs.execution_start(queued["execution_id"])
    wait_until(lambda: bool(alive(f"sleep {word}")), "the script runs", 60)
    Execution.objects.update(started_at=timezone.now() - timedelta(seconds=5))
    execution = settle(queued["execution_id"])
    assert execution.status == "timed_out"
    assert Task.objects.get().ending == ""
    if execution.leftover:
        jobs.execution_stop_sandbox(queued["execution_id"])
    wait_until(lambda: not alive(f"sleep {word}"), "the end of all processes")


@pytest.mark.parametrize("ending", ["stopped", "timed_out"])
def test_script_that_does_nothing_about_it_ends_by_its_signal(execute: Any, api: APIClient, ending: str) -> None:
    queued = execute("echo begun; sleep 300")
    jobs.execution_start(queued["execution_id"])
    wait_for_line(api, queued["task_id"], "begun")
    if ending == "stopped":
        api.post(f"/api/exec/stop/{queued['task_id']}")
    else:
        Execution.objects.update(started_at=timezone.now() - timedelta(days=1))
    ended = settle(queued["execution_id"])
    assert (ended.status, ended.exit_code, ended.error_code, ended.log_lines) == (ending, 143, "", 1)


@pytest.mark.parametrize(
    "script",
    [
        "pkill -9 bash",
        "kill -9 -1",
        "kill -9 $(ps -o ppid= -p $PPID)",
        "pkill -9 taskhub; pkill -9 -f run.sh",
    ],
)
def test_dead_runner_is_noticed_without_a_stop(execute: Any, script: str) -> None:
    """By its lock; its lines are kept, and nothing of it is left."""
    word = f"7{uuid.uuid4().int % 10**8}"
    queued = execute(f"echo begun; sleep {word} & sleep 0.5; {script}; sleep {word}")
    jobs.execution_start(queued["execution_id"])
    execution = execution_leases.execution_take_lease(
        execution_id=queued["execution_id"], status=ExecutionStatus.RUNNING, lease_s=600
    )
    assert execution is not None
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("taskhub.worker.following.LOOK_S", 1.0)
        wait_here(jobs.Following(execution).run)
    ended = Execution.objects.get()
    assert (ended.status, ended.error_code, ended.exit_code) == ("failed", "runner_died", None)
    assert ended.log_lines == 1
    if ended.leftover:
        jobs.execution_stop_sandbox(queued["execution_id"])
    wait_until(lambda: not alive(f"sleep {word}"), "the end of all processes")


def test_killed_runner_does_not_end_before_its_script(execute: Any) -> None:
    word = f"7{uuid.uuid4().int % 10**8}"
    queued = execute(f"kill -9 $PPID; for i in $(seq 60); do sleep {word}; done")
    jobs.execution_start(queued["execution_id"])
    ended = settle(queued["execution_id"])
    assert (ended.status, ended.error_code, ended.exit_code, ended.leftover) == ("failed", "runner_died", None, "")
    assert not alive(f"sleep {word}")


def test_missing_interpreter_is_named(execute: Any, api: APIClient) -> None:
    queued = execute("#!/usr/bin/env python9\nprint(1)\n")
    jobs.execution_start(queued["execution_id"])
    settle(queued["execution_id"])
    status = api.get(f"/api/exec/status/{queued['task_id']}").json()
    assert (status["status"], status["exit_code"]) == ("failed", 127)
    assert status["error"] == {
        "code": "interpreter_missing",
        "message": "The sandbox does not have the interpreter that the script's first line names: /usr/bin/env python9",
    }


def test_lost_execution_keeps_what_it_printed(execute: Any, api: APIClient) -> None:
    queued = execute("echo a; sleep 600")
    jobs.execution_start(queued["execution_id"])
    execution = execution_leases.execution_take_lease(
        execution_id=queued["execution_id"], status=ExecutionStatus.RUNNING, lease_s=600
    )
    assert execution is not None
    following = jobs.Following(execution)

    async def lose() -> None:
        running = asyncio.create_task(following.run())
        async with asyncio.timeout(60):
            while not following._log.lines and not running.done():  # noqa: ASYNC110 - the spool sends no signal
                await asyncio.sleep(0.05)
        async with open_gateway() as gateway:
            await gateway.sandbox_delete(execution.session_name)
        await running

    wait_here(lose)
    ended = Execution.objects.get()
    assert (ended.status, ended.error_code, ended.log_lines) == ("lost", "sandbox_gone", 1)
    assert [line["line"] for line in api.get(f"/api/exec/logs/{queued['task_id']}").json()["lines"]] == ["a"]


def test_in_a_sandbox_of_the_users_what_may_still_run_is_said(execute: Any, api: APIClient, impatient: None) -> None:
    async def make() -> str:
        async with open_gateway() as gateway:
            sandbox, _ = await gateway.sandbox_create(name=f"mine-{uuid.uuid4()}", labels={}, ttl_minutes=60)
            return str(sandbox.id)

    queued = execute("echo begun; kill -STOP $PPID; sleep 900", sandbox_id=async_to_sync(make)())
    jobs.execution_start(queued["execution_id"])
    wait_for_line(api, queued["task_id"], "begun")
    api.post(f"/api/exec/stop/{queued['task_id']}")
    settle(queued["execution_id"])
    status = api.get(f"/api/exec/status/{queued['task_id']}").json()
    found = (status["status"], status["leftover"], status["error"]["code"])
    if DAEMON:
        # Its fresh processes see those of the session: the stopped runner is woken, and sees to all that is left.
        assert found == ("stopped", None, "ended_round_runner")
    else:
        assert found == ("stopped", "possible", "ended_with_session")
        assert "may still run" in status["error"]["message"]


# --- What is told meanwhile ---------------------------------------------------------------------------


def test_ending_is_shown_and_refuses_others(execute: Any, api: APIClient) -> None:
    queued = execute("sleep 600")
    task = f"/api/tasks/{queued['task_id']}"
    jobs.execution_start(queued["execution_id"])
    assert api.get(f"/api/exec/status/{queued['task_id']}").json()["ending"] is None
    assert api.get(task).json()["ending"] is None
    version = api.get(task).json()["version"]
    assert api.post(f"/api/exec/stop/{queued['task_id']}").json()["ending"] == "stopped"
    status = api.get(f"/api/exec/status/{queued['task_id']}").json()
    assert (status["status"], status["ending"]) == ("running", "stopped")
    assert (api.get(task).json()["ending"], api.get(task).json()["version"]) == ("stopped", version)
    for answer in (
        api.delete(task),
        api.post(f"/api/exec/{queued['task_id']}", {"script_content": "true"}, format="json"),
    ):
        assert (answer.status_code, answer.json()["error"]["code"]) == (409, "execution_ending")
        assert 1 <= int(answer["Retry-After"]) <= 20
    settle(queued["execution_id"])
    assert api.get(task).json()["ending"] is None
    assert api.get(f"/api/exec/status/{queued['task_id']}").json()["ending"] is None
    assert api.delete(task).status_code == 204


def test_time_limit_is_shown_while_it_ends(execute: Any, api: APIClient) -> None:
    queued = execute("sleep 600")
    jobs.execution_start(queued["execution_id"])
    execution = execution_leases.execution_take_lease(
        execution_id=queued["execution_id"], status=ExecutionStatus.RUNNING, lease_s=0
    )
    assert execution is not None
    executions.execution_mark_ending(execution=execution, ending=ExecutionStatus.TIMED_OUT)
    assert api.get(f"/api/exec/status/{queued['task_id']}").json()["ending"] == "timed_out"
    assert api.get(f"/api/tasks/{queued['task_id']}").json()["ending"] == "timed_out"


# --- Random hostile scripts ---------------------------------------------------------------------------

DEEDS = [
    "trap '' TERM INT HUP QUIT",
    "kill -STOP $PPID",
    "kill -9 $PPID",
    "kill -TERM 0",
    "kill -STOP $$",
    "kill -9 -1",
    "kill -STOP -1",
    "pkill -9 bash",
    "pkill -STOP perl",
    "pkill -9 -f attend",
    "rm -rf ~/.taskhub",
    "mv ~/.taskhub ~/x",
    "chmod -R 000 ~/.taskhub",
    "chmod 000 ~",
    "rm -rf ~/* ~/.[!.]*",
    "rm -rf ~/.daytona",
    "chmod 000 ~/.daytona",
    "mv ~/.daytona ~/gone; : >~/.daytona",
    "cd ~/.daytona/sessions/*/*/ && rm output.log && mkfifo output.log",
    "cd ~/.daytona/sessions/*/*/ && mkfifo exit_code",
    "echo 0 | tee ~/.daytona/sessions/*/*/exit_code",
    "for f in ~/.daytona/sessions/*/*/*; do ln -sf /dev/null $f; done",
    "mkfifo ~/.taskhub/*/artifacts.new",
    "kill 1",
    'rm -f "$0"',
    "exec 0<&- 1>&- 2>&-",
    "exec >/dev/full",
    "printf no-newline",
    "yes | head -c 300000",
    "bash -c 'while :; do :; done' WORD &",
    "setsid sleep WORD &",
    "env -i setsid sleep WORD &",
    "for i in $(seq 40); do sleep WORD & done",
    # A fork bomb within limits: 63 processes.
    "bomb() { if [ $1 -gt 0 ]; then bomb $(($1 - 1)) & bomb $(($1 - 1)) & fi; sleep WORD; }; bomb 5 &",
    "(trap '' TERM; kill -STOP $BASHPID; sleep WORD) &",
    "sleep 0.1",
]


TRUE_REASONS = {
    *("", "runner_died", "end_unknown"),
    *("ended_round_runner", "ended_with_session", "ended_with_sandbox"),
}
EXAMPLES = int(os.environ.get("TASKHUB_TEST_HOSTILE_SCRIPTS", "12"))


@settings(max_examples=EXAMPLES, suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow])
@given(
    st.lists(st.sampled_from(DEEDS), min_size=1, max_size=4),
    st.sampled_from(["stopped", "timed_out"]),
    st.floats(0, 0.5),
)
def test_no_script_outlives_its_ending(
    execute: Any, impatient: None, deeds: list[str], ending: str, after_s: float
) -> None:
    """Whatever it did, at a stop and at its time limit: it ends in time, is told truly, and nothing of it is left."""
    word = f"7{uuid.uuid4().int % 10**8}"
    queued = execute("\n".join(["echo begun", *deeds, "sleep WORD"]).replace("WORD", word))
    jobs.execution_start(queued["execution_id"])
    execution = execution_leases.execution_take_lease(
        execution_id=queued["execution_id"], status=ExecutionStatus.RUNNING, lease_s=600
    )
    assert execution is not None
    took_s = wait_here(partial(follow_and_end, execution, ending, after_s))
    ended = Execution.objects.get(pk=queued["execution_id"])
    # A script that kills itself, or its runner, may have ended before it was to be ended.
    assert ended.status in {ending, "failed"}, ended.status
    assert "does not answer" not in ended.error_message
    assert ended.error_code in TRUE_REASONS
    assert took_s < ENDS_WITHIN_S
    if ended.leftover:
        jobs.execution_stop_sandbox(queued["execution_id"])
    wait_until(lambda: not alive(word), f"the end of {deeds}", 60)


async def follow_and_end(execution: Execution, ending: str, after_s: float) -> float:
    """As a worker follows it; it is to end some time after it has begun. The seconds from there to its end."""
    following = jobs.Following(execution)
    running = asyncio.create_task(following.run())
    with contextlib.suppress(TimeoutError):
        async with asyncio.timeout(10):
            while not following._log.lines and not running.done():  # noqa: ASYNC110 - the spool sends no signal
                await asyncio.sleep(0.05)
    await asyncio.sleep(after_s)  # its deeds are under way, or done
    asked = time.monotonic()
    if ending == "stopped":
        execution.stop_requested_at = timezone.now()
    else:
        following._deadline = time.monotonic()
    following.moved.send()
    async with asyncio.timeout(120):
        await running
    return time.monotonic() - asked


def test_place_carries_what_marks_are_known_by(execute: Any) -> None:
    queued = execute("true")
    jobs.execution_start(queued["execution_id"])
    execution = Execution.objects.get()
    assert len(execution.log_token) == 64
    # A worker of a release without marks may start what this release has accepted: then none are waited for.
    queued = execute("true")
    assert Execution.objects.get(pk=queued["execution_id"]).log_token == ""
    Execution.objects.filter(pk=queued["execution_id"]).update(status=ExecutionStatus.STARTING, attempts=1)
    taken = executions.execution_claim_start(execution_id=queued["execution_id"], lease_s=60)
    assert taken is not None
    assert taken.log_token == ""
    assert execution_place(execution).log_token == execution.log_token
