"""What tools answer: never more than the budget, nothing that the caller has just sent, and how to read the rest."""

from __future__ import annotations

import json
from functools import partial
from typing import Any

import pytest
from django.contrib.auth.models import User
from django.core.files.base import ContentFile
from django.core.files.storage import default_storage
from django.utils import timezone
from hypothesis import given
from hypothesis import strategies as st

from taskhub.auth.actor import SYSTEM
from taskhub.executions.executor import LogLine
from taskhub.executions.log_archive import LogSpool
from taskhub.executions.text_window import text_window
from taskhub.mcp import resources
from taskhub.mcp.budget import ANSWER_BYTES
from taskhub.mcp.file_tools import LIMIT_BYTES
from taskhub.models import Artifact, Execution, ExecutionStatus, Task
from taskhub.services import notes, tasks
from taskhub.services.executions import execution_queue
from taskhub.web.thread_pool import wait_here
from tests.agents.calls import call, error, requester_for, result
from tests.conftest import make_account

pytestmark = [pytest.mark.django_db, pytest.mark.sqlite_suffices]

LONG = "".join(f'{n}: größer "than" most\n' for n in range(2000))


def big_task(**fields: Any) -> Task:
    task = tasks.task_create(actor=SYSTEM, title="ß" * 200, description=LONG, **fields)
    for _ in range(10):
        notes.note_add(actor=SYSTEM, task_id=task.pk, kind="note", text="ö" * 4000)
    return task


def read_all(user: User, **arguments: Any) -> str:
    """By as many calls as it takes."""
    pieces, offset = [], 0
    while offset is not None:
        outcome = call(user, "read_file", offset=offset, **arguments)
        assert not outcome.failed, outcome.body
        assert "cut" not in outcome.body
        assert len(outcome.text.encode()) <= max(ANSWER_BYTES, arguments.get("limit", 0) + 2048)
        assert outcome.body["offset"] == offset
        pieces.append(outcome.body["text"])
        offset = outcome.body["next"]
    text = "".join(pieces)
    assert outcome.body["size"] == len(text.encode())
    return text


def ended(task: Task, **files: bytes) -> Execution:
    """An execution that has left these files."""
    execution = execution_queue(actor=SYSTEM, task_id=task.pk, script="true")
    for n, (path, content) in enumerate(files.items()):
        name = default_storage.save(f"artifacts/{execution.pk}/{n}", ContentFile(content))
        Artifact.objects.create(execution=execution, path=path, size=len(content), stored_as=name)
    Execution.objects.filter(pk=execution.pk).update(status=ExecutionStatus.COMPLETED, finished_at=timezone.now())
    execution.refresh_from_db()
    return execution


def test_no_answer_about_a_big_task_is_longer_than_the_budget(alice: User) -> None:
    blocker = big_task(artifacts=["ä" * 1000] * 100, tags=["t" * 50] * 100)
    notes.note_add(actor=SYSTEM, task_id=blocker.pk, kind="result", text="r" * 8192)
    task = big_task(blocked_by=[blocker.pk], artifacts=["ä" * 1000] * 100)
    for name in ("get_task", "claim_task"):
        outcome = call(alice, name, task_id=str(blocker.pk))
        assert not outcome.failed, outcome.body
        assert len(outcome.text.encode()) <= ANSWER_BYTES
        assert {"description", "rest"} <= outcome.body["cut"].keys()
        shown = outcome.body.get("task", outcome.body)["description"]
        assert LONG.startswith(shown[:-1])
        assert len(shown) > 3000
    assert len(call(alice, "get_task", task_id=str(task.pk)).text.encode()) <= ANSWER_BYTES


def test_the_whole_of_what_was_cut_is_read_by_pieces(alice: User) -> None:
    task = big_task()
    assert read_all(alice, task_id=str(task.pk), path="/description") == LONG
    assert read_all(alice, task_id=str(task.pk), path="/description", limit=LIMIT_BYTES) == LONG
    lines = [json.loads(line) for line in read_all(alice, task_id=str(task.pk), path="/notes").splitlines()]
    assert [line["text"] for line in lines] == ["ö" * 4000] * 10
    whole = json.loads(read_all(alice, task_id=str(task.pk), path="/task"))
    assert (whole["description"], whole["version"]) == (LONG, 1)


