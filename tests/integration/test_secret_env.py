"""Secret values of an execution's environment: the script has them, and nothing of ours shows or stores them."""

from __future__ import annotations

import json
import time
from pathlib import Path
from typing import Any

import pytest
from django.core.files.storage import default_storage
from django.core.management import call_command
from django.db import connection
from rest_framework.test import APIClient

from taskhub import jobs
from taskhub.executions.masking import MASK
from taskhub.models import Artifact, Execution, IdempotencyKey
from taskhub.services import executions

pytestmark = [pytest.mark.django_db, pytest.mark.sqlite_suffices, pytest.mark.usefixtures("sandboxes")]

SECRET = "hunter2-of-these-tests"
KEY = "-----BEGIN KEY-----\nc2VjcmV0LW9mLXRlc3Rz\n-----END KEY-----\n"
ENV = {"PLAIN": "seen", "TOKEN": {"value": SECRET, "secret": True}, "KEY": {"value": KEY, "secret": True}}


def settle(execution_id: str) -> Execution:
    jobs.execution_start(execution_id)
    until = time.monotonic() + 30
    while (execution := Execution.objects.get(pk=execution_id)).is_active:
        assert time.monotonic() < until
        jobs.execution_end(execution_id)
        Execution.objects.filter(pk=execution_id, status="running").update(lease_until=None)
    return execution


def stored_by_the_hub(tmp_path: Path) -> str:
    """All rows of all tables, and all files."""
    dump = tmp_path / "rows.json"
    call_command("dumpdata", output=str(dump), verbosity=0)
    with connection.cursor() as cursor:  # and what has no model
        cursor.execute("SELECT data FROM django_eventstream_event")
        events = " ".join(row[0] for row in cursor.fetchall())
    files = [path for path in Path(default_storage.path("")).rglob("*") if path.is_file()]
    return dump.read_text() + events + " ".join(path.read_bytes().decode(errors="replace") for path in files)


def test_script_has_the_values_and_nothing_shows_them(execute: Any, api: APIClient, tmp_path: Path) -> None:
    script = (
        'echo "$PLAIN $TOKEN"; printf %s "$KEY"; echo "${#TOKEN} ${TOKEN:0:4}" >&2; printf "%s" "${TOKEN:0:9}"; '
        'sleep 1.2; echo "${TOKEN:9}!"; echo kept > "$TOKEN-a.txt"; echo kept > "${TOKEN}-b.txt"; mkdir "$TOKEN"; '
        'echo x > "$TOKEN/$TOKEN"; sleep 1.2'
    )
    queued = execute(script, env=ENV)
    execution = settle(queued["execution_id"])
    assert execution.status == "completed"
    lines = api.get(f"/api/exec/logs/{queued['task_id']}").json()["lines"]
    assert [line["line"] for line in lines if line["stream"] == "stdout"] == [
        f"seen {MASK}",
        MASK,
        MASK,
        f"{MASK}",
        f"{MASK}!",
    ]
    assert [line["line"] for line in lines if line["stream"] == "stderr"] == [f"{len(SECRET)} hunt"]
    assert sorted(Artifact.objects.values_list("path", flat=True)) == [
        f"{MASK}-a.txt",
        f"{MASK}-b.txt",
        f"{MASK}/{MASK}",
    ]
    stored = stored_by_the_hub(tmp_path)
    assert f"{MASK}-a.txt" in stored  # the changes were reported
    assert SECRET not in stored
    assert "c2VjcmV0LW9mLXRlc3Rz" not in stored
    answers = [
        api.get(f"/api/exec/status/{queued['task_id']}"),
        api.get(f"/api/executions/{queued['execution_id']}"),
        api.get(f"/api/tasks/{queued['task_id']}/history/"),
        api.get(f"/api/exec/artifacts/{queued['task_id']}"),
        api.get(f"/api/exec/logs/{queued['task_id']}?q=hunter2"),
        api.get(f"/api/exec/logs/{queued['task_id']}/search?q={SECRET[:8]}"),
    ]
    assert [answer.status_code for answer in answers] == [200] * 6
    assert not any(SECRET in answer.content.decode() for answer in answers)
    assert (answers[-2].json()["lines"], answers[-1].json()["count"]) == ([], 0)


def test_sandboxes_own_log_is_masked_too(execute: Any, api: APIClient) -> None:
    queued = execute('echo "$TOKEN"; echo "e $TOKEN" >&2', env=ENV)
    execution = settle(queued["execution_id"])
    assert execution.secret_env  # the sandbox still has its log
    address = (
        f"/api/sandboxes/{execution.sandbox_id}/sessions/{execution.session_name}/commands/{execution.command_id}/logs"
    )
    assert api.get(address).json() == {"stdout": f"{MASK}\n", "stderr": f"e {MASK}\n"}
    executions.execution_mark_released(execution=execution)
    assert Execution.objects.get().secret_env == ""
    assert api.get(address).json()["error"]["code"] == "command_not_found"


