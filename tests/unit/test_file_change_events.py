"""Events of changed files: their limits, what is counted, and which paths are accepted."""

from __future__ import annotations

import json
import re
from typing import Any

import pytest
from django_eventstream.models import Event
from hypothesis import given
from hypothesis import strategies as st
from rest_framework.test import APIClient

from sandboxes.execute.file_changes import read_changes
from taskhub.executions.executor import FileChange, FileChanges
from taskhub.executions.file_paths import is_inside
from taskhub.models import Execution
from taskhub.services.file_changes import PATHS_MOST, file_changes_tell


def told() -> list[dict[str, Any]]:
    events = [json.loads(text) for text in Event.objects.order_by("eid").values_list("data", flat=True)]
    return [event["data"] for event in events if event["event"] == "file_changed"]


def named() -> list[tuple[str, str, int | None]]:
    return [(file["change"], file["path"], file["size"]) for data in told() for file in data["files"]]


# --- What is told ------------------------------------------------------------------------------------


@pytest.fixture
def running(api: APIClient, db: None) -> Execution:
    task = api.post("/api/tasks/", {"title": "t", "assignee": "bob"}, format="json").json()
    api.post(f"/api/exec/{task['id']}", {"script_content": "true"}, format="json")
    Execution.objects.update(status="running", sandbox_id="s", command_id="c")
    return Execution.objects.select_related("task").get()


def tell(execution: Execution, upto: int, *changed: FileChange, left_out: int = 0) -> bool:
    return file_changes_tell(execution=execution, changes=FileChanges(upto, list(changed), left_out))


def test_an_event_has_its_limits(running: Execution) -> None:
    assert tell(running, 500, *[FileChange("created", f"f{n}", n) for n in range(500)], left_out=7)
    (event,) = told()
    # The latest ones are named.
    assert [file["path"] for file in event["files"]] == [f"f{n}" for n in range(400, 500)]
    assert (event["left_out"], event["assignee"]) == (407, "bob")
    assert tell(running, 600, *[FileChange("created", "d/" * 400 + str(n), n) for n in range(50)])
    event = told()[-1]
    assert len(event["files"]) == PATHS_MOST // 802
    assert len(event["files"]) + event["left_out"] == 50


def test_what_came_and_went_is_no_news_but_is_seen(running: Execution) -> None:
    assert tell(running, 2)
    assert told() == []
    assert Execution.objects.get().files_seen == 2


@pytest.mark.parametrize("status", ["completed", "lost", "stopped"])
def test_nothing_is_told_after_the_end(running: Execution, status: str) -> None:
    Execution.objects.update(status=status)
    assert not tell(running, 1, FileChange("created", "late", 1))
    assert told() == []


# --- What is read ------------------------------------------------------------------------------------


def changes_of(*lines: str, after: int = 0) -> FileChanges:
    return read_changes("".join(f"{line}\n" for line in lines).encode(), after)


def test_changes_of_one_file_come_together() -> None:
    found = changes_of(
        *("1 created 1 a", "2 modified 2 a", "3 created 1 b", "4 deleted - b", "5 modified 3 c", "6 deleted - c"),
        *("7 deleted - d", "8 created 4 d", "9 created 1 e", "10 deleted - e", "11 created 5 e"),
    )
    assert found == FileChanges(
        11,
        [
            FileChange("created", "a", 2),
            FileChange("deleted", "c", None),
            FileChange("modified", "d", 4),
            FileChange("created", "e", 5),
        ],
    )


def test_what_was_pushed_out_is_counted() -> None:
    assert changes_of("8 created 1 a", "9 created 1 ", after=3) == FileChanges(9, [FileChange("created", "a", 1)], 5)
    assert changes_of("8 created 1 a", after=8) == FileChanges(8, [])
    assert changes_of() == FileChanges(0, [])


@pytest.mark.parametrize(
    "path",
    ["", "/a", "a/", "a//b", "..", "../a", "a/../b", "./a", "a/.", "a\nb", "a\x7fb", "a\0", "\ufffd", "x" * 1001],
)
def test_what_is_no_path_below_the_folder(path: str) -> None:
    assert not is_inside(path)


@pytest.mark.parametrize("path", ["a", ".hidden", "...", "a b/ü", "..a/b..", "-rf", "$(x)", "x" * 1000])
def test_what_is_one(path: str) -> None:
    assert is_inside(path)


@given(text=st.binary(max_size=300) | st.from_regex(re.compile(rb"(\d{1,9} created \d{1,3} .{0,5}\n){1,5}")))
def test_any_bytes_are_changes_or_none(text: bytes) -> None:
    found = read_changes(text, 3)
    assert found.upto >= 3
    assert found.left_out >= 0
    assert all(is_inside(file.path) for file in found.files)
