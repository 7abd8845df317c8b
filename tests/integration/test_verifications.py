"""Verifications on the local sandbox server: what they see, what is kept of them, and what makes them unavailable."""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import Any

import pytest
from django.contrib.auth.models import User
from django.core.files.base import ContentFile
from django.core.files.storage import default_storage
from django_eventstream.models import Event

from taskhub import jobs
from taskhub.auth.actor import SYSTEM
from taskhub.models import Artifact, Execution, Note, Task
from taskhub.services.environments import environment_create
from taskhub.services.tasks import task_update
from tests.agents.calls import result
from tests.git_servers import GitServer, commit, git_daemon, make_repository
from tests.settling import settle

pytestmark = [pytest.mark.django_db, pytest.mark.usefixtures("sandboxes"), pytest.mark.sqlite_suffices]

CHECK = """\
set -e
test "$(cat answer)" = 42
test "$(cat out/deep/report.md)" = made
! test -e gone
echo "in $(pwd)" >answer
echo checked
"""


def made(alice: User, **fields: Any) -> Task:
    body = {"title": "t", "verify": CHECK, "verify_policy": "required", **fields}
    return Task.objects.get(pk=result(alice, "create_tasks", tasks=[body])["tasks"][0]["id"])


def executed(alice: User, task: Task, **arguments: Any) -> Execution:
    execution_id = str(result(alice, "execute_task", task_id=str(task.pk), **arguments)["execution_id"])
    jobs.execution_start(execution_id)
    return settle(execution_id)


def test_a_verification_sees_what_the_last_run_left_and_leaves_only_its_log(alice: User) -> None:
    environment_create(actor=SYSTEM, name="backend", verify="#!/usr/bin/env bash\necho linted", env={"CI": "1"})
    task = made(alice, environment="backend")
    run = executed(alice, task, script_content="mkdir -p out/deep; echo made >out/deep/report.md; echo 42 >answer")
    told = Event.objects.count()
    verification = executed(alice, task, verify=True)
    assert (verification.status, verification.exit_code, verification.verdict) == ("completed", 0, "passed")
    assert verification.sandbox_id != run.sandbox_id
    assert (verification.checks_id, verification.artifacts.count()) == (run.pk, 0)
    events = [event.data for event in Event.objects.order_by("pk")[told:]]
    assert [name for data in events for name in ("file_changed", "task_verified") if name in data] == ["task_verified"]
    cached = result(alice, "execute_task", task_id=str(task.pk), verify=True)
    assert (cached["cached"], cached["log_tail"]) == (True, "linted\nchecked")
    assert result(alice, "set_task_status", task_id=str(task.pk), new_status="done")["verified"] == "passed"


def test_a_failed_verification_is_a_note_with_its_last_lines(alice: User) -> None:
    task = made(alice, verify="for n in $(seq 30); do echo line $n; done; exit 3")
    assert executed(alice, task, verify=True).verdict == "failed"
    note = Note.objects.get()
    assert (note.kind, note.author) == ("review", "")
    assert "exit code 3" in note.text
    assert note.text.endswith("line 29\nline 30\n```")
    assert "line 10\n" not in note.text


def test_a_kept_file_that_is_not_what_it_was_is_not_verified(alice: User) -> None:
    task = made(alice, verify="true")
    executed(alice, task, script_content="echo 42 >answer")
    stored = Artifact.objects.get().stored_as
    default_storage.delete(stored)
    default_storage.save(stored, ContentFile(b"43\n"))
    verification = executed(alice, task, verify=True)
    assert (verification.verdict, verification.error_code) == ("unavailable", "evidence_changed")
    Artifact.objects.all().delete()
    assert executed(alice, task, verify=True).error_code == "evidence_gone"


def test_files_of_another_environment_are_not_run_in_this_one(alice: User) -> None:
    for name in ("backend", "other"):
        environment_create(actor=SYSTEM, name=name)
    task = made(alice, verify="true", environment="backend")
    executed(alice, task, script_content="echo 42 >answer", environment="other")
    assert executed(alice, task, verify=True).error_code == "evidence_elsewhere"


def test_results_that_were_left_out_are_not_verified(alice: User, settings: Any) -> None:
    settings.TASKHUB_ARTIFACT_LIMIT_BYTES = 10
    task = made(alice, verify="true")
    script = "mkdir out; head -c 11 /dev/zero >out/large; head -c 11 /dev/zero >large; echo mine >changes.patch"
    executed(alice, task, script_content=script)
    assert executed(alice, task, verify=True).error_code == "evidence_incomplete"
    executed(alice, task, script_content="head -c 11 /dev/zero >large")
    assert executed(alice, task, verify=True).verdict == "passed"


