"""MCP tools for tasks: list, get, create, update, claim, set a status."""

from __future__ import annotations

from dataclasses import replace
from typing import Any
from urllib.parse import urlsplit
from uuid import UUID

from django.http import HttpRequest, QueryDict
from rest_framework import serializers
from rest_framework.request import Request

from taskhub.api.claim_lines import claim_signals, patient_look
from taskhub.api.claims import ClaimedSerializer, ClaimSerializer, LeaseSerializer, claimed_data
from taskhub.api.fields import OneOfField, StrictBooleanField, TextField
from taskhub.api.filters import ANYTHING, filter_tasks
from taskhub.api.pagination import NewestFirst
from taskhub.api.serializers import StatusChangeSerializer, TaskSerializer
from taskhub.api.task_answers import claim_told
from taskhub.api.task_detail import TaskDetailSerializer
from taskhub.api.tasks import LIST_MOVES, LIST_TOGETHER_S, task_events, task_look
from taskhub.api.waiting import Look, Seen, waiting
from taskhub.auth.actor import Actor
from taskhub.errors import Conflict
from taskhub.events.filters import Filters
from taskhub.mcp.fields import HolderSerializer, NamedSerializer, TaskIdField
from taskhub.mcp.principal import Requester
from taskhub.mcp.tools import Arguments, Tool
from taskhub.mcp.waits import WaitSerializer, ended, when_changed
from taskhub.models import WAITING_FOR, Task, TaskPriority, TaskStatus
from taskhub.roles import Caller, Role
from taskhub.selectors.tasks import task_list_for
from taskhub.services.claims import claim_touch, task_claim
from taskhub.services.notes import task_set_status
from taskhub.services.tasks import task_create, task_update
from taskhub.web.thread_pool import with_database, with_database_writing

_MANY = 200


class TaskPlaceSerializer(NamedSerializer):
    task_id = TaskIdField()


class ReadTaskSerializer(TaskPlaceSerializer, WaitSerializer):
    """What the caller has: with `wait_s` the answer comes when there is something newer."""

    version = serializers.IntegerField(required=False, min_value=1)
    note = serializers.IntegerField(required=False, min_value=0)


class HeldTaskSerializer(HolderSerializer):
    task_id = TaskIdField()


class TaskChangeSerializer(HolderSerializer, TaskSerializer):
    """REST's PATCH, with the task's id and `If-Match` as arguments."""

    task_id = TaskIdField()
    title = TextField(max_length=200, required=False, visible=True)
    expected_version = serializers.IntegerField(required=False, min_value=1, help_text="Refused if it changed since.")

    class Meta(TaskSerializer.Meta):
        fields = ["task_id", *TaskSerializer.Meta.fields, "expected_version"]


class TaskStatusSerializer(HolderSerializer, StatusChangeSerializer):
    task_id = TaskIdField()
    expected_version = serializers.IntegerField(required=False, min_value=1)


class ClaimTaskSerializer(NamedSerializer, WaitSerializer, ClaimSerializer):
    pass


class BegunTaskSerializer(TaskSerializer):
    """A task, and the caller's lease on it."""

    lease = LeaseSerializer(allow_null=True)

    class Meta(TaskSerializer.Meta):
        fields = [*TaskSerializer.Meta.fields, "lease"]


class TaskListSerializer(WaitSerializer):
    """REST's filters."""

    status = serializers.ListField(child=OneOfField(choices=TaskStatus.choices), required=False)
    priority = serializers.ListField(child=OneOfField(choices=TaskPriority.choices), required=False)
    assignee = TextField(required=False, max_length=150)
    private = StrictBooleanField(required=False)
    ready = StrictBooleanField(required=False, help_text="May be claimed.")
    waiting_for = serializers.ListField(child=OneOfField(choices=[*WAITING_FOR, ANYTHING]), required=False)
    q = TextField(required=False, max_length=200)
    cursor = TextField(required=False, max_length=2000)
    limit = serializers.IntegerField(min_value=1, max_value=_MANY, default=20)


class TaskSummarySerializer(TaskSerializer):
    """A task without its description, which may be long."""

    class Meta(TaskSerializer.Meta):
        fields = [name for name in TaskSerializer.Meta.fields if name != "description"]


class TaskPageSerializer(serializers.Serializer[Any]):
    tasks = TaskSummarySerializer(many=True)
    next_cursor = serializers.CharField(allow_null=True)


def _shown(task: Task) -> Any:
    return TaskSerializer(task).data


