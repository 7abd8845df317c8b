"""Changed files of running executions, in a real sandbox."""

from __future__ import annotations

import asyncio
import json
import time
from typing import Any

import pytest
from django_eventstream.models import Event
from rest_framework.test import APIClient

from sandboxes.execute import file_changes
from taskhub import jobs
from taskhub.executions import get_executor
from taskhub.executions.executor import FileChanges
from taskhub.executions.place import execution_place
from taskhub.models import Execution
from taskhub.services.file_changes import FILES_MOST, file_changes_tell
from taskhub.web.thread_pool import wait_here
from taskhub.worker.following import Following
from tests.settling import settle

pytestmark = pytest.mark.sqlite_suffices

WITHIN_S = 120.0


def told() -> list[dict[str, Any]]:
    events = [json.loads(text) for text in Event.objects.order_by("eid").values_list("data", flat=True)]
    return [event["data"] for event in events if event["event"] == "file_changed"]


def named() -> list[tuple[str, str, int | None]]:
    return [(file["change"], file["path"], file["size"]) for data in told() for file in data["files"]]


def look_at_files() -> None:
    """What a worker does with each execution that it follows, when a mark in its log says that files have changed."""
    for execution in Execution.objects.filter(status="running").select_related("task"):
        following = Following(execution)
        wait_here(following._tell_changes)
        wait_here(following._log.close)


def watch_until(wanted: Any) -> None:
    until = time.monotonic() + WITHIN_S
    while not wanted():
        assert time.monotonic() < until, told()
        look_at_files()
        time.sleep(0.1)


# --- Over a real sandbox -----------------------------------------------------------------------------


def in_sandbox(test: Any) -> Any:
    return pytest.mark.django_db(pytest.mark.usefixtures("sandboxes")(test))


@in_sandbox
def test_what_a_script_does_to_its_files_is_told_while_it_runs(execute: Any) -> None:
    queued = execute(
        """
        mkdir -p "a b"; echo 12345 > "a b/ü.txt"; echo x > gone; touch $'line\\nend'; ln -s /etc/passwd link
        read -r _ < <(tail -F go 2>/dev/null)
        echo 67890 >> "a b/ü.txt"; rm gone; echo new > new
        read -r _ < <(tail -F -n 1 go2 2>/dev/null)
        echo last > last
        """
    )
    jobs.execution_start(queued["execution_id"])
    watch_until(lambda: len(named()) == 2)
    assert sorted(named()) == [("created", "a b/ü.txt", 6), ("created", "gone", 2)]
    (first,) = told()
    assert (first["task_id"], first["execution_id"], first["assignee"], first["left_out"]) == (
        queued["task_id"],
        queued["execution_id"],
        "",
        0,
    )
    in_work_dir(queued, "echo > go")
    watch_until(lambda: ("created", "new", 4) in named())
    assert {("modified", "a b/ü.txt", 12), ("deleted", "gone", None), ("created", "new", 4)} <= set(named())
    in_work_dir(queued, "echo > go2")
    assert settle(queued["execution_id"]).status == "completed"
    # It was made in the last moment, and is told before the end is.
    assert ("created", "last", 5) in named()
    last = json.loads(Event.objects.order_by("-eid").values_list("data", flat=True)[0])
    assert last["data"]["execution_event"] == "completed"
    # Links, names with line ends, and files outside the folder are not reported.
    assert {path for _, path, _ in named()} == {"a b/ü.txt", "gone", "new", "go", "go2", "last"}


def in_work_dir(queued: dict[str, str], line: str) -> None:
    """Run a line in the execution's working folder, from beside it."""

    async def run() -> int:
        from sandboxes.gateway import open_gateway  # noqa: PLC0415 - of this helper alone

        async with open_gateway() as gateway:
            sandbox = await gateway.sandbox_get(queued["session_name"])
            code, _ = await sandbox.toolbox.shell(f"bash -c 'cd ~/taskhub/{queued['session_name']} && {line}'")
            return code

    assert jobs.async_to_sync(run)() == 0


@in_sandbox
def test_a_script_begins_in_an_empty_folder_of_its_own(execute: Any, api: APIClient) -> None:
    queued = execute('pwd; ls -A | wc -l; cd "$HOME"; ls -A', env={"dir": "/x", "work": "/y", "LC_ALL": "C"})
    jobs.execution_start(queued["execution_id"])
    settle(queued["execution_id"])
    lines = [line["line"] for line in api.get(f"/api/exec/logs/{queued['task_id']}").json()["lines"]]
    assert lines[0].endswith(f"/taskhub/{queued['session_name']}")
    # Daytona's daemon keeps things of its own there.
    assert set(lines[1:]) - {".daytona", ".daemon.log", ".cache", ".tmp"} == {"0", ".taskhub", "taskhub"}
    assert told() == []