def test_a_resource_is_no_longer_than_the_budget(alice: User) -> None:
    read = partial(resources.read_resource, requester_for(alice))
    task = big_task()
    text, _ = wait_here(partial(read, f"taskhub://tasks/{task.pk}"))
    assert len(text.encode()) <= ANSWER_BYTES
    assert "read_file" in json.loads(text)["cut"]["rest"]
    execution = ended(task)
    write_log(execution, ["x" * 200 + f" {n}" for n in range(500)])
    log, _ = wait_here(partial(read, f"taskhub://executions/{execution.pk}/log"))
    assert len(log.encode()) <= ANSWER_BYTES
    assert log.startswith("[TaskHub: the end of the log; ")
    assert log.endswith("x 499\n")


def write_log(execution: Execution, lines: list[str]) -> None:
    spool = LogSpool()
    spool.add([LogLine(n, "stdout", line, timezone.now()) for n, line in enumerate(lines, start=1)])
    spool.finish()
    spool.store(execution.log_file)
    spool.close()


def test_a_log_with_a_line_of_3_mb_fits_and_is_read_by_pieces(alice: User) -> None:
    task = tasks.task_create(actor=SYSTEM, title="t")
    lines = ["first", "x" * 3_000_000, "the end"]
    write_log(ended(task), lines)
    outcome = call(alice, "get_execution", task_id=str(task.pk))
    assert len(outcome.text.encode()) <= ANSWER_BYTES
    assert outcome.body["log"].endswith("xx\nthe end\n") or outcome.body["log"] == "the end\n"
    assert "read_file with path /log" in outcome.body["left_out"]
    assert outcome.body["status"] == "completed"
    piece = result(alice, "read_file", task_id=str(task.pk), path="/log", offset=3_000_000, limit=100)
    assert piece["text"] == "x" * 6 + "\nthe end\n"
    assert piece["next"] is None
    assert result(alice, "read_file", task_id=str(task.pk), path="/log")["text"].startswith("first\nxxx")


def test_changes_answer_what_changed_and_not_what_was_sent(alice: User) -> None:
    task = tasks.task_create(actor=SYSTEM, title="t")
    changed = result(alice, "update_task", task_id=str(task.pk), description=LONG, priority="high")
    assert changed == {"id": str(task.pk), "status": "todo", "version": 2, "changed": ["description", "priority"]}
    same = result(alice, "update_task", task_id=str(task.pk), priority="high")
    assert same == {**changed, "changed": []}
    begun = result(alice, "set_task_status", task_id=str(task.pk), new_status="inprogress")
    assert (begun["status"], begun["version"], begun["changed"]) == ("inprogress", 3, ["assignee", "holder", "status"])
    assert begun["lease"]["attempt"] == 1
    started = result(alice, "execute_task", task_id=str(task.pk), script_content=LONG)
    assert started.keys() == {"execution_id", "status", "lease"}
    stopped = result(alice, "stop_execution", task_id=str(task.pk))
    assert stopped == {"execution_id": started["execution_id"], "status": "stopped", "ending": None}
    note = result(alice, "add_note", task_id=str(task.pk), kind="question", text="?", deadline_s=60, assumes="x")
    assert note.keys() == {"id", "kind", "deadline"}


def test_no_id_of_many_new_tasks_is_lost(alice: User) -> None:
    made = [{"title": "t", "ref": f"{'日' * 40}{n}"} for n in range(100)]
    outcome = call(alice, "create_tasks", tasks=made, request_id="once")
    assert len(outcome.text.encode()) <= ANSWER_BYTES
    assert "cut" not in outcome.body
    assert {row["id"] for row in outcome.body["tasks"]} == {str(pk) for pk in Task.objects.values_list("pk", flat=True)}
    again = call(alice, "create_tasks", tasks=made, request_id="once")
    assert (again.body, Task.objects.count()) == (outcome.body, 100)


def test_a_refusal_says_what_is_wrong_however_long_the_callers_names_are(alice: User) -> None:
    for arguments in ({"x" * 100_000: 1}, {f"{n}{'x' * 1000}": 1 for n in range(100)}, {"task_id": "x" * 100_000}):
        outcome = call(alice, "get_task", **arguments)
        assert len(outcome.text.encode()) <= ANSWER_BYTES
        assert outcome.failed
        assert outcome.body["error"]["code"] in {"invalid", "not_found"}
        assert outcome.body["error"]["message"]


