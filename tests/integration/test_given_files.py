"""Files that an execution is given, the sandbox of the one before, and results that are kept first."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest
from django.contrib.auth.models import User
from django.core.files.storage import default_storage
from django.utils import timezone
from rest_framework.test import APIClient

from taskhub import jobs
from taskhub.auth.actor import SYSTEM
from taskhub.models import Artifact, Execution, GivenFile, Task
from taskhub.services.execution_inputs import GIVEN_TEXT_BYTES
from taskhub.services.tasks import task_create
from tests.agents.calls import error, result
from tests.conftest import make_account
from tests.settling import settle

pytestmark = [pytest.mark.django_db, pytest.mark.usefixtures("sandboxes"), pytest.mark.sqlite_suffices]


def run(user: User, task: Task, script: str, **arguments: Any) -> Execution:
    """Execute the task over MCP, to the end."""
    begun = result(user, "execute_task", task_id=str(task.pk), script_content=script, **arguments)
    jobs.execution_start(begun["execution_id"])
    return settle(begun["execution_id"])


def text(user: User, task: Task, path: str) -> str:
    return str(result(user, "read_file", task_id=str(task.pk), path=path)["text"])


@pytest.fixture
def task() -> Task:
    return Task.objects.create(title="t")


def test_a_script_finds_the_files_that_it_was_given(alice: User, task: Task) -> None:
    first = run(alice, task, "mkdir out; printf 'caf\\303\\251' > out/data.bin")
    given = [
        {"path": "in/a b.txt", "text": "one\ntwo\n"},
        {"path": "in/data", "execution_id": str(first.pk), "source_path": "out/data.bin"},
        {"path": "out/data.bin", "execution_id": str(first.pk)},
        {"path": "empty", "text": ""},
    ]
    script = "find . -type f | sort; cat 'in/a b.txt' in/data out/data.bin; echo more >> empty; echo new > made"
    second = run(alice, Task.objects.create(title="another"), script, files=given)
    assert second.task is not None
    log = result(alice, "get_execution", task_id=str(second.task.pk))["log"]
    assert log.splitlines() == [
        *("./empty", "./in/a b.txt", "./in/data", "./out/data.bin"),
        *("one", "two", "cafécafé"),
    ]
    # What was given is no result, unless the script has changed it.
    assert (second.artifacts_kept, second.artifacts_left_out) == (2, 0)
    assert result(alice, "get_execution", task_id=str(second.task.pk))["files"] == {"empty": 5, "made": 4}
    assert text(alice, second.task, "empty") == "more\n"
    assert not GivenFile.objects.exists()


def test_files_are_given_over_rest_too(api: APIClient, alice: User, task: Task) -> None:
    body = {"script_content": "cat f > g", "files": [{"path": "f", "text": "x"}]}
    answer = api.post(f"/api/exec/{task.pk}", body, format="json")
    assert answer.status_code == 202, answer.content
    jobs.execution_start(answer.json()["execution_id"])
    settle(answer.json()["execution_id"])
    assert text(alice, task, "g") == "x"


@pytest.mark.parametrize(
    ("files", "code"),
    [
        ([{"path": "../f", "text": "x"}], "invalid"),
        ([{"path": "/etc/f", "text": "x"}], "invalid"),
        ([{"path": "a//b", "text": "x"}], "invalid"),
        ([{"path": "a\nb", "text": "x"}], "invalid"),
        ([{"path": "f", "text": "x"}, {"path": "f", "text": "y"}], "invalid"),
        ([{"path": "f", "text": "x"}, {"path": "f/g", "text": "y"}], "invalid"),
        ([{"path": "f"}], "invalid"),
        ([{"path": "f", "text": "x", "execution_id": "0f0f0f0f-0f0f-4f0f-8f0f-0f0f0f0f0f0f"}], "invalid"),
        ([{"path": "f", "text": "x", "source_path": "g"}], "invalid"),
        ([{"path": str(n), "text": "x"} for n in range(21)], "invalid"),
        ([{"path": "f", "execution_id": "0f0f0f0f-0f0f-4f0f-8f0f-0f0f0f0f0f0f"}], "execution_not_found"),
        ([{"path": "f", "text": "x" * GIVEN_TEXT_BYTES}, {"path": "g", "text": "y"}], "files_too_large"),
    ],
)
def test_wrong_files_are_refused_and_nothing_is_queued(alice: User, task: Task, files: Any, code: str) -> None:
    failure = error(alice, "execute_task", task_id=str(task.pk), script_content="true", files=files)
    assert failure["code"] == code
    assert not Execution.objects.exists()
    task.refresh_from_db()
    assert (task.status, task.version) == ("todo", 1)


def test_only_files_that_one_may_see_are_given(alice: User, task: Task) -> None:
    bob = make_account("bob", "agent")
    secret = task_create(actor=SYSTEM, title="s", private=True, assignee="bob")
    left = run(bob, secret, "echo secret > f")
    given = [{"path": "f", "execution_id": str(left.pk)}]
    refused = error(alice, "execute_task", task_id=str(task.pk), script_content="true", files=given)
    assert refused["code"] == "execution_not_found"
    missing = [{"path": "g", "execution_id": str(left.pk)}]
    assert error(bob, "execute_task", task_id=str(task.pk), script_content="true", files=missing)["code"] == (
        "artifact_not_found"
    )
    run(bob, task, "cp f out", files=given)
    assert text(bob, task, "out") == "secret\n"


def test_a_file_that_is_deleted_before_the_start_is_told(alice: User, task: Task) -> None:
    left = run(alice, task, "echo > f")
    given = [{"path": "f", "execution_id": str(left.pk)}]
    queued = result(alice, "execute_task", task_id=str(task.pk), script_content="true", files=given)
    default_storage.delete(Artifact.objects.get().stored_as)
    jobs.execution_start(queued["execution_id"])
    execution = Execution.objects.get(pk=queued["execution_id"])
    assert (execution.status, execution.error_code) == ("failed", "given_file_gone")
    assert not GivenFile.objects.exists()


def test_same_sandbox_goes_on_where_the_last_execution_was(alice: User, task: Task, settings: Any) -> None:
    refused = error(alice, "execute_task", task_id=str(task.pk), script_content="true", same_sandbox=True)
    assert refused["code"] == "no_sandbox"
    first = run(alice, task, "echo kept > ../state; echo mine > f")
    second = run(alice, task, f"cat ../state ../{first.session_name}/f > g; ls -A | wc -l", same_sandbox=True)
    assert (second.sandbox_id, second.requested_sandbox_id) == (first.sandbox_id, first.sandbox_id)
    assert text(alice, task, "g") == "kept\nmine\n"
    both = error(
        alice, "execute_task", task_id=str(task.pk), script_content="true", same_sandbox=True, sandbox_id="box"
    )
    assert both["code"] == "invalid"
    # The sandbox stays as long as the second execution is kept, then it is given back.
    settings.TASKHUB_SANDBOX_KEEP_S = 60
    Execution.objects.filter(pk=first.pk).update(finished_at=timezone.now() - timedelta(hours=1))
    jobs.executions_release()
    first.refresh_from_db()
    assert first.released_at is None
    Execution.objects.filter(pk=second.pk).update(finished_at=timezone.now() - timedelta(hours=1))
    jobs.executions_release()
    jobs.executions_release()
    first.refresh_from_db()
    assert first.released_at is not None
    gone = error(alice, "execute_task", task_id=str(task.pk), script_content="true", same_sandbox=True)
    assert gone["code"] == "no_sandbox"


def test_results_are_kept_before_all_else(alice: User, task: Task, monkeypatch: Any, settings: Any) -> None:
    monkeypatch.setattr("taskhub.executions.artifact_collector.FILES_MOST", 2)
    settings.TASKHUB_ARTIFACTS_LIMIT_BYTES = 1000
    script = "mkdir out; head -c 600 /dev/zero > out/old; sleep 0.1; head -c 600 /dev/zero > new; echo > out/second"
    execution = run(alice, task, script)
    assert (execution.artifacts_kept, execution.artifacts_left_out) == (2, 1)
    assert list(result(alice, "get_execution", task_id=str(task.pk))["files"]) == ["out/old", "out/second"]
