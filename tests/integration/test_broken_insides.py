"""Executions whose scripts break the inside of their sandbox: the daemon's answers, and what the hub makes of them.

In front of Daytona's daemon the scripts do it (`make test-daemon`). On the local sandbox server, whose own files no
script reaches, the server plays the daemon's answers. The table of both is in `sandboxes/gateway/inside.py`.
"""

from __future__ import annotations

import asyncio
import uuid
from collections.abc import Iterator
from dataclasses import dataclass
from functools import partial
from typing import Any

import httpx
import pytest
from asgiref.sync import async_to_sync
from django.utils import timezone

from sandboxes.execute import ladder
from sandboxes.gateway import open_gateway
from taskhub import jobs
from taskhub.executions import log_archive
from taskhub.models import Execution, ExecutionStatus
from taskhub.services import execution_leases
from taskhub.web.thread_pool import wait_here
from taskhub.worker import followed_log, following
from tests.integration.conftest import DAEMON, KEY
from tests.processes import alive, wait_until

pytestmark = [pytest.mark.django_db, pytest.mark.sqlite_suffices, pytest.mark.usefixtures("sandboxes", "namespaces")]

LOOK_S = 0.5
LOOKS = 4
"""More than the tries to read a log."""
LOG = "GET .*/command/[^/]*/logs"
COMMAND = "GET .*/command/[^/]*$"
SESSION = "DELETE .*/process/session/"
FILE = "GET .*/files/download"
OWN = "/home/daytona/.daytona/sessions/s"


def said(status: int, message: str) -> dict[str, Any]:
    return {"status": status, "body": {"statusCode": status, "message": message}}


DENIED = {
    LOG: said(403, f"forbidden: open {OWN}/c/output.log: permission denied"),
    COMMAND: said(500, f"failed to read exit code file: open {OWN}/c/exit_code: permission denied"),
    SESSION: said(400, f"bad request: open {OWN}: permission denied"),
    FILE: {"status": 403, "text": "403 Forbidden\n"},
}
IN_FOLDER = "cd ~/.daytona/sessions/*/*/ && rm output.log &&"
ASK_DAEMON = (
    "for s in ~/.daytona/sessions/*; do exec 7<>/dev/tcp/127.0.0.1/2280;"
    ' printf "DELETE /process/session/${s##*/} HTTP/1.0\\r\\n\\r\\n" >&7; done'
)


@dataclass(frozen=True)
class Deed:
    """What a script does, and the daemon's answers to it."""

    script: str
    answers: dict[str, dict[str, Any]]


DEEDS = {
    "locks its home": Deed("chmod 000 ~", DENIED),
    "locks the daemon's folder": Deed("chmod 000 ~/.daytona", {key: DENIED[key] for key in (LOG, COMMAND, SESSION)}),
    "locks its log": Deed("chmod 000 ~/.daytona/sessions/*/*/output.log", {LOG: DENIED[LOG]}),
    "deletes the daemon's folder": Deed(
        "rm -rf ~/.daytona", {LOG: said(404, f"not found: open {OWN}/c/output.log: no such file or directory")}
    ),
    "puts a file in the place of the daemon's folder": Deed(
        "mv ~/.daytona ~/gone; : >~/.daytona",
        {
            LOG: said(400, f"bad request: open {OWN}/c/output.log: not a directory"),
            COMMAND: said(500, f"failed to read exit code file: open {OWN}/c/exit_code: not a directory"),
            SESSION: said(400, f"bad request: open {OWN}: not a directory"),
        },
    ),
    "puts a folder in its log's place": Deed(
        f"{IN_FOLDER} mkdir output.log",
        {
            f"{LOG}.follow": {"ws_close_code": 1011},
            f"{LOG}$": said(400, f"bad request: read {OWN}/c/output.log: is a directory"),
        },
    ),
    "puts a loop in its log's place": Deed(
        f"{IN_FOLDER} ln -s output.log output.log",
        {LOG: said(400, f"bad request: open {OWN}/c/output.log: too many levels of symbolic links")},
    ),
    "puts a named pipe in its log's place": Deed(f"{IN_FOLDER} mkfifo output.log", {LOG: {"hang_s": 600}}),
    "puts zeros in its log's place": Deed(
        f"{IN_FOLDER} truncate -s 100M output.log",
        {f"{LOG}$": {"status": 200, "text": "\0" * 1024, "repeat": 40_000}},
    ),
    "writes an exit code that is none": Deed(
        "echo none | tee ~/.daytona/sessions/*/*/exit_code",
        {COMMAND: said(500, 'failed to convert exit code to int: strconv.Atoi: parsing "none": invalid syntax')},
    ),
    "writes an exit code that is false": Deed(
        "echo 0 | tee ~/.daytona/sessions/*/*/exit_code",
        {COMMAND: {"status": 200, "body": {"id": "c", "command": "", "exitCode": 0}}},
    ),
    "puts a named pipe in its exit code's place": Deed(
        "cd ~/.daytona/sessions/*/*/ && mkfifo exit_code", {COMMAND: {"hang_s": 600}}
    ),
}