def test_a_list_has_ten_rows_of_the_fields_that_matter(alice: User) -> None:
    made = [tasks.task_create(actor=SYSTEM, title=f"{n}", description=LONG, tags=["x"]) for n in range(12)]
    page = result(alice, "list_tasks")
    assert [row["title"] for row in page["tasks"]] == [f"{n}" for n in range(11, 1, -1)]
    assert page["tasks"][0] == {
        "id": str(made[-1].pk),
        "title": "11",
        "status": "todo",
        "priority": "medium",
        "tags": ["x"],
        "ready": True,
        "version": 1,
        "updated_at": page["tasks"][0]["updated_at"],
    }
    assert page["next_cursor"]


def test_no_row_of_a_long_list_is_lost(alice: User) -> None:
    made = [tasks.task_create(actor=SYSTEM, title=f"{n}", tags=["ü" * 50] * 40) for n in range(30)]
    seen: list[str] = []
    cursor = ""
    while cursor is not None:
        outcome = call(alice, "list_tasks", limit=30, cursor=cursor)
        assert len(outcome.text.encode()) <= ANSWER_BYTES
        assert "cut" not in outcome.body
        seen += [row["id"] for row in outcome.body["tasks"]]
        cursor = outcome.body["next_cursor"]
    assert seen == [str(task.pk) for task in reversed(made)]


def test_files_are_read_as_text_or_told_what_they_are(alice: User) -> None:
    task = tasks.task_create(actor=SYSTEM, title="t")
    text = 'naïve "quoted"\n' * 3000
    files = {"out/a.txt": text.encode(), "b.png": b"\x89PNG\r\n\x1a\n\0", "c.csv": "ü".encode("latin-1"), "d": b""}
    ended(task, **files)
    assert read_all(alice, task_id=str(task.pk), path="out/a.txt") == text
    assert read_all(alice, task_id=str(task.pk), path="d") == ""
    for path, kind in (("b.png", "image/png"), ("c.csv", "text/csv")):
        told = result(alice, "read_file", task_id=str(task.pk), path=path)
        artifact = Artifact.objects.get(path=path)
        assert (told["binary"], told["type"], told["size"]) == (True, kind, len(files[path]))
        assert told["url"] == f"http://testserver/api/exec/artifacts/{task.pk}/{artifact.pk}"
    default_storage.delete(Artifact.objects.get(path="d").stored_as)
    assert error(alice, "read_file", task_id=str(task.pk), path="d")["code"] == "artifact_gone"
    assert error(alice, "read_file", task_id=str(task.pk), path="none")["code"] == "artifact_not_found"
    assert "/description" in str(error(alice, "read_file", task_id=str(task.pk), path="/etc/passwd")["details"])


def test_a_file_is_that_of_the_newest_execution_unless_one_is_named(alice: User) -> None:
    task = tasks.task_create(actor=SYSTEM, title="t")
    old, _ = ended(task, f=b"old"), ended(task, f=b"new")
    assert result(alice, "read_file", task_id=str(task.pk), path="f")["text"] == "new"
    assert result(alice, "read_file", task_id=str(task.pk), path="f", execution_id=str(old.pk))["text"] == "old"


def test_what_may_not_be_seen_is_not_read(alice: User) -> None:
    task = tasks.task_create(actor=SYSTEM, title="t", assignee="bob", private=True)
    ended(task, f=b"secret")
    bob = make_account("bob", "agent")
    for path in ("f", "/description", "/task", "/notes", "/log"):
        assert error(alice, "read_file", task_id=str(task.pk), path=path)["code"] == "task_not_found"
        assert not call(bob, "read_file", task_id=str(task.pk), path=path).failed


@given(st.text(max_size=60), st.integers(1, 9))
def test_windows_of_a_text_follow_each_other(text: str, length: int) -> None:
    raw, offset, pieces = text.encode("utf-8", "replace"), 0, ""
    while offset is not None:
        window = text_window(raw[offset : offset + length + 3], offset=offset, size=len(raw), lossy=True)
        assert window is not None
        assert window.offset == offset
        pieces += window.text
        offset = window.next
    assert pieces == raw.decode()


@pytest.mark.parametrize("offset", range(8))
def test_a_window_may_begin_inside_a_character(offset: int) -> None:
    raw = "日a日b".encode()
    window = text_window(raw[offset:], offset=offset, size=len(raw))
    assert window is not None
    assert raw[window.offset :].decode() == window.text
    assert 0 <= window.offset - offset < 3
