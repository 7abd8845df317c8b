"""Each operation of the API once: its answer fits the OpenAPI document."""

from __future__ import annotations

import re
from typing import Any

import pytest
from django.core.files.base import ContentFile
from django.core.files.storage import default_storage
from django.utils import timezone
from rest_framework.test import APIClient

from taskhub.models import Agent, Artifact, Execution, Task
from tests import documented
from tests.processes import wait_until

pytestmark = pytest.mark.django_db


def test_every_operation_answers_as_the_document_says(operator, sandboxes: None) -> None:
    documented.seen.clear()
    client = APIClient()
    client.force_login(operator)

    def ask(method: str, address: str, body: Any = None) -> Any:
        answer = getattr(client, method)(address, body, **({"format": "json"} if method != "get" else {}))
        assert answer.status_code < 300, (address, answer)
        if answer.streaming:
            content = b"".join(answer.streaming_content)
            assert content.startswith(b"PK") if address.endswith("/zip/") else content == b"a"
            return None
        if answer.headers.get("Content-Type") == "application/octet-stream":
            return answer.content
        return answer.json() if answer.content else None

    _use_tasks(ask)
    _use_executions(ask)
    _use_sandboxes(ask)
    _use_the_rest(ask)
    answered = {operation for operation, status in documented.seen if status < 300}
    paths = documented.document()["paths"].items()
    streams = {("get", path) for path, item in paths if "externalDocs" in item.get("get", {})}
    assert {(method, path) for path, item in paths for method in item} - answered - streams - {
        # They need an open stream of /sse: tests/sandboxes/test_subscriptions.py.
        ("delete", "/api/subscriptions/{subscription_id}/"),
        # It needs an image that is built: tests/integration/test_build_log.py.
        ("get", "/api/sandboxes/{sandbox_id}/build-log/"),
    } == set()


def _use_tasks(ask: Any) -> None:
    task = ask("post", "/api/tasks/", {"title": "t"})
    ask("post", "/api/tasks/", [{"title": "u"}, {"title": "v", "description": "d", "tags": ["a"]}])
    place = f"/api/tasks/{task['id']}/"
    assert ask("get", "/api/tasks/")["next"] is None
    assert re.match("https?://", ask("get", "/api/tasks/?page_size=1")["next"])
    ask("get", place)
    ask("patch", place, {"priority": "high"})
    ask("put", f"/api/tasks/status/{task['id']}/", {"new_status": "inprogress"})
    ask("get", f"{place}history/")
    ask("post", "/api/tasks/claim/", {})
    ask("delete", place)
    _use_work_in_common(ask)


def _use_work_in_common(ask: Any) -> None:
    blocker = ask("post", "/api/tasks/", {"title": "b", "status": "done", "closed_as": "cancelled"})["id"]
    task = ask("post", "/api/tasks/", {"title": "t", "blocked_by": [blocker], "verify": "true"})["id"]
    place = f"/api/tasks/{task}/"
    ask("post", f"{place}notes/", {"kind": "question", "text": "Which?", "deadline_s": 60, "assumes": "this one"})
    ask("post", f"{place}notes/", {"kind": "answer", "text": "that one"})
    assert [note["kind"] for note in ask("get", f"{place}notes/")["results"]] == ["answer", "question"]
    detail = ask("get", place)
    assert ([row["open"] for row in detail["blocked_by"]], detail["ready"]) == ([True], False)
    assert ask("post", f"{place}waive/", {"blocker": blocker})["ready"]
    ask("post", f"{place}claim/", {})
    Task.objects.filter(pk=task).update(held_back=True, failures=3)
    assert not ask("post", f"{place}release/")["held_back"]
    assert ask("post", f"{place}verify/", {})["kind"] == "verify"


def _use_executions(ask: Any) -> None:
    task = ask("post", "/api/tasks/", {"title": "t"})["id"]
    queued = ask("post", f"/api/exec/{task}/", {"script_content": "echo hello"})
    ask("get", f"/api/exec/status/{task}/")
    ask("get", f"/api/exec/logs/{task}/")
    ask("get", "/api/executions/")
    ask("get", f"/api/tasks/{task}/executions/")
    assert ask("get", f"/api/executions/{queued['execution_id']}/")["script"] == "echo hello"
    ask("post", f"/api/exec/stop/{task}/")
    execution = Execution.objects.get(pk=queued["execution_id"])
    default_storage.save(execution.log_file, ContentFile(b"a"))
    ask("get", f"/api/exec/logs/{task}/raw/")
    ask("get", f"/api/exec/logs/{task}/search/?q=a")
    stored = default_storage.save("artifacts/a.txt", ContentFile(b"a"))
    artifact = Artifact.objects.create(execution=execution, path="a.txt", size=1, stored_as=stored)
    ask("get", f"/api/exec/artifacts/{task}/")
    ask("get", f"/api/exec/artifacts/{task}/{artifact.pk}/")
    assert ask("get", f"/api/exec/artifacts/{task}/{artifact.pk}/preview/")["text"] == "a"
    ask("get", f"/api/exec/artifacts/{task}/zip/")


