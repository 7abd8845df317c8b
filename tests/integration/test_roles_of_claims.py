"""Who may write notes, claim, release, answer and waive: each role, by a token, in a session and over MCP.

`tests/servers/test_roles.py` tries every address and tool once; here are the kinds of each, and that a refusal writes
nothing.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import partial
from typing import Any

import pytest
from django.contrib.auth.models import User
from rest_framework.test import APIClient

from taskhub.auth.actor import SYSTEM
from taskhub.auth.backends import account_get
from taskhub.errors import Forbidden
from taskhub.mcp import tasks_extension
from taskhub.mcp.principal import Requester
from taskhub.mcp.tasks_extension import Handle, TaskParams
from taskhub.models import ApiToken, AuditEntry, Claim, Dependency, Execution, Note, Task
from taskhub.services.claims import task_claim
from taskhub.services.executions import execution_queue
from taskhub.services.notes import note_add
from taskhub.services.tasks import task_create
from taskhub.web.thread_pool import wait_here
from tests.agents.calls import acting, call_as, requester_for
from tests.conftest import make_account

pytestmark = [pytest.mark.django_db, pytest.mark.sqlite_suffices]

KINDS = ("note", "result", "review", "question", "answer")
TOKENS = {"viewer": ("viewer", ""), "agent": ("agent", ""), "operator": ("operator", "")} | {
    "operator's, for a viewer": ("operator", "viewer"),
    "operator's, for an agent": ("operator", "agent"),
}
"""The account's role, and the token's own where it has less."""
READERS = {"viewer", "operator's, for a viewer"}


@pytest.fixture
def maker(db: None) -> User:
    return make_account("maker", "agent")


class Rows:
    """Tasks that are there for each request: a free one, one that another agent holds, one behind a cancelled one."""

    def __init__(self, maker: User) -> None:
        self.free, self.asked = (str(task_create(actor=SYSTEM, title=title).pk) for title in ("free", "asked"))
        self.holder = acting(maker, "holder")
        self.held = self.hold()
        note_add(actor=SYSTEM, task_id=self.asked, kind="question", text="Which?")
        self.blocker = task_create(actor=SYSTEM, title="blocker", status="done", closed_as="cancelled")
        self.behind = str(task_create(actor=SYSTEM, title="behind", blocked_by=[self.blocker.pk]).pk)

    def hold(self) -> str:
        task = task_create(actor=SYSTEM, title="held")
        assert task_claim(actor=self.holder, task_id=task.pk) is not None
        return str(task.pk)

    def of_kind(self, kind: str) -> str:
        return self.asked if kind == "answer" else self.free


@pytest.fixture
def rows(maker: User) -> Rows:
    return Rows(maker)


def state() -> list[Any]:
    """All that a refusal must leave as it is; a claim's lease and what was seen of its agent among it."""
    fields = ("pk", "version", "status", "holder", "open_question", "open_blockers", "assignee")
    return [
        *(list(Task.objects.order_by("pk").values_list(*fields)), list(Note.objects.values_list("pk"))),
        *(list(Claim.objects.values_list("pk", "token", "expires_at", "end")), AuditEntry.objects.count()),
        *(list(Dependency.objects.values_list("waived_by")), Execution.objects.count()),
    ]


def token_of(name: str) -> tuple[User, ApiToken, str]:
    role, token_role = TOKENS[name]
    user = make_account("tested", role)
    token, text = ApiToken.objects.create(user=user, name="own", role=token_role)
    return user, token, text


def bearer(name: str) -> APIClient:
    client = APIClient()
    client.credentials(HTTP_AUTHORIZATION=f"Bearer {token_of(name)[2]}")
    return client


def session(role: str) -> APIClient:
    client = APIClient()
    client.force_login(make_account("tested", role))
    return client


def writes(client: APIClient, rows: Rows) -> Iterator[tuple[str, Callable[[], Any]]]:
    """Every request that writes notes or claims, with the status and error code that it gives whom it is open to."""
    post = partial(client.post, format="json")
    for kind in KINDS:
        address = f"/api/tasks/{rows.of_kind(kind)}/notes"
        yield f"note of kind {kind}", partial(post, address, {"kind": kind, "text": "t"})
    status = f"/api/tasks/status/{rows.free}"
    yield "note with a status", partial(client.put, status, {"new_status": "inprogress", "note": "n"}, format="json")
    yield "note on what is held", partial(post, f"/api/tasks/{rows.held}/notes", {"text": "n"})
    yield "result on what is held", partial(post, f"/api/tasks/{rows.held}/notes", {"kind": "result", "text": "n"})
    yield "claim of one", partial(post, f"/api/tasks/{rows.held}/claim", {})
    yield "claim", partial(post, "/api/tasks/claim", {})
    yield "force", partial(client.patch, f"/api/tasks/{rows.held}/?force=true", {"title": "u"}, format="json")
    yield "release", partial(post, f"/api/tasks/{rows.held}/release", {})
    yield "waive", partial(post, f"/api/tasks/{rows.behind}/waive", {"blocker": str(rows.blocker.pk)})


