"""No way leads round a required verification: every endpoint, tool and admin action is tried with all that could.

The walk knows no endpoint by its name. It takes all that writes from the OpenAPI document, the registry of tools and
that of the admin, and sends whatever of `TRIES` the schema has: nothing, each, each two together, and all.
"""

from __future__ import annotations

from collections.abc import Iterator
from itertools import combinations, product
from typing import Any, Final

import pytest
from django.contrib import admin
from django.contrib.admin.helpers import ACTION_CHECKBOX_NAME
from django.contrib.auth.models import User
from django.db import transaction
from django.test import Client
from django.urls import reverse
from rest_framework.test import APIClient

from taskhub.auth.actor import SYSTEM
from taskhub.mcp.tools import TOOLS
from taskhub.models import ApiToken, Execution, Task
from taskhub.selectors.evidence import evidence_of, is_done, is_proven
from taskhub.services.environments import environment_create
from taskhub.services.executions import execution_request_stop
from taskhub.services.tasks import task_create
from tests.agents.calls import call_as, requester_for
from tests.conftest import client_of, make_account
from tests.documented import document

pytestmark = [pytest.mark.django_db, pytest.mark.sqlite_suffices]

TRIES: Final[dict[str, Any]] = {
    "status": "done",
    "new_status": "done",
    "closed_as": "",
    "force": True,
    "environment": "loose",
    "verify_policy": "off",
    "override_reason": "because",
}
AN_AGENTS: Final = frozenset({"environment", "verify_policy", "override_reason"})
"""Of an agent these are refused. People may make a check laxer, and operators override it."""
WRITES: Final = ("post", "put", "patch")


@pytest.fixture
def tasks() -> list[Task]:
    """In review, and closed without a result: one step away from done."""
    environment_create(actor=SYSTEM, name="strict", verify="make test", verify_policy="required")
    environment_create(actor=SYSTEM, name="loose")
    closed = {"status": "done", "closed_as": "cancelled"}
    checked = {"verify": "make test", "verify_policy": "required", "assignee": "alice"}
    return [
        task_create(actor=SYSTEM, title="t", description="```bash\ntrue\n```", **fields, **status)
        for fields, status in product((checked, {"environment": "strict"}), ({"status": "review"}, closed))
    ]


def bodies(properties: dict[str, Any], tries: dict[str, Any]) -> Iterator[dict[str, Any]]:
    names = [name for name in tries if name in properties]
    for count in sorted({0, 1, 2, len(names)}):
        for chosen in combinations(names, count):
            yield {name: tries[name] for name in chosen}


def properties_of(schema: dict[str, Any]) -> dict[str, Any]:
    if "$ref" in schema:
        return properties_of(document()["components"]["schemas"][schema["$ref"].rpartition("/")[2]])
    for part in schema.get("oneOf", []) + schema.get("anyOf", []):
        if found := properties_of(part):
            return found
    return dict(schema.get("properties", {}))


def operations() -> Iterator[tuple[str, str, dict[str, Any], str]]:
    """All that writes about a task, or makes one: method, address, the properties of its body, and a query."""
    for path, methods in document()["paths"].items():
        for method in WRITES:
            if method in methods and ("{task_id}" in path or path == "/api/tasks/"):
                content = methods[method].get("requestBody", {}).get("content", {})
                named = {each["name"] for each in methods[method].get("parameters", [])}
                query = "?force=true&as=walker" if {"as", "force"} <= named else ""
                yield method, path, properties_of(content.get("application/json", {}).get("schema", {})), query


def assert_nothing_is_done(how: object) -> None:
    for task in Task.objects.all():
        if is_done(task):
            assert is_proven(task, evidence_of(task)) or not evidence_of(task).is_required, how


def end_runs() -> None:
    for execution in Execution.objects.filter(status="queued", task__isnull=False):
        execution_request_stop(actor=SYSTEM, task_id=execution.task_id)


def walk_rest(client: APIClient, tasks: list[Task], tries: dict[str, Any]) -> int:
    sent = 0
    for method, path, properties, query in operations():
        new = {"title": "t", "verify": "true", "verify_policy": "required"} if path == "/api/tasks/" else {}
        some = {name: properties[name] for name in properties if not (new and name == "verify_policy")}
        for n, body in enumerate(bodies(some, tries)):
            # Each task is sent all that is short, and in turn what is longer.
            for task in tasks if len(body) < 2 and not new else [tasks[n % len(tasks)]]:
                address = path.replace("{task_id}", str(task.pk)) + (query if len(body) != 1 else "")
                answer = getattr(client, method)(address, {**new, **body}, format="json")
                assert answer.status_code < 500
                assert_nothing_is_done((method, address, body, answer.content))
                sent += 1
        end_runs()
    return sent


def test_rest_for_an_agent(alice: User, tasks: list[Task]) -> None:
    assert walk_rest(client_of(alice), tasks, TRIES) > 80


def test_rest_for_a_person_and_an_operator(operator: User, tasks: list[Task]) -> None:
    tries = {name: value for name, value in TRIES.items() if name not in AN_AGENTS}
    for user in (make_account("carol", "agent"), operator):
        client = APIClient()
        client.force_login(user)
        assert walk_rest(client, tasks, tries) > 30


def test_tools(alice: User, operator: User, tasks: list[Task]) -> None:
    operators = {name: value for name, value in TRIES.items() if name not in AN_AGENTS}
    called = 0
    for user, tries in ((alice, TRIES), (operator, operators)):
        requester = requester_for(user, ApiToken.objects.create(user=user)[0])
        writing = [tool for tool in TOOLS.values() if not tool.reads and "task_id" in tool.input_schema["properties"]]
        for tool, task in product(writing, tasks):
            for body in bodies(tool.input_schema["properties"], tries):
                outcome = call_as(requester, tool.name, task_id=str(task.pk), **body)
                assert_nothing_is_done((tool.name, body, outcome.body))
                called += 1
            end_runs()
    for status in ("done", "review"):
        call_as(requester, "create_tasks", tasks=[{"title": "t", "verify": "true", "status": status}])
    assert_nothing_is_done("create_tasks")
    assert called > 50


def test_the_admin(operator: User, tasks: list[Task]) -> None:
    """Its actions, and its forms."""
    client = Client()
    client.force_login(operator)
    acted = 0
    for name in admin.site._registry[Task].actions:
        chosen = {ACTION_CHECKBOX_NAME: [str(task.pk) for task in tasks], "action": name, "_answered": "1"}
        client.post(reverse("admin:taskhub_task_changelist"), {**chosen, "status": "done", "script": "true"})
        assert_nothing_is_done(name)
        end_runs()
        acted += 1
    for task in tasks[::3]:
        client.post(reverse("admin:taskhub_task_change", args=[task.pk]), {"status": "done", "closed_as": ""})
        assert_nothing_is_done("the form")
    assert acted >= 5


def test_the_walk_finds_a_way_that_is_open(alice: User, tasks: list[Task], monkeypatch: pytest.MonkeyPatch) -> None:
    """Else it would prove nothing."""
    monkeypatch.setattr("taskhub.services.evidence._needs_override", lambda task, evidence: False)
    client = client_of(alice)
    for tries in ({"new_status": "done"}, {"status": "done"}, {"closed_as": ""}):
        with pytest.raises(AssertionError), transaction.atomic():
            walk_rest(client, tasks, tries)