async def _list(requester: Requester, arguments: Arguments) -> Any:
    wait_s, cursor, limit = arguments.pop("wait_s", 0), arguments.pop("cursor", ""), arguments.pop("limit")

    def look(caller: Caller) -> Seen:
        page = task_page(replace(requester, user=caller), cursor=cursor, limit=limit, **arguments)
        return Seen(page, {row["id"] for row in page["tasks"]})

    seen = await when_changed(
        requester,
        look,
        changed=lambda first, now: first != now,
        events=Filters(types=LIST_MOVES),
        wait_s=wait_s,
        together_s=LIST_TOGETHER_S,
    )
    return seen.data


def task_page(requester: Requester, *, cursor: str, limit: int, **filters: Any) -> dict[str, Any]:
    """`{"tasks", "next_cursor"}`: REST's pages, without the descriptions. Raises ValidationError, NotFound."""
    tasks = filter_tasks(_query(filters), task_list_for(user=requester.user), requester.user)
    pages = NewestFirst()
    page = pages.paginate_queryset(tasks, _page_request(requester, {"cursor": cursor, "page_size": limit})) or []
    return {"tasks": TaskSummarySerializer(page, many=True).data, "next_cursor": pages.next_cursor()}


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


def _create(requester: Requester, arguments: Arguments) -> Any:
    return _shown(task_create(actor=requester.actor, **arguments))


def _update(requester: Requester, arguments: Arguments) -> Any:
    return _shown(task_update(actor=requester.acting(arguments), **arguments))


def _set_status(requester: Requester, arguments: Arguments) -> Any:
    actor = requester.acting(arguments)
    task = task_set_status(actor=actor, status=arguments.pop("new_status"), **arguments)
    return {**_shown(task), "lease": lease_shown(actor, task.pk)}


async def _claim(requester: Requester, arguments: Arguments) -> Any:
    """With `wait_s`, and without a `task_id`, when there is a task: in turn with all that would take the same one."""
    wait_s = arguments.pop("wait_s", 0)
    look = _claim_look(requester, arguments)
    if not wait_s or "task_id" in arguments:
        return (await with_database_writing(look, requester.user)).data
    joined = claim_signals(requester.account, arguments)
    patient = patient_look(look)
    async with waiting(requester.waiter, wait_s, joined, gone=requester.gone, writes=True) as wait:
        first = await with_database_writing(patient, requester.user)
        seen, timed_out = (first, False) if first.mark else await wait.until(patient, bool)
    if isinstance(seen.about, Conflict):
        raise seen.about
    return ended(seen, timed_out).data


def _claim_look(requester: Requester, arguments: Arguments) -> Look:
    """A look is a claim; its mark says whether there was a task."""

    def look(caller: Caller) -> Seen:
        given = dict(arguments)
        actor = replace(requester, user=caller).acting(given)
        claimed = task_claim(actor=actor, **given)
        return Seen(claimed_data(claimed), claimed is not None)

    return look


TASK_TOOLS = (
    Tool(
        name="list_tasks",
        description="Tasks you may see, newest first; wait_s waits for a change.",
        takes=TaskListSerializer,
        gives=TaskPageSerializer,
        run=_list,
        shows=("tasks", "next_cursor"),
        role=Role.VIEWER,
        reads=True,
    ),
    Tool(
        name="get_task",
        description="A task, its notes and blockers; wait_s waits for a newer version or note.",
        takes=ReadTaskSerializer,
        gives=TaskDetailSerializer,
        run=_get,
        shows=("id", "description", "version", "blocked_by", "notes"),
        role=Role.VIEWER,
        reads=True,
    ),
    Tool(
        name="create_task",
        description="Create a task. A ```bash block in its description is what execute_task runs.",
        takes=TaskSerializer,
        gives=TaskSerializer,
        run=_create,
        shows=("id", "version"),
        role=Role.AGENT,
    ),
    Tool(
        name="update_task",
        description="Change the given fields of a task; lists are replaced.",
        takes=TaskChangeSerializer,
        gives=TaskSerializer,
        run=_update,
        shows=("id", "version"),
        role=Role.AGENT,
        destroys=True,
        repeatable=True,
    ),
    Tool(
        name="claim_task",
        description="Take the next free task (null: none; wait_s waits for one). You alone hold it, under a lease "
        "that calls about it renew. Pass lease.token as `lease`; where agents share a token, your name as `as`.",
        takes=ClaimTaskSerializer,
        gives=ClaimedSerializer,
        run=_claim,
        shows=("task", "lease"),
        role=Role.AGENT,
    ),
    Tool(
        name="set_task_status",
        description="Set a task's status: todo → inprogress → review → done. Give your result as note and artifacts "
        "(paths, URLs).",
        takes=TaskStatusSerializer,
        gives=BegunTaskSerializer,
        run=_set_status,
        shows=("id", "status", "version", "lease"),
        role=Role.AGENT,
        destroys=True,
        repeatable=True,
    ),
)