def answers(client: APIClient, rows: Rows) -> dict[str, tuple[int, str]]:
    found = {}
    for name, ask in writes(client, rows):
        answer = ask()
        code = answer.json()["error"]["code"] if answer.status_code >= 400 else ""
        found[name] = (answer.status_code, code)
    return found


@pytest.mark.parametrize("who", ["viewer", "operator's, for a viewer", "session"])
def test_readers_write_nothing(rows: Rows, who: str) -> None:
    client = session("viewer") if who == "session" else bearer(who)
    before = state()
    assert set(answers(client, rows).values()) == {(403, "forbidden")}
    assert client.get(f"/api/tasks/{rows.asked}/notes").json()["results"][0]["text"] == "Which?"
    assert state() == before


def test_without_an_account_nothing_is_written(rows: Rows, anonymous: APIClient) -> None:
    before = state()
    assert {status for status, _ in answers(anonymous, rows).values()} == {401}
    assert state() == before


ALL = {f"note of kind {kind}": (201, "") for kind in KINDS} | {"note with a status": (200, "")}
AGENTS = ALL | {
    "note on what is held": (201, ""),
    "result on what is held": (409, "held"),
    "claim of one": (409, "held"),
    "claim": (200, ""),
    "force": (409, "held"),
    "release": (409, "held"),
    "waive": (409, "people_only"),
}


@pytest.mark.parametrize("who", ["agent", "operator", "operator's, for an agent"])
def test_agents_write_notes_and_claim_and_leave_to_people_what_is_theirs(rows: Rows, who: str) -> None:
    # `force` is for the token of an operator alone.
    expected = AGENTS | ({"force": (200, "")} if who == "operator" else {})
    assert answers(bearer(who), rows) == expected


@pytest.mark.parametrize("role", ["agent", "operator"])
def test_people_are_not_bound_by_what_agents_hold(rows: Rows, role: str) -> None:
    free = {"result on what is held": (201, ""), "force": (200, ""), "release": (200, ""), "waive": (200, "")}
    # It is inprogress, of another account: people take it by changing its assignee.
    expected = AGENTS | free | {"claim of one": (409, "task_not_claimable")}
    assert answers(session(role), rows) == expected


def calls(rows: Rows) -> Iterator[tuple[str, dict[str, Any]]]:
    for kind in KINDS:
        yield "add_note", {"task_id": rows.of_kind(kind), "kind": kind, "text": "t"}
    yield "set_task_status", {"task_id": rows.free, "new_status": "inprogress", "note": "n"}
    yield "execute_task", {"task_id": rows.free, "script_content": "true"}
    yield "stop_execution", {"task_id": rows.free}
    yield "update_task", {"task_id": rows.free, "blocked_by": []}
    yield "claim_task", {"task_id": rows.free}
    yield "claim_task", {}
    yield "create_tasks", {"tasks": [{"title": "t"}]}


def requester(who: str) -> Requester:
    user, token, _ = token_of(who)
    account = account_get(user.pk, token_role=token.role)
    return requester_for(account, token)


@pytest.mark.parametrize("who", TOKENS)
def test_tools_that_write_are_for_agents(rows: Rows, who: str) -> None:
    agent, before = requester(who), state()
    codes = [outcome.body.get("error", {}).get("code", "") for outcome in _call_all(agent, rows)]
    if who in READERS:
        assert set(codes) == {"forbidden"}
        assert state() == before
    else:
        assert set(codes) == {""}, codes
    for name in ("get_task", "list_tasks", "get_overview"):
        arguments = {"task_id": rows.asked} if name == "get_task" else {}
        assert not call_as(agent, name, **arguments).failed


def _call_all(agent: Requester, rows: Rows) -> list[Any]:
    return [call_as(agent, name, **arguments) for name, arguments in calls(rows)]


def test_a_reader_sees_the_handle_of_an_execution_and_does_not_cancel_it(rows: Rows) -> None:
    execution = execution_queue(actor=SYSTEM, task_id=rows.free, script="true")
    reader, params = requester("viewer"), TaskParams(taskId=str(Handle("execution", execution.pk)))
    assert wait_here(partial(tasks_extension.get_task, reader, params))["status"] == "working"
    with pytest.raises(Forbidden):
        wait_here(partial(tasks_extension.cancel_task, reader, params))
    assert Execution.objects.get(pk=execution.pk).status == "queued"
