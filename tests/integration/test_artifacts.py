"""What a script leaves in its working folder: copied at its end, downloaded by those who may, deleted in time."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest
from django.core.files.storage import default_storage
from django.utils import timezone
from hypothesis import example, given
from hypothesis import strategies as st
from rest_framework.test import APIClient

from sandboxes.execute.executor import SandboxExecutor
from sandboxes.execute.file_changes import read_artifacts
from taskhub import jobs
from taskhub.executions.executor import ExecutorError, ProducedFile
from taskhub.executions.file_paths import is_inside
from taskhub.models import Artifact, Execution, Task
from tests.conftest import make_account
from tests.settling import settle

pytestmark = [pytest.mark.django_db, pytest.mark.usefixtures("sandboxes"), pytest.mark.sqlite_suffices]


def run(execute: Any, script: str) -> Execution:
    """Run it to its end."""
    queued = execute(script)
    jobs.execution_start(queued["execution_id"])
    return settle(queued["execution_id"])


def listed(client: APIClient, execution: Execution, **query: str) -> dict[str, Any]:
    answer = client.get(f"/api/exec/artifacts/{execution.task_id}/", query)
    assert answer.status_code == 200, answer.content
    found: dict[str, Any] = answer.json()
    return found


def downloaded(client: APIClient, url: str) -> bytes:
    answer = client.get(url)
    assert answer.status_code == 200, answer.content
    return b"".join(answer)


def stored(execution: Execution) -> list[str]:
    folder = f"artifacts/{execution.pk}"
    return sorted(default_storage.listdir(folder)[1]) if default_storage.exists(folder) else []


def test_what_a_script_leaves_can_be_downloaded(execute: Any, api: APIClient) -> None:
    script = """
        mkdir -p "a b"; printf 'caf\\303\\251' > "a b/ü \\"1\\";.txt"; printf '<script>' > page.html
        echo x > gone; rm gone; ln -s /etc/passwd link; mkfifo pipe; : > empty; exit 3
    """
    execution = run(execute, script)
    assert (execution.status, execution.artifacts_kept, execution.artifacts_left_out) == ("failed", 3, 0)
    answer = listed(api, execution)
    assert (answer["execution_id"], answer["left_out"]) == (str(execution.pk), 0)
    files = {item["path"]: item for item in answer["items"]}
    assert {path: item["size"] for path, item in files.items()} == {'a b/ü "1";.txt': 5, "page.html": 8, "empty": 0}
    assert downloaded(api, files['a b/ü "1";.txt']["url"]) == "café".encode()
    assert downloaded(api, files["empty"]["url"]) == b""
    page = api.get(files["page.html"]["url"])
    assert b"".join(page) == b"<script>"
    # A browser stores it, whatever is in it.
    assert page["Content-Type"] == "application/octet-stream"
    assert page["Content-Disposition"] == 'attachment; filename="page.html"'
    assert page["X-Content-Type-Options"] == "nosniff"
    status = api.get(f"/api/exec/status/{execution.task_id}/").json()
    assert (status["artifacts_kept"], status["artifacts_left_out"]) == (3, 0)


def test_each_execution_has_its_own(execute: Any, api: APIClient) -> None:
    first = run(execute, "echo 1 > f")
    api.post(f"/api/exec/{first.task_id}/", {"script_content": "echo 22 > f; echo 3 > g"}, format="json")
    second = Execution.objects.exclude(pk=first.pk).get()
    jobs.execution_start(str(second.pk))
    settle(str(second.pk))
    assert [item["size"] for item in listed(api, first)["items"]] == [3, 2]
    assert [item["size"] for item in listed(api, first, execution_id=str(first.pk))["items"]] == [2]


def test_what_is_too_much_is_left_out_and_counted(execute: Any, api: APIClient, settings, monkeypatch) -> None:
    settings.TASKHUB_ARTIFACT_LIMIT_BYTES = 1000
    settings.TASKHUB_ARTIFACTS_LIMIT_BYTES = 1500
    monkeypatch.setattr("taskhub.executions.artifact_collector.FILES_MOST", 4)
    steps = [("1st", 10), ("2nd", 800), ("huge", 1001), ("3rd", 700), ("4th", 600)]
    # Apart by more than the clock's tick, so that which is the latest is known.
    execution = run(execute, "; sleep 0.05; ".join(f"head -c {size} /dev/zero > {name}" for name, size in steps))
    # The latest first: the 2nd finds no room, and the 1st is the fifth file.
    assert [item["path"] for item in listed(api, execution)["items"]] == ["3rd", "4th"]
    assert (execution.artifacts_kept, execution.artifacts_left_out) == (2, 3)
    named = {file["path"]: (file["size"], file["reason"]) for file in listed(api, execution)["left_out_files"]}
    assert named == {"1st": (10, "too_many"), "2nd": (800, "no_room"), "huge": (1001, "too_large")}


def test_an_interrupted_end_is_made_again_and_keeps_nothing_twice(execute: Any, api: APIClient, monkeypatch) -> None:
    queued = execute("echo 1 > a; echo 22 > b")
    jobs.execution_start(queued["execution_id"])
    finish = jobs.executions.execution_finish

    def die(**_: Any) -> None:
        raise SystemExit

    monkeypatch.setattr(jobs.executions, "execution_finish", die)
    with pytest.raises(SystemExit):
        settle(queued["execution_id"])
    assert not Artifact.objects.exists()
    monkeypatch.setattr(jobs.executions, "execution_finish", finish)
    Execution.objects.update(lease_until=None)
    execution = settle(queued["execution_id"])
    assert [(item["path"], item["size"]) for item in listed(api, execution)["items"]] == [("a", 2), ("b", 3)]
    assert stored(execution) == ["1", "2"]


def test_a_sandbox_that_does_not_answer_is_asked_again(execute: Any, api: APIClient, monkeypatch) -> None:
    read = SandboxExecutor.read_file
    failures = iter([True, False, True, False, False])

    async def read_badly(self: SandboxExecutor, place: Any, path: str) -> Any:
        if next(failures):
            raise ExecutorError("away", "It is away.", permanent=False)
        async for chunk in read(self, place, path):
            yield chunk

    monkeypatch.setattr(SandboxExecutor, "read_file", read_badly)
    execution = run(execute, "echo 1 > a; echo 22 > b")
    assert execution.status == "completed"
    assert [item["path"] for item in listed(api, execution)["items"]] == ["a", "b"]
    assert next(failures, None) is None


def test_a_file_that_cannot_be_had_costs_no_other(execute: Any, api: APIClient, monkeypatch) -> None:
    read = SandboxExecutor.read_file

    async def read_some(self: SandboxExecutor, place: Any, path: str) -> Any:
        if path == "a":
            raise ExecutorError("file_not_found", "There is no such file.", permanent=True)
        async for chunk in read(self, place, path):
            yield chunk
            if path == "b":  # it is longer than was said
                yield b"x" * 2000

    monkeypatch.setattr(SandboxExecutor, "read_file", read_some)
    monkeypatch.setattr("django.conf.settings.TASKHUB_ARTIFACT_LIMIT_BYTES", 1000)
    execution = run(execute, "echo > a; echo > b; echo > c")
    assert [item["path"] for item in listed(api, execution)["items"]] == ["c"]
    assert execution.artifacts_left_out == 2
    named = {file["path"]: file["reason"] for file in listed(api, execution)["left_out_files"]}
    assert named == {"a": "unreadable", "b": "unreadable"}


def test_a_script_that_deletes_everything_leaves_nothing(execute: Any, api: APIClient) -> None:
    execution = run(execute, 'echo > f; (sleep 0.2; rm -rf "$HOME"/.taskhub "$HOME"/taskhub) & wait')
    assert not execution.is_active
    assert listed(api, execution)["items"] == []


def test_only_who_sees_the_task_gets_its_files(execute: Any, api: APIClient, anonymous: APIClient) -> None:
    execution = run(execute, "echo secret > f")
    (item,) = listed(api, execution)["items"]
    other = APIClient()
    other.force_authenticate(make_account("mallory", "agent"))
    assert downloaded(other, item["url"]) == b"secret\n"
    elsewhere = Task.objects.create(title="another")
    assert api.get(item["url"].replace(str(execution.task_id), str(elsewhere.pk))).status_code == 404
    Task.objects.filter(pk=execution.task_id).update(private=True, assignee="alice")
    assert downloaded(api, item["url"]) == b"secret\n"
    for client in (other, anonymous):
        assert client.get(item["url"]).status_code == 404
        assert client.get(f"/api/exec/artifacts/{execution.task_id}/").status_code == 404


def test_old_ones_and_those_of_deleted_tasks_go(execute: Any, api: APIClient) -> None:
    old, orphan, fresh = (run(execute, "echo > f") for _ in range(3))
    Artifact.objects.filter(execution=old).update(kept_at=timezone.now() - timedelta(days=31))
    orphan_task = orphan.task_id
    assert api.delete(f"/api/tasks/{orphan_task}/").status_code == 204
    url = listed(api, old)["items"][0]["url"]
    jobs.artifacts_trim()
    assert [artifact.execution_id for artifact in Artifact.objects.all()] == [fresh.pk]
    assert (stored(old), stored(orphan), stored(fresh)) == ([], [], ["1"])
    assert api.get(url).status_code == 404
    assert api.get(f"/api/exec/artifacts/{orphan_task}/").status_code == 404


def test_a_copy_that_is_gone_is_told(execute: Any, api: APIClient) -> None:
    execution = run(execute, "echo > f")
    (item,) = listed(api, execution)["items"]
    default_storage.delete(Artifact.objects.get().stored_as)
    answer = api.get(item["url"])
    assert (answer.status_code, answer.json()["error"]["code"]) == (404, "artifact_gone")


def test_the_list_is_read_latest_first_and_not_believed() -> None:
    text = b"5\n1.5 3 a\n1.6 4 b c\n1.7 5 ../out\n1.8 6 /etc/passwd\nnonsense\n1.9 7 a\n"
    produced = read_artifacts(text)
    assert produced.files == [ProducedFile("a", 7), ProducedFile("b c", 4)]
    assert produced.count == 5


def test_of_a_checkout_the_names_of_change_sets_are_the_runners() -> None:
    """Also of the one that it has not written: the script's own file of this name is applied to no commit."""
    produced = read_artifacts(b"1 1 0 0\n1.5 3 changes.mbox\n")
    assert (produced.files, produced.count) == ([], 0)
    both = read_artifacts(b"2 1 0 9\n1.5 3 a\n1.6 3 changes.patch\n")
    assert both.files == [ProducedFile("changes.patch", 9, is_change_set=True), ProducedFile("a", 3)]
    assert both.count == 1
    assert read_artifacts(b"1 1\n1.5 3 changes.mbox\n").files == [ProducedFile("changes.mbox", 3)]


@given(st.binary(max_size=300))
@example(b"1 1 0 0\n1.5 3 changes.mbox\n")
@example(b"99999999999999999999\n1.1 1 a")
@example(b"")
def test_anything_may_be_in_the_list(text: bytes) -> None:
    produced = read_artifacts(text)
    assert produced.count >= len(produced.files)
    assert all(is_inside(file.path) for file in produced.files)
