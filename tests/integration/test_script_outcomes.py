"""What becomes of a script, through the sandbox service: its lines, their order, its exit code, its files."""

from __future__ import annotations

from typing import Any

import pytest
from rest_framework.test import APIClient

from taskhub import jobs
from taskhub.models import Execution
from tests.processes import wait_until
from tests.settling import settle

pytestmark = [pytest.mark.django_db, pytest.mark.sqlite_suffices, pytest.mark.usefixtures("sandboxes")]


def lines_of(api: APIClient, queued: dict[str, str]) -> list[dict[str, Any]]:
    return list(api.get(f"/api/exec/logs/{queued['task_id']}?tail=1000").json()["lines"])


def ended(queued: dict[str, str]) -> Execution:
    jobs.execution_start(queued["execution_id"])
    return settle(queued["execution_id"])


@pytest.mark.parametrize(
    ("script", "exit_code", "lines"),
    [
        ("\ufeffecho one\necho two\n", 0, ["one", "two"]),
        ("if true; then\r\n echo yes\r\nfi\r\n", 0, ["yes"]),
        ("#!/usr/bin/env python3\nimport sys; print(sys.version_info[0])\n", 0, ["3"]),
        ("#!/bin/bash -e\necho a; false; echo never\n", 1, ["a"]),
        ("kill -9 $$", 137, []),
        ("kill $$", 143, []),
        ("printf 'no end'", 0, ["no end"]),
        ("exec >&- 2>&-; exit 5", 5, []),
        ("(sleep 0.5; echo late) & echo hi", 0, ["hi"]),
    ],
)
def test_lines_and_exit_code_are_the_scripts_own(
    execute: Any, api: APIClient, script: str, exit_code: int, lines: list[str]
) -> None:
    """Nothing is lost at its beginning or end, and nothing of bash's, or the runner's, comes with it."""
    queued = execute(script)
    execution = ended(queued)
    assert (execution.status, execution.exit_code) == ("failed" if exit_code else "completed", exit_code)
    assert [line["line"] for line in lines_of(api, queued)] == lines


def test_block_of_the_description_runs(api: APIClient) -> None:
    description = (
        "```shell-session\n$ echo transcript\n```\n\n````markdown\n```bash\necho example\n```\n````\n\n"
        "1. This one:\n\n   ~~~ Bash\n   echo right\n   ~~~\n"
    )
    task = api.post("/api/tasks/", {"title": "t", "description": description}, format="json").json()
    queued = api.post(f"/api/exec/{task['id']}", {}, format="json").json()
    ended(queued)
    assert [line["line"] for line in lines_of(api, queued)] == ["right"]


def test_merged_output_keeps_its_order(execute: Any, api: APIClient) -> None:
    queued = execute("for i in {1..200}; do echo o$i; echo e$i >&2; done", merge_output=True)
    ended(queued)
    assert [line["line"] for line in lines_of(api, queued)] == [f"{k}{i}" for i in range(1, 201) for k in "oe"]


def test_dots_show_before_their_newline(execute: Any, api: APIClient) -> None:
    """As provisional lines, which the whole one replaces; none is kept."""
    queued = execute("printf ..; until [ -e go ]; do sleep 0.1; done; printf .; sleep 600 & echo")
    jobs.execution_start(queued["execution_id"])

    def shown() -> bool:
        found = lines_of(api, queued)
        return [(line["n"], line["line"], line.get("partial")) for line in found] == [(1, "..", True)]

    wait_until(shown, "the dots", 60)
    api.post(f"/api/exec/stop/{queued['task_id']}")
    settle(queued["execution_id"])
    assert [(line["n"], line["line"], line.get("partial", False)) for line in lines_of(api, queued)] == [
        (1, "..", False)
    ]


def test_report_is_kept_whatever_a_package_manager_leaves(execute: Any, api: APIClient) -> None:
    packages = "mkdir node_modules; for i in $(seq 150); do echo $i > node_modules/$i.js; done"
    queued = execute(f"echo result > report.md; sleep 1.1; {packages}")
    ended(queued)
    kept = api.get(f"/api/exec/artifacts/{queued['task_id']}").json()["items"]
    assert [item["path"] for item in kept] == ["report.md"]
    assert Execution.objects.get().artifacts_left_out == 150
