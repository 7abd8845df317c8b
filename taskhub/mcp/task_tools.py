"""MCP tools for tasks: list, get, create, update, claim, set a status."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from http import HTTPStatus
from typing import Any, Final
from urllib.parse import urlsplit
from uuid import UUID

from django.db import transaction
from django.http import HttpRequest, QueryDict
from rest_framework import serializers
from rest_framework.request import Request

from taskhub.api.claims import LeaseSerializer
from taskhub.api.fields import OneOfField, StrictBooleanField, TextField, TextListField
from taskhub.api.filters import ANYTHING, filter_tasks
from taskhub.api.idempotency import KEY
from taskhub.api.serializers import DESCRIPTION_LIMIT, ListedTaskSerializer, StatusChangeSerializer, TaskSerializer
from taskhub.api.task_answers import claim_told
from taskhub.api.task_pages import TaskPages
from taskhub.api.tasks import LIST_MOVES, LIST_TOGETHER_S, TASKS_AT_ONCE, task_events, task_look
from taskhub.api.waiting import Look, Seen
from taskhub.auth.account_names import ME, NOBODY
from taskhub.auth.actor import Actor
from taskhub.events.filters import Filters
from taskhub.lib.query_values import must_be_one_of
from taskhub.mcp.budget import ANSWER_BYTES, size_of
from taskhub.mcp.claim_tool import ClaimTaskSerializer, claim, claim_now
from taskhub.mcp.fields import HolderSerializer, NamedSerializer, TaskIdField
from taskhub.mcp.principal import Requester
from taskhub.mcp.tools import Arguments, Tool
from taskhub.mcp.waits import WaitSerializer, when_changed
from taskhub.models import WAITING_FOR, Task, TaskPriority, TaskStatus, VerifyPolicy
from taskhub.roles import Caller, Role
from taskhub.selectors.evidence import is_checked
from taskhub.selectors.tasks import task_list_for
from taskhub.services.claims import claim_touch
from taskhub.services.idempotency import Answer, Asked, idempotency_keep, idempotency_open
from taskhub.services.notes import task_set_status
from taskhub.services.tasks import task_update, tasks_create
from taskhub.web.thread_pool import with_database

_MANY = 200


class TaskPlaceSerializer(NamedSerializer):
    task_id = TaskIdField()


class ReadTaskSerializer(TaskPlaceSerializer, WaitSerializer):
    """What the caller has: with `wait_s` the answer comes when there is something newer."""

    version = serializers.IntegerField(required=False, min_value=1)
    note = serializers.IntegerField(required=False, min_value=0)


class HeldTaskSerializer(HolderSerializer):
    task_id = TaskIdField()


class PolicyField(TextField):
    """REST's choice, in fewer words of the tool's schema."""

    def to_internal_value(self, data: Any) -> str:
        policy = super().to_internal_value(data)
        if policy not in VerifyPolicy.values:
            raise serializers.ValidationError(must_be_one_of(VerifyPolicy.values))
        return policy


class NewTaskSerializer(ListedTaskSerializer):
    """What an agent says of a new task."""

    private = StrictBooleanField(required=False)
    environment = TextField(required=False)
    verify = TextField(max_length=DESCRIPTION_LIMIT, required=False, trim_whitespace=False)
    verify_policy = PolicyField(required=False, help_text="off, warn, required.")  # type: ignore[assignment]  # REST's

    class Meta(ListedTaskSerializer.Meta):
        fields = [
            *("title", "description", "priority", "assignee", "tags", "private", "ref", "blocked_by", "environment"),
            *("verify", "verify_policy"),
        ]


class NewTasksSerializer(NamedSerializer):
    tasks = serializers.ListField(
        child=NewTaskSerializer(),
        min_length=1,
        max_length=TASKS_AT_ONCE,
        help_text="blocked_by: ids, or refs of these.",
    )
    request_id = serializers.RegexField(rf"\A{KEY.pattern}", required=False, help_text="Repeats make nothing.")


class TaskChangeSerializer(HolderSerializer, TaskSerializer):
    """REST's PATCH, with the task's id and `If-Match` as arguments; `set_task_status` changes the status."""

    task_id = TaskIdField()
    title = TextField(max_length=200, required=False, visible=True)
    private = StrictBooleanField(required=False)
    expected_version = serializers.IntegerField(required=False, min_value=1, help_text="Refused if changed since.")

    class Meta(TaskSerializer.Meta):
        fields = [
            *("task_id", "title", "description", "priority", "assignee", "tags", "artifacts", "private", "blocked_by"),
            "expected_version",
        ]


class TaskStatusSerializer(HolderSerializer, StatusChangeSerializer):
    """Spec 003's body; `update_task` changes priority and assignee, and operators override over REST."""

    task_id = TaskIdField()
    expected_version = serializers.IntegerField(required=False, min_value=1)

    def get_fields(self) -> dict[str, Any]:
        not_here = {"priority", "assignee", "override_reason"}
        return {name: field for name, field in super().get_fields().items() if name not in not_here}


