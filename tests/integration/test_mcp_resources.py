"""Resources and prompts: what an agent can read, and what it is told to do."""

from __future__ import annotations

import asyncio
import json
import re
from functools import partial
from types import SimpleNamespace
from typing import Any

import pytest
from django.contrib.auth.models import User
from mcp.shared.exceptions import MCPError
from mcp_types import PaginatedRequestParams
from rest_framework.test import APIClient

from taskhub import jobs
from taskhub.auth.actor import SYSTEM
from taskhub.errors import NotFound
from taskhub.mcp import resources
from taskhub.mcp.budget import ANSWER_BYTES
from taskhub.mcp.principal import REQUESTER, Requester
from taskhub.mcp.prompts import PROMPTS, prompt_text
from taskhub.mcp.protocol import build_server
from taskhub.mcp.resources import list_resources
from taskhub.mcp.tools import TOOLS
from taskhub.models import Execution
from taskhub.services import executions, tasks
from taskhub.web.thread_pool import wait_here
from tests.agents.calls import requester_for
from tests.conftest import make_account
from tests.processes import wait_until

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.sqlite_suffices]


def read_resource(requester: Requester, uri: str) -> tuple[str, str]:
    return wait_here(partial(resources.read_resource, requester, uri))


def test_a_task_reads_as_rest_shows_it(alice: User, api: APIClient) -> None:
    task = tasks.task_create(actor=SYSTEM, title="t", description="ü")
    text, media_type = read_resource(requester_for(alice), f"taskhub://tasks/{task.pk}")
    assert media_type == "application/json"
    assert json.loads(text) == api.get(f"/api/tasks/{task.pk}/").json()


def test_the_log_of_an_execution_reads_as_text(alice: User, execute: Any, sandboxes: None) -> None:
    queued = execute("for n in 1 2 3; do echo line $n; done")
    uri = f"taskhub://executions/{queued['execution_id']}/log"
    assert read_resource(requester_for(alice), uri) == ("", "text/plain")
    jobs.execution_start(queued["execution_id"])

    def ended() -> bool:
        jobs.execution_end(queued["execution_id"])
        return not Execution.objects.get(pk=queued["execution_id"]).is_active

    wait_until(ended, "the script's end")
    assert read_resource(requester_for(alice), uri) == ("line 1\nline 2\nline 3\n", "text/plain")


def test_private_resources_are_hidden(alice: User, operator: User) -> None:
    task = tasks.task_create(actor=SYSTEM, title="secret", assignee="bob", private=True)
    execution = executions.execution_queue(actor=SYSTEM, task_id=task.pk, script="true")
    bob = make_account("bob", "agent")
    for uri in (f"taskhub://tasks/{task.pk}", f"taskhub://executions/{execution.pk}/log"):
        for user in (alice, None):
            with pytest.raises(NotFound):
                read_resource(requester_for(user), uri)
        for user in (bob, operator):
            assert read_resource(requester_for(user), uri)
    assert list_resources(requester_for(alice), None) == ([], None)
    listed, _ = list_resources(requester_for(bob), None)
    assert listed == [{"uri": f"taskhub://tasks/{task.pk}", "name": "secret", "mimeType": "application/json"}]


@pytest.mark.parametrize(
    "uri",
    [
        "",
        "taskhub://tasks/",
        "taskhub://tasks/none",
        "taskhub://tasks/0f0f0f0f-0f0f-4f0f-8f0f-0f0f0f0f0f0f",
        "taskhub://executions/0f0f0f0f-0f0f-4f0f-8f0f-0f0f0f0f0f0f/log",
        "taskhub://tasks/../secrets",
        "file:///etc/passwd",
        "\0",
    ],
)
def test_unknown_resources_are_not_found(alice: User, uri: str) -> None:
    with pytest.raises(NotFound):
        read_resource(requester_for(alice), uri)


def test_the_log_of_a_deleted_task_is_gone_with_it(alice: User) -> None:
    task = tasks.task_create(actor=SYSTEM, title="t")
    execution = executions.execution_queue(actor=SYSTEM, task_id=task.pk, script="true")
    executions.execution_request_stop(actor=SYSTEM, task_id=task.pk)
    tasks.task_delete(actor=SYSTEM, task_id=task.pk)
    with pytest.raises(NotFound):
        read_resource(requester_for(alice), f"taskhub://executions/{execution.pk}/log")


def test_pages_of_resources_follow_each_other(alice: User) -> None:
    made = [str(tasks.task_create(actor=SYSTEM, title=f"{n}").pk) for n in range(60)]
    first, cursor = list_resources(requester_for(alice), None)
    second, end = list_resources(requester_for(alice), cursor)
    assert [row["uri"].removeprefix("taskhub://tasks/") for row in first + second] == made[::-1]
    assert (len(first), end) == (50, None)


def test_a_page_of_resources_has_at_most_16_kib(alice: User) -> None:
    letters = ["😀", '"', "a", "日"]
    made = tasks.tasks_create(actor=SYSTEM, tasks=[{"title": letters[n % 4] * 200} for n in range(60)])
    entry = build_server().get_request_handler("resources/list")
    assert entry is not None
    context: Any = SimpleNamespace(request=SimpleNamespace(scope={REQUESTER: requester_for(alice)}))
    found: list[str] = []
    cursor, pages = None, 0
    while cursor is not None or not pages:
        page: Any = wait_here(partial(entry.handler, context, PaginatedRequestParams(cursor=cursor)))
        assert len(page.model_dump_json(by_alias=True, exclude_none=True).encode()) <= ANSWER_BYTES
        found += [resource.uri.removeprefix("taskhub://tasks/") for resource in page.resources]
        cursor, pages = page.next_cursor, pages + 1
    assert found == [str(task.pk) for task in reversed(made)]
    assert 2 < pages < 8
    unknown = PaginatedRequestParams(cursor="no cursor of ours")
    with pytest.raises(MCPError):
        wait_here(partial(entry.handler, context, unknown))


def test_prompts_name_only_tools_that_are_there() -> None:
    for prompt in PROMPTS.values():
        text = prompt_text(prompt, {"goal": "x", "tags": ""})
        assert text
        for name in re.findall(r"\b(?:list|get|create|update|claim|set|add|execute|stop|read)_\w+|getSSE\w+", text):
            assert name in TOOLS, name


def test_prompts_take_their_argument_as_it_is() -> None:
    assert "The goal: {tags} 100%\n" in str(prompt_text(PROMPTS["coordinate_tasks"], {"goal": "{tags} 100%"}))
    assert prompt_text(PROMPTS["coordinate_tasks"], {}) is None
    assert "the tags a,b," in str(prompt_text(PROMPTS["work_on_tasks"], {"tags": "a,b"}))
    assert "one at a time.\n" in str(prompt_text(PROMPTS["work_on_tasks"], {}))


def test_there_is_a_prompt_for_a_worker_and_one_for_an_orchestrator() -> None:
    entry = build_server().get_request_handler("prompts/list")
    assert entry is not None
    listed = asyncio.run(entry.handler(None, None)).prompts  # type: ignore[arg-type]
    assert [(prompt.name, prompt.arguments[0].required) for prompt in listed] == [
        ("work_on_tasks", False),
        ("coordinate_tasks", True),
    ]