class Broken:
    """The inside of a sandbox, broken by a script or, on the local sandbox server, in its name."""

    def __init__(self, url: str) -> None:
        self._faults = f"{url.removesuffix('/api')}/faults"
        self._headers = {"Authorization": f"Bearer {KEY}"}

    def script(self, deed: Deed) -> str:
        return deed.script if DAEMON else ":"

    def answer(self, deed: Deed) -> None:
        """The daemon does it by itself."""
        if not DAEMON:
            for match, effect in deed.answers.items():
                self.fault(match, **effect)

    def fault(self, match: str, **effect: Any) -> None:
        answer = httpx.post(self._faults, json={"match": match, **effect}, headers=self._headers, trust_env=False)
        assert answer.status_code == 201, answer.text

    def heal(self) -> None:
        if not DAEMON:
            httpx.delete(self._faults, headers=self._headers, trust_env=False)


@pytest.fixture
def broken(sandbox_server: str, monkeypatch: pytest.MonkeyPatch) -> Iterator[Broken]:
    """Rungs that cannot help are left sooner, and looks and new tries come sooner."""
    monkeypatch.setattr(ladder, "SIGNALS", (("TERM", 0.5), ("KILL", 0.5)))
    monkeypatch.setattr(ladder, "SNAPSHOT_S", 1.0)
    monkeypatch.setattr(following, "LOOK_S", LOOK_S)
    monkeypatch.setattr(following, "RETRY_S", 0.5)
    monkeypatch.setattr(following, "LAST_WORD_S", 1.0)
    monkeypatch.setattr(followed_log, "AGAIN_S", 0.2)
    monkeypatch.setattr(followed_log, "LOG_END_S", 1.0)
    made = Broken(sandbox_server)
    yield made
    made.heal()


def begun(queued: dict[str, str], word: str) -> Execution:
    """Its script runs, and has done its deed."""
    jobs.execution_start(queued["execution_id"])
    wait_until(lambda: bool(alive(f"sleep {word}")), "the script runs", 60)
    return taken(queued)


def taken(queued: dict[str, str]) -> Execution:
    execution = execution_leases.execution_take_lease(
        execution_id=queued["execution_id"], status=ExecutionStatus.RUNNING, lease_s=600
    )
    assert execution is not None
    return execution


async def follow(execution: Execution, ending: str = "") -> None:
    """As a worker does, to its end: by a stop or its time limit, once it was looked at a few times, or by itself."""
    followed = following.Following(execution)
    looks, look = asyncio.Semaphore(0), followed._look

    async def counted() -> Any:
        found = await look()
        looks.release()
        return found

    followed._look = counted  # type: ignore[method-assign]
    running = asyncio.create_task(followed.run())
    if ending:
        for _ in range(LOOKS):
            asked = asyncio.create_task(looks.acquire())
            await asyncio.wait([asked, running], return_when=asyncio.FIRST_COMPLETED, timeout=60)
            assert not running.done(), "it has ended before it was to end"
        if ending == "stopped":
            execution.stop_requested_at = timezone.now()
        else:
            followed._deadline = 0.0
        followed.moved.send()
    async with asyncio.timeout(90):
        await running