class TaskListSerializer(WaitSerializer):
    """REST's filters."""

    status = serializers.ListField(child=OneOfField(choices=TaskStatus.choices), required=False)
    priority = serializers.ListField(child=OneOfField(choices=TaskPriority.choices), required=False)
    assignee = TextField(required=False, max_length=150, help_text=f"{ME}, {NOBODY}, or a name.")
    tags = TextListField(max_length=50, required=False)
    ready = StrictBooleanField(required=False)
    stale = StrictBooleanField(required=False)
    waiting_for = serializers.ListField(child=OneOfField(choices=[*WAITING_FOR, ANYTHING]), required=False)
    q = TextField(required=False, max_length=200)
    cursor = TextField(required=False, max_length=2000)
    limit = serializers.IntegerField(min_value=1, max_value=_MANY, default=10)


_ROW: Final = (
    *("id", "title", "status", "priority", "assignee", "holder", "tags", "ready", "waiting_for", "closed_as"),
    *("open_blockers", "ending", "verified", "version", "updated_at"),
)
_ROUND_ROWS_BYTES: Final = 256
"""More than an answer has beside the rows and the cursor."""
_READ_REST: Final = "read_file with path /description, /notes or /task reads the whole."


def task_row(task: Task) -> dict[str, Any]:
    """A task in a list: the fields that matter, without those that are empty."""
    return {name: value for name in _ROW if (value := getattr(task, name))}


def _done(task: Task) -> dict[str, Any]:
    """What a change answers; the caller knows what it has sent."""
    return {"id": task.pk, "status": task.status, "version": task.version, "changed": task.changed}


def _list_look(requester: Requester, arguments: Arguments) -> Look:
    """Takes what is not a filter out of the arguments."""
    cursor, limit = arguments.pop("cursor", ""), arguments.pop("limit")

    def look(caller: Caller) -> Seen:
        page = _fitting_page(replace(requester, user=caller), cursor=cursor, limit=limit, filters=arguments)
        return Seen(page, {row["id"] for row in page["tasks"]})

    return look


def _list_now(requester: Requester, arguments: Arguments) -> Any:
    arguments.pop("wait_s", 0)
    return _list_look(requester, arguments)(requester.user).data


async def _list(requester: Requester, arguments: Arguments) -> Any:
    wait_s = arguments.pop("wait_s", 0)
    seen = await when_changed(
        requester,
        _list_look(requester, arguments),
        changed=lambda first, now: first != now,
        events=Filters(types=LIST_MOVES),
        wait_s=wait_s,
        together_s=LIST_TOGETHER_S,
    )
    return seen.data


def _fitting_page(requester: Requester, *, cursor: str, limit: int, filters: dict[str, Any]) -> dict[str, Any]:
    rows, following = fitting_rows(requester, task_row, cursor=cursor, limit=limit, **filters)
    return {"tasks": rows, "next_cursor": following}


def fitting_rows(
    requester: Requester, row: Callable[[Task], Any], *, cursor: str, limit: int, **filters: Any
) -> tuple[list[Any], str | None]:
    """The rows of a page, and the next page's cursor; fewer rows than asked for where they are long, and none cut off.

    Raises ValidationError, NotFound.
    """
    while True:
        tasks, following = task_page(requester, cursor=cursor, limit=limit, **filters)
        rows = [row(task) for task in tasks]
        told = json.dumps([rows, following], default=str, ensure_ascii=False, separators=(",", ":"))
        if limit == 1 or len(told.encode("utf-8", "replace")) < ANSWER_BYTES - _ROUND_ROWS_BYTES:
            return rows, following
        limit //= 2


def task_page(requester: Requester, *, cursor: str, limit: int, **filters: Any) -> tuple[list[Task], str | None]:
    """REST's pages: tasks, newest first, and the next page's cursor. Raises ValidationError, NotFound."""
    tasks = filter_tasks(_query(filters), task_list_for(user=requester.user), requester.user)
    pages = TaskPages()
    asked = {**filters, "cursor": cursor, "page_size": limit}
    page = pages.paginate_queryset(tasks, _page_request(requester, asked)) or []
    return page, pages.next_cursor()


def _query(arguments: Arguments) -> QueryDict:
    """As a query string has it: true and false in lower case."""
    query = QueryDict(mutable=True)
    for name, value in arguments.items():
        words = value if isinstance(value, list) else [value]
        query.setlist(name, [str(word).lower() if isinstance(word, bool) else str(word) for word in words])
    return query