@in_sandbox
def test_a_flood_of_files_is_counted_and_a_few_are_named(execute: Any) -> None:
    queued = execute("for n in $(seq 10000); do : > f$n; done")
    jobs.execution_start(queued["execution_id"])
    settle(queued["execution_id"])
    assert sum(len(data["files"]) + data["left_out"] for data in told()) == 10_000
    assert all(len(data["files"]) <= FILES_MOST for data in told())
    assert len(told()) <= 3
    assert max(len(text) for text in Event.objects.values_list("data", flat=True)) < 20_000


@in_sandbox
def test_a_folder_of_too_many_files_is_not_looked_through(execute: Any, monkeypatch) -> None:
    monkeypatch.setattr("sandboxes.execute.script_runner.FILES_MOST", 5)
    queued = execute("for n in $(seq 9); do : > f$n; done")
    jobs.execution_start(queued["execution_id"])
    settle(queued["execution_id"])
    assert told() == []


@in_sandbox
def test_a_stopped_script_leaves_word_of_its_files_too(execute: Any, api: APIClient) -> None:
    queued = execute("echo 1 > made; sleep 600")
    jobs.execution_start(queued["execution_id"])
    watch_until(lambda: named() == [("created", "made", 2)])
    api.post(f"/api/exec/stop/{queued['task_id']}")
    assert settle(queued["execution_id"]).status == "stopped"
    assert len(told()) == 1


@in_sandbox
def test_a_script_that_writes_into_our_notes_tells_no_lies_that_hurt(execute: Any) -> None:
    queued = execute(
        """
        notes="$HOME/.taskhub/$(basename "$PWD")/changes"
        printf '%s\\n' '7 created 1 ../../etc/passwd' '8 created 1 /etc/passwd' 'nonsense' '9 created x y' \\
          '10 created 5 fine' '99999999999 created 1 much' > "$notes"
        rm -rf "$PWD"; sleep 1
        """
    )
    jobs.execution_start(queued["execution_id"])
    assert settle(queued["execution_id"]).status == "completed"
    assert {path for _, path, _ in named()} <= {"fine"}


@in_sandbox
def test_a_worker_that_died_between_look_and_word_loses_nothing(execute: Any) -> None:
    queued = execute("echo 1 > made; sleep 600")
    jobs.execution_start(queued["execution_id"])
    execution = Execution.objects.select_related("task").get()
    place = execution_place(execution)

    async def look() -> FileChanges | None:
        async for _, changes in get_executor().changed_files({place: execution.files_seen}):
            return changes
        return None

    until = time.monotonic() + WITHIN_S
    while (seen := jobs.async_to_sync(look)()) is None:
        assert time.monotonic() < until
    # It looked and died: the next one sees the same.
    assert jobs.async_to_sync(look)() == seen
    # Two looked: the second one's word does not count.
    assert file_changes_tell(execution=Execution.objects.select_related("task").get(), changes=seen)
    assert not file_changes_tell(execution=execution, changes=seen)
    assert jobs.async_to_sync(look)() == seen
    execution.refresh_from_db()
    assert jobs.async_to_sync(look)() is None
    assert named() == [("created", "made", 2)]


@in_sandbox
def test_files_of_a_sandbox_service_that_was_away_are_told_when_it_is_back(execute: Any, settings: Any) -> None:
    at = settings.DAYTONA_API_URL
    queued = execute("echo 1 > made; sleep 600")
    jobs.execution_start(queued["execution_id"])
    settings.DAYTONA_API_URL = "http://127.0.0.1:9/api"
    file_changes.toolboxes.forget(Execution.objects.get().sandbox_id)
    look_at_files()
    assert told() == []
    settings.DAYTONA_API_URL = at
    watch_until(lambda: named() == [("created", "made", 2)])


@in_sandbox
def test_end_is_not_held_up_by_a_look_that_has_no_answer(execute: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """Neither by one at the files nor by one at the runner: the mark in the log is the end."""
    queued = execute("echo 1 > made; sleep 3; echo end")
    jobs.execution_start(queued["execution_id"])
    execution = Execution.objects.select_related("task").get()
    executor = get_executor()
    asked: list[str] = []

    async def no_answer(name: str) -> Any:
        asked.append(name)
        await asyncio.Event().wait()

    async def no_changes(_: Any) -> Any:
        yield await no_answer("files")

    monkeypatch.setattr(type(executor), "runner_state", lambda *_: no_answer("runner"))
    monkeypatch.setattr(type(executor), "changed_files", lambda _, seen: no_changes(seen))
    monkeypatch.setattr("taskhub.worker.following.LOOK_S", 0.1)

    async def follow() -> None:
        async with asyncio.timeout(WITHIN_S):
            await Following(execution).run()

    wait_here(follow)
    assert Execution.objects.get().status == "completed"
    assert asked


# --- What is told ------------------------------------------------------------------------------------


@pytest.fixture
def running(api: APIClient, db: None) -> Execution:
    task = api.post("/api/tasks/", {"title": "t", "assignee": "bob"}, format="json").json()
    api.post(f"/api/exec/{task['id']}", {"script_content": "true"}, format="json")
    Execution.objects.update(status="running", sandbox_id="s", command_id="c")
    return Execution.objects.select_related("task").get()