def word() -> str:
    return f"7{uuid.uuid4().int % 10**8}"


# What the local server plays differs less than what scripts do.
PLAYED = {
    "locks its home": "stopped",
    "deletes the daemon's folder": "timed_out",
    "puts a file in the place of the daemon's folder": "stopped",
    "puts a folder in its log's place": "timed_out",
    "puts a named pipe in its log's place": "stopped",
    "puts zeros in its log's place": "timed_out",
    "writes an exit code that is none": "stopped",
    "writes an exit code that is false": "timed_out",
    "puts a named pipe in its exit code's place": "stopped",
}
CASES = [(what, ending) for what in DEEDS for ending in ("stopped", "timed_out")] if DAEMON else [*PLAYED.items()]


@pytest.mark.parametrize(("what", "ending"), CASES)
def test_goes_on_and_ends_where_its_script(execute: Any, broken: Broken, what: str, ending: str) -> None:
    deed, mine = DEEDS[what], word()
    queued = execute(f"echo begun; sleep {mine}9 & {broken.script(deed)}\nsleep {mine}")
    execution = begun(queued, mine)
    broken.answer(deed)
    wait_here(partial(follow, execution, ending))
    ended = Execution.objects.get()
    assert ended.status == ending, (ended.status, ended.error_code, ended.error_message)
    assert "service" not in ended.error_message
    if ended.leftover:
        broken.heal()
        jobs.execution_stop_sandbox(queued["execution_id"])
    wait_until(lambda: not alive(mine), "the end of all processes")


@pytest.mark.parametrize("what", ["locks its home", "deletes the daemon's folder"])
def test_log_that_its_script_took_away_says_so(execute: Any, broken: Broken, what: str) -> None:
    deed, mine = DEEDS[what], word()
    queued = execute(f"echo begun; {broken.script(deed)}\nsleep {mine}")
    execution = begun(queued, mine)
    broken.answer(deed)
    wait_here(partial(follow, execution, "stopped"))
    ended = Execution.objects.get()
    assert ended.log_truncated
    *_, last = log_archive.read(ended.log_file)
    assert "the sandbox does not" in last.line
    broken.heal()


@pytest.mark.parametrize("what", ["locks its home", "puts a named pipe in its log's place"])
def test_runner_that_died_in_a_broken_sandbox_is_noticed(execute: Any, broken: Broken, what: str) -> None:
    """No stop is asked for, no lock can be looked at, and no log says anything."""
    deed, mine = DEEDS[what], word()
    queued = execute(f"echo begun; env -i setsid sleep {mine} & sleep 0.3; {broken.script(deed)}; cd; kill -9 -1")
    jobs.execution_start(queued["execution_id"])
    if DAEMON:
        execution = taken(queued)
        wait_until(lambda: not alive(mine), "it has killed all", 60)
    else:
        wait_until(lambda: bool(alive(f"sleep {mine}")), "it runs", 60)
        wait_until(lambda: not alive(f"sleep {mine}"), "it has killed all", 60)
        execution = taken(queued)
        # Its command has ended there, and says so.
        broken.answer(Deed("", {key: value for key, value in deed.answers.items() if key != COMMAND}))
    wait_here(partial(follow, execution))
    ended = Execution.objects.get()
    assert (ended.status, ended.exit_code) == ("failed", None)
    assert ended.error_code in {"runner_died", "end_unknown"}


def test_script_that_locks_its_log_and_ends_is_not_told_as_killed(execute: Any, broken: Broken) -> None:
    """Its exit code is a file that it could write, so the log alone says how it ended."""
    deed = DEEDS["locks its log"]
    queued = execute(f"echo begun; {broken.script(deed)}; exit 0")
    jobs.execution_start(queued["execution_id"])
    execution = taken(queued)

    async def has_ended() -> bool:
        (seen,) = await jobs.get_executor().observe([following.execution_place(execution)])
        return seen.state == "ended"

    wait_until(lambda: wait_here(has_ended), "it has ended", 60)
    broken.answer(deed)
    wait_here(partial(follow, execution))
    ended = Execution.objects.get()
    assert (ended.status, ended.error_code, ended.exit_code) == ("failed", "end_unknown", None)