def _use_sandboxes(ask: Any) -> None:
    place = f"/api/sandboxes/{ask('post', '/api/sandboxes/', {})['id']}/"
    ask("get", "/api/sandboxes/")
    ask("get", place)
    ask("post", f"{place}start/")
    ask("post", f"{place}sessions/", {"sessionId": "s"})
    ask("get", f"{place}sessions/")
    ask("get", f"{place}sessions/s/")
    command = ask("post", f"{place}sessions/s/commands/", {"command": "true"})["commandId"]
    ask("get", f"{place}sessions/s/commands/{command}/")
    ask("get", f"{place}sessions/s/commands/{command}/logs/")
    assert "hub" in ask("get", f"{place}?facts=true")
    assert ask("get", "/api/sandboxes/?facts=true")["items"][0]["hub"]["may_delete"]
    assert ask("get", f"{place}history/")["states"][-1]["action"] == "create"
    file = f"{ask('get', f'{place}files/')['path']}/a.txt"
    ask("post", f"{place}sessions/s/commands/", {"command": "printf a > a.txt.part; mv a.txt.part a.txt"})
    wait_until(lambda: ask("get", f"{place}files/")["items"][-1]["name"] == "a.txt", "the file is there")
    assert ask("get", f"{place}files/content/?path={file}") == b"a"
    ask("delete", f"{place}sessions/s/")
    ask("post", f"{place}stop/")
    ask("delete", place)
    ask("post", "/api/secrets/", {"name": "of-this-test", "value": "long enough", "hosts": ["example.com"]})
    ask("get", "/api/secrets/")
    ask("get", "/api/secrets/of-this-test/")
    ask("patch", "/api/secrets/of-this-test/", {"value": "long enough, too"})
    ask("delete", "/api/secrets/of-this-test/")


def _use_the_rest(ask: Any) -> None:
    announcement = ask("post", "/api/announcements/", {"level": "info", "text": "hello"})["id"]
    ask("get", "/api/announcements/")
    ask("delete", f"/api/announcements/{announcement}/")
    place = f"/api/environments/{ask('post', '/api/environments/', {'name': 'backend'})['name']}/"
    ask("get", "/api/environments/")
    ask("get", place)
    ask("patch", place, {"description": "d"})
    ask("delete", place)
    webhook = f"/api/webhooks/{ask('post', '/api/webhooks/', {'url': 'https://8.8.8.8/hook'})['id']}/"
    ask("get", "/api/webhooks/")
    ask("get", webhook)
    ask("patch", webhook, {"description": "d"})
    ask("post", f"{webhook}secret/")
    delivery = ask("post", f"{webhook}test/")["id"]
    ask("get", f"{webhook}deliveries/")
    ask("post", f"{webhook}deliveries/{delivery}/send-again/")
    ask("delete", webhook)
    agent = Agent.objects.create(account="operator", name="worker", last_seen_at=timezone.now())
    ask("get", "/api/agents/")
    for verb in ("release", "stop-executions", "stop"):
        ask("post", f"/api/agents/{agent.pk}/{verb}/")
    ask("get", "/api/overview/")
    ask("get", "/api/tasks/cards/")
    ask("get", "/api/tasks/board/")
    ask("get", "/api/admission/")
    ask("put", "/api/admission/", {"at_once": 1000})
    ask("put", "/api/admission/accounts/operator/", {"paused": False})
    ask("get", "/api/admission/accounts/")
    ask("post", "/api/tickets/", {"kind": "events"})
    token = ask("post", "/api/tokens/", {"name": "n"})["id"]
    ask("get", "/api/tokens/")
    ask("delete", f"/api/tokens/{token}/")
    for address in ("/api/", "/api/me/", "/api/subscriptions/", "/api/events/status/"):
        ask("get", address)