def _page_request(requester: Requester, query: Arguments) -> Request:
    """A request from which REST's pagination reads the page and builds the link with the next cursor."""
    request = HttpRequest()
    request.META["HTTP_HOST"] = urlsplit(requester.base_url).netloc
    request.GET = _query({name: value for name, value in query.items() if value})  # type: ignore[assignment]
    return Request(request)


def _get_now(requester: Requester, arguments: Arguments) -> Any:
    touch(requester, arguments)
    return task_look(arguments["task_id"])(requester.user).data


async def _get(requester: Requester, arguments: Arguments) -> Any:
    await with_database(touch, requester, arguments)
    task_id, version, note = arguments["task_id"], arguments.get("version"), arguments.get("note")
    seen = await when_changed(
        requester,
        task_look(task_id),
        changed=lambda first, now: now.is_news(first, version, note),
        events=task_events(task_id),
        wait_s=arguments.get("wait_s", 0),
    )
    return seen.data


def touch(requester: Requester, arguments: Arguments) -> None:
    """A reading call renews the caller's lease on the task; takes `as` out of the arguments."""
    name = arguments.pop("as", "")
    if requester.token is not None:
        actor = replace(requester.actor, agent_name=name)
        claim_touch(actor=actor, task_id=arguments["task_id"])


def lease_shown(actor: Actor, task_id: UUID) -> Any:
    """The lease under which the caller holds the task, or null."""
    claim = claim_told(actor, task_id)
    return None if claim is None else LeaseSerializer(claim).data


@transaction.atomic
def _create(requester: Requester, arguments: Arguments) -> Any:
    actor = requester.acting(arguments)
    key = arguments.pop("request_id", None)
    asked = key and Asked.of(actor=actor, operation="create_tasks", key=key, body=arguments)
    stored = idempotency_open(asked) if asked else None
    if stored is not None:
        return stored.data
    tasks = tasks_create(actor=actor, tasks=arguments["tasks"])
    rows = [_made(task, given.get("ref")) for task, given in zip(tasks, arguments["tasks"], strict=True)]
    if size_of(rows) > ANSWER_BYTES - _ROUND_ROWS_BYTES:
        # Long refs, many of them: no id may be cut off, or its task is lost to the caller.
        rows = [{"id": row["id"]} for row in rows]
    if asked:
        idempotency_keep(asked, Answer(HTTPStatus.CREATED, {"tasks": rows}), secret=False)
    return {"tasks": rows}


def _made(task: Task, ref: str | None) -> dict[str, Any]:
    return {"id": str(task.pk), **({"ref": ref} if ref else {}), "status": task.status, "version": task.version}


def _update(requester: Requester, arguments: Arguments) -> Any:
    return _done(task_update(actor=requester.acting(arguments), **arguments))


def _set_status(requester: Requester, arguments: Arguments) -> Any:
    actor = requester.acting(arguments)
    task = task_set_status(actor=actor, status=arguments.pop("new_status"), **arguments)
    told = {"verified": task.verified or None} if is_checked(task) else {}
    return {**_done(task), "lease": lease_shown(actor, task.pk), **told}


TASK_TOOLS = (
    Tool(
        name="list_tasks",
        title="List tasks",
        description="Tasks you may see, newest first; wait_s waits for a change.",
        takes=TaskListSerializer,
        run=_list,
        at_once=_list_now,
        rest="get_task has the whole task.",
        role=Role.VIEWER,
        reads=True,
    ),
    Tool(
        name="get_task",
        title="Read a task",
        description="A task, its notes and blockers; wait_s waits for a newer version or note.",
        takes=ReadTaskSerializer,
        run=_get,
        at_once=_get_now,
        rest=_READ_REST,
        role=Role.VIEWER,
        reads=True,
    ),
    Tool(
        name="create_tasks",
        title="Create tasks",
        description="Create tasks, all or none. A ```bash block in a description is what execute_task runs.",
        takes=NewTasksSerializer,
        run=_create,
        role=Role.AGENT,
    ),
    Tool(
        name="update_task",
        title="Change a task",
        description="Change the given fields of a task; lists are replaced.",
        takes=TaskChangeSerializer,
        run=_update,
        role=Role.AGENT,
        destroys=True,
        repeatable=True,
    ),
    Tool(
        name="claim_task",
        title="Claim a task",
        description="Take the next free task (null: none; wait_s waits for one). You alone hold it, under a lease "
        "that calls about it renew. Pass lease.token as `lease`; where agents share a token, your name as `as`.",
        takes=ClaimTaskSerializer,
        run=claim,
        at_once=claim_now,
        rest=_READ_REST,
        role=Role.AGENT,
    ),
    Tool(
        name="set_task_status",
        title="Set a status",
        description="Set a task's status: todo → inprogress → review → done. Give your result as note and artifacts "
        "(paths, URLs).",
        takes=TaskStatusSerializer,
        run=_set_status,
        role=Role.AGENT,
        destroys=True,
        repeatable=True,
    ),
)