def test_script_that_has_its_session_ended_has_failed(execute: Any, broken: Broken) -> None:
    """Its sandbox is there: it is not told as gone. The daemon takes requests from inside without a key."""
    mine = word()
    gone = said(404, "not found: session not found")
    queued = execute(f"env -i setsid sleep {mine} & sleep 0.3; {ASK_DAEMON if DAEMON else ':'}; sleep 600")
    execution = begun(queued, mine)
    broken.answer(Deed("", {LOG: gone, COMMAND: gone, SESSION: gone}))
    wait_here(partial(follow, execution))
    ended = Execution.objects.get()
    assert (ended.status, ended.exit_code) == ("failed", None)
    assert ended.error_code in {"runner_died", "end_unknown"}
    if ended.leftover:
        jobs.execution_stop_sandbox(queued["execution_id"])
    wait_until(lambda: not alive(mine), "the end of all processes")


def test_sandbox_of_the_users_whose_session_cannot_be_ended(execute: Any, broken: Broken) -> None:
    """It answers, so the stop does not wait for an answer; what may still run there is said."""

    async def make() -> str:
        async with open_gateway() as gateway:
            sandbox, _ = await gateway.sandbox_create(name=f"mine-{uuid.uuid4()}", labels={}, ttl_minutes=60)
            return str(sandbox.id)

    deed, mine = DEEDS["locks its home"], word()
    script = f"echo begun; kill -STOP $PPID; {broken.script(deed)}\nsleep {mine}"
    queued = execute(script, sandbox_id=async_to_sync(make)())
    execution = begun(queued, mine)
    broken.answer(deed)
    if not DAEMON:
        broken.fault("POST .*/process/execute", **said(500, "fork/exec /bin/bash: resource temporarily unavailable"))
    wait_here(partial(follow, execution, "stopped"))
    ended = Execution.objects.get()
    assert ended.status == "stopped"
    assert ended.error_code in {"ended_round_runner", "ended_with_sandbox"}
    assert DAEMON or (ended.leftover, "may still run" in ended.error_message) == ("possible", True)


def test_proxy_that_cannot_ask_about_the_key_ends_nothing(execute: Any, broken: Broken) -> None:
    """It answers 401, as for a wrong key, while Daytona's own API takes the key."""
    if DAEMON:
        pytest.skip("the daemon has no proxy before it")
    queued = execute("echo begun; sleep 3; echo done")
    jobs.execution_start(queued["execution_id"])
    execution = taken(queued)
    body = {"statusCode": 401, "message": "unauthorized: authentication failed: Bearer token validation error"}
    broken.fault("/toolbox/", status=401, body=body, times=6)
    wait_here(partial(follow, execution))
    ended = Execution.objects.get()
    assert (ended.status, ended.exit_code, ended.log_lines) == ("completed", 0, 2)


@pytest.mark.parametrize(
    "answer",
    [said(500, "no"), {"hang_s": 600}, said(403, "open artifacts: permission denied")],
    ids=["error", "silence", "denied"],
)
def test_files_that_cannot_be_had_do_not_lose_the_end(
    execute: Any, broken: Broken, monkeypatch: pytest.MonkeyPatch, answer: dict[str, Any]
) -> None:
    if DAEMON:
        pytest.skip("a script that has ended leaves no process to do that")
    queued = execute("echo result >out.txt")
    jobs.execution_start(queued["execution_id"])
    execution = taken(queued)
    monkeypatch.setattr("sandboxes.gateway.toolbox.REQUEST_S", 1.0)
    broken.fault(FILE, **answer)
    wait_here(partial(follow, execution))
    ended = Execution.objects.get()
    assert (ended.status, ended.exit_code, ended.artifacts.count()) == ("completed", 0, 0)