def test_two_files_whose_names_differ_in_a_secret_stay_two(execute: Any) -> None:
    env = {name: {"value": f"{name}-secret-value", "secret": True} for name in ("ONE", "TWO")}
    queued = execute('echo 1 > "$ONE"; echo 22 > "$TWO"', env=env)
    settle(queued["execution_id"])
    assert sorted(Artifact.objects.values_list("path", flat=True)) == [MASK, f"{MASK} (2)"]


def test_log_of_values_that_cannot_be_decrypted_any_more_is_hidden(execute: Any, api: APIClient, settings) -> None:
    queued = execute('echo "$TOKEN"; echo other', env=ENV)
    jobs.execution_start(queued["execution_id"])
    settings.SECRET_KEY = "another key of at least fifty characters, for this test alone"
    until = time.monotonic() + 30
    while Execution.objects.get().is_active:
        assert time.monotonic() < until
        jobs.execution_end(queued["execution_id"])
        Execution.objects.filter(status="running").update(lease_until=None)
    execution = Execution.objects.get()
    assert execution.status == "completed"
    with default_storage.open(execution.log_file) as stored:
        assert stored.read() == f"{MASK}\n{MASK}\n".encode()


def test_execution_whose_values_cannot_be_decrypted_is_not_started(execute: Any, settings) -> None:
    queued = execute('echo "$TOKEN"', env=ENV)
    settings.SECRET_KEY = "another key of at least fifty characters, for this test alone"
    jobs.execution_start(queued["execution_id"])
    execution = Execution.objects.get()
    assert (execution.status, execution.error_code) == ("failed", "secrets_unreadable")


@pytest.mark.parametrize(
    ("value", "words"),
    [
        ({"value": "abc", "secret": True}, "at least 4 characters"),
        ({"value": "", "secret": True}, "at least 4 characters"),
        ({"value": "\n a\n b\n", "secret": True}, "at least 4 characters"),
        ({"value": "abcd"}, "secret"),
        ({"value": "abcd", "secret": "yes"}, "Must be true or false."),
        ({"value": 7, "secret": True}, "Must be a string."),
        ({"value": "abcd", "secret": True, "more": 1}, "Unknown field."),
        (7, "Must be a string"),
        ([], "Must be a string"),
        ({"value": "\n".join(f"line {n}" for n in range(201)), "secret": True}, "At most 200 lines"),
        ({"value": "x" * 32_769, "secret": True}, "32768"),
    ],
)
def test_wrong_secret_is_refused_and_not_repeated(api: APIClient, value: Any, words: str) -> None:
    task = api.post("/api/tasks/", {"title": "t"}, format="json").json()
    answer = api.post(f"/api/exec/{task['id']}", {"script_content": "true", "env": {"A": value}}, format="json")
    assert answer.status_code == 400
    details = json.dumps(answer.json()["error"]["details"]["env"])
    assert words in details
    assert "abcd" not in details
    assert not Execution.objects.exists()


def test_object_that_is_not_secret_is_a_plain_value(execute: Any) -> None:
    execute("true", env={"A": {"value": "b", "secret": False}})
    assert (Execution.objects.get().env, Execution.objects.get().secret_env) == ({"A": "b"}, "")


def test_repeated_request_is_known_without_its_secret_being_kept(api: APIClient, settings) -> None:
    task = api.post("/api/tasks/", {"title": "t"}, format="json").json()
    body = {"script_content": "true", "env": {"A": {"value": "1234", "secret": True}}}
    headers = {"Idempotency-Key": "k"}
    first = api.post(f"/api/exec/{task['id']}", body, format="json", headers=headers)
    again = api.post(f"/api/exec/{task['id']}", body, format="json", headers=headers)
    assert (first.status_code, again.json()) == (202, first.json())
    body["env"] = {"A": {"value": "4321", "secret": True}}
    other = api.post(f"/api/exec/{task['id']}", body, format="json", headers=headers)
    assert other.json()["error"]["code"] == "idempotency_key_reused"
    # The digest of a body depends on the key of the hub: values cannot be tried against the row.
    kept = IdempotencyKey.objects.get()
    settings.SECRET_KEY = "another key of at least fifty characters, for this test alone"
    api.post(f"/api/exec/{task['id']}", body, format="json", headers={"Idempotency-Key": "k2"})
    assert "1234" not in kept.answer + kept.body