def test_a_file_whose_name_holds_a_secret_is_not_verified_under_another_name(alice: User) -> None:
    """Its own name is not kept, so it cannot be put where it was."""
    secret = {"KEY": {"value": "s3cret-value", "secret": True}}
    task = made(alice, verify='ls -R; test "$(echo *)" = plain')
    run = executed(alice, task, script_content="echo 1 >plain; echo 2 >of-$KEY", env=secret)
    assert [each.path for each in run.artifacts.all()] == ["of-***", "plain"]
    assert executed(alice, task, verify=True).verdict == "passed"
    executed(
        alice, task, script_content="mkdir out; echo 1 >out/plain; echo 2 >out/$KEY; echo 3 >out/$KEY.2", env=secret
    )
    verification = executed(alice, task, verify=True)
    assert (verification.verdict, verification.error_code) == ("unavailable", "evidence_incomplete")
    assert verification.error_message.startswith("2 of the last run's results were not kept as they are")
    environment_create(actor=SYSTEM, name="named", keep=["of-*"])
    task = made(alice, verify="true", environment="named")
    executed(alice, task, script_content="echo 1 >other-$KEY", env=secret)
    assert executed(alice, task, verify=True).verdict == "passed", "nothing names it"
    executed(alice, task, script_content="echo 2 >of-$KEY", env=secret)
    assert executed(alice, task, verify=True).error_code == "evidence_incomplete"


COMMITS = """\
set -e
echo 2 >>a
git -c user.name=n -c user.email=e@example.com commit -qam second
echo 3 >>a
printf '\\0\\1' >binary
git add binary
echo new >untracked
"""
PROVES = """\
set -ex
test "$(git log --format=%s)" = "$(printf 'second\\na')"
test "$(cat a)" = "$(printf '1\\n2\\n3')"
test "$(od -An -tx1 binary)" = " 00 01"
test "$(cat untracked)" = new
"""


def test_what_a_run_has_committed_and_changed_is_verified_at_its_commit(alice: User, tmp_path: Path) -> None:
    app = make_repository(tmp_path / "app", a="1\n")
    with git_daemon(tmp_path) as address:
        environment_create(actor=SYSTEM, name="backend", repository={"url": f"{address}/app"}, verify=PROVES)
        task = made(alice, verify="", environment="backend")
        run = executed(alice, task, script_content=COMMITS)
        assert run.status == "completed", run.error_message
        commit(app, a="moved on\n")
        verification = executed(alice, task, verify=True)
        told = result(alice, "get_execution", task_id=str(task.pk), execution_id=str(verification.pk))
        assert verification.verdict == "passed", told
        assert verification.commit == run.commit
        stored = Artifact.objects.get(path="changes.patch")
        with default_storage.open(stored.stored_as) as file:
            text = file.read().replace(b"+3", b"+4").replace(b"\n 2\n", b"\n 9\n")
        default_storage.delete(stored.stored_as)
        default_storage.save(stored.stored_as, ContentFile(text))
        Artifact.objects.filter(pk=stored.pk).update(sha256=hashlib.sha256(text).hexdigest())
        task_update(actor=SYSTEM, task_id=task.pk, description="other")
        unfit = executed(alice, task, verify=True)
        assert (unfit.verdict, unfit.error_code) == ("unavailable", "checkout_failed")
        assert unfit.error_message.startswith("What the last run has changed does not apply")


def test_what_a_run_has_only_made_executable_or_removed_is_verified(alice: User, tmp_path: Path) -> None:
    """No file is there that the commit does not have, and yet it is not the commit."""
    verify = "! test -e a && ./tool && { ! test -e new || ./new; }"
    make_repository(tmp_path / "app", a="1\n", tool="#!/bin/bash\n")
    with GitServer(tmp_path).serving() as server:
        repository = {"url": f"{server.url}/app"}
        environment_create(actor=SYSTEM, name="backend", repository=repository, verify=verify)
        task = made(alice, verify="", environment="backend")
        script = "git rm -q a; chmod +x tool"
        run = executed(alice, task, script_content=script)
        assert [each.path for each in run.artifacts.all()] == ["changes.patch"]
        assert executed(alice, task, verify=True).verdict == "passed"
        # Content alone is kept of a file; git knows whether it is executable.
        run = executed(alice, task, script_content=f"{script}; cp tool new; git add new")
        assert [each.path for each in run.artifacts.all()] == ["changes.patch", "new"]
        assert executed(alice, task, verify=True).verdict == "passed"


def test_of_a_run_whose_runner_has_died_nothing_is_verified(alice: User) -> None:
    task = made(alice, verify="true")
    run = executed(alice, task, script_content="echo 42 >answer; kill -KILL $PPID")
    assert (run.error_code, run.evidence_left_out) == ("runner_died", 1)
    assert executed(alice, task, verify=True).error_code == "evidence_incomplete"
