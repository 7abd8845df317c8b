"""`/api/tasks/`: tasks, their history, and spec 003's status update."""

from __future__ import annotations

import re
from typing import Any, Final, NamedTuple
from uuid import UUID

from django.db.models import QuerySet
from django.http import HttpResponse
from django_filters.rest_framework import DjangoFilterBackend
from drf_spectacular.utils import OpenApiParameter, extend_schema
from rest_framework import serializers, status
from rest_framework.generics import ListAPIView
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.views import APIView
from rest_framework.viewsets import GenericViewSet

from taskhub.api.actors import LEASE, AgentQuerySerializer, NamedQuerySerializer, actor_of
from taskhub.api.filters import TaskFilter
from taskhub.api.idempotency import IDEMPOTENCY_KEY, idempotent
from taskhub.api.ordering import KnownOrdering
from taskhub.api.pagination import NewestEntryFirst
from taskhub.api.permissions import AGENTS_WRITE
from taskhub.api.query import KnownQuery
from taskhub.api.rendered import HtmlQuerySerializer
from taskhub.api.row_encoder import encoded_list
from taskhub.api.serializers import (
    TASK_ENCODER,
    AuditEntrySerializer,
    ListedTaskSerializer,
    StatusChangeSerializer,
    TaskSerializer,
)
from taskhub.api.task_answers import ETAG, etag, task_response, touch
from taskhub.api.task_detail import RenderedTaskSerializer, task_detail, with_html
from taskhub.api.task_pages import TaskPages
from taskhub.api.waiting import Look, Seen, WaitQuerySerializer, wait_for_change
from taskhub.errors import Invalid
from taskhub.events.filters import Filters
from taskhub.models import AuditEntry, Task
from taskhub.roles import Caller
from taskhub.selectors.audit import hide_blockers
from taskhub.selectors.tasks import task_get_for, task_history_for, task_list_for
from taskhub.services.notes import task_set_status
from taskhub.services.tasks import task_create, task_delete, task_update, tasks_create

_ETAG = re.compile(r'(?:W/)?"(\d{1,9})"\Z')
IF_MATCH = OpenApiParameter(
    "If-Match",
    {"type": "string", "pattern": r'^((W/)?"[0-9]{1,9}"|\*)$', "examples": ["*"]},
    OpenApiParameter.HEADER,
    description='The version you read, as `"3"`; otherwise 412.',
)


def expected_version_of(request: Request) -> int | None:
    """The version in `If-Match`; None without the header, or for `*`. Raises Invalid."""
    value = request.headers.get("If-Match", "*").strip()
    if value == "*":
        return None
    found = _ETAG.match(value)
    if found is None:
        raise Invalid('If-Match must be the ETag of the task, like "3".', details={"If-Match": [value[:100]]})
    return int(found[1])


_TASK_MOVES: Final = frozenset({"task_updated", "task_verified", "note_added", "task_deleted", "stream-reset"})
LIST_MOVES: Final = _TASK_MOVES | {"task_created", "task_ready"}
LIST_TOGETHER_S: Final = 0.5
"""A list looks again at most so often, however many tasks change."""


class TaskWaitQuerySerializer(WaitQuerySerializer, NamedQuerySerializer, HtmlQuerySerializer):
    version = serializers.IntegerField(
        required=False, min_value=1, help_text="With `wait_s`: the version you have; the present one unless given."
    )
    note = serializers.IntegerField(
        required=False, min_value=0, help_text="With `wait_s`: the last note you have; the present one unless given."
    )


class TaskMark(NamedTuple):
    """What shows that a task or its notes have changed; `note` is the id of the last one, 0 without."""

    version: int
    note: int

    def is_news(self, first: TaskMark, version: int | None, note: int | None) -> bool:
        """Whether this is newer than what the caller has: as given, else as it was at `first`."""
        seen_version = first.version if version is None else version
        seen_note = first.note if note is None else note
        return self.version != seen_version or self.note > seen_note


def task_events(task_id: UUID) -> Filters:
    """The events after which a task or its notes may have changed."""
    return Filters(types=_TASK_MOVES, task_id=str(task_id))


def task_look(task_id: UUID, *, html: bool = False) -> Look:
    def look(caller: Caller) -> Seen:
        task = task_get_for(user=caller, task_id=task_id)
        detail = task_detail(caller, task)
        last_note = detail["notes"][0]["id"] if detail["notes"] else 0
        shown = with_html(detail) if html else detail
        return Seen(shown, TaskMark(task.version, last_note), {ETAG: etag(task)})

    return look


TASKS_AT_ONCE: Final = 100


def guard_length(bodies: list[Any]) -> None:
    """Raises Invalid for an empty list, and for one of more than `TASKS_AT_ONCE`."""
    if not 1 <= len(bodies) <= TASKS_AT_ONCE:
        raise Invalid(f"A list of tasks must have from 1 to {TASKS_AT_ONCE}; this one has {len(bodies)}.")


class TaskViewSet(KnownQuery, GenericViewSet[Task]):
    """Tasks. A change needs a token; `If-Match` prevents overwriting concurrent changes."""

    roles = AGENTS_WRITE
    queryset = Task.objects.none()
    serializer_class = TaskSerializer
    filter_backends = [DjangoFilterBackend, KnownOrdering]
    filterset_class = TaskFilter
    pagination_class = TaskPages
    orderings = {
        **{name: name for name in ("created_at", "updated_at", "title", "status")},
        "priority": "priority_rank",
        "priority_rank": "priority_rank",
    }
    queries = {
        "list": WaitQuerySerializer,
        "retrieve": TaskWaitQuerySerializer,
        "partial_update": AgentQuerySerializer,
        "destroy": AgentQuerySerializer,
    }
    lookup_url_kwarg = "task_id"

    def get_queryset(self) -> QuerySet[Task]:
        return task_list_for(user=self.request.user)

    def read_rows(self, tasks: QuerySet[Task], keys: tuple[str, ...]) -> list[Any]:
        """The rows of a page, encoded: without models and the serializer."""
        return TASK_ENCODER.read(tasks, keys)

    @extend_schema(parameters=[WaitQuerySerializer])
    def list(self, request: Request) -> HttpResponse:
        """List tasks, newest first unless `ordering` says otherwise. Filters are combined: all must hold.

        With `wait_s` the answer comes when a task enters or leaves the page.
        """

        def look(caller: Caller) -> Seen:
            request.user = caller
            page = self.paginate_queryset(self.filter_queryset(self.get_queryset()))
            answer = self.get_paginated_response(encoded_list(page or [])).data
            return Seen(answer, {row.id for row in page or []})

        return wait_for_change(
            request,
            look,
            changed=lambda first, now: first != now,
            events=Filters(types=LIST_MOVES),
            wait_s=self.read_query(request)["wait_s"],
            together_s=LIST_TOGETHER_S,
        )

    @extend_schema(parameters=[IDEMPOTENCY_KEY])
    @idempotent()
    def create(self, request: Request) -> Response:
        """Create a task, or up to 100 of them: a list is created as a whole or not at all.

        In a list a task may have a `ref`, by which others of the list name it in `blocked_by`.
        """
        if not isinstance(request.data, list):
            body = self.get_serializer(data=request.data)
            body.is_valid(raise_exception=True)
            task = task_create(actor=actor_of(request), **body.validated_data)
            return task_response(task, status.HTTP_201_CREATED)
        guard_length(request.data)
        bodies = [ListedTaskSerializer(data=each) for each in request.data]
        wrong = {str(n): body.errors for n, body in enumerate(bodies) if not body.is_valid()}
        if wrong:
            raise Invalid("Some tasks are wrong, none was created; details names them by index.", details=wrong)
        tasks = tasks_create(actor=actor_of(request), tasks=[body.validated_data for body in bodies])
        return Response(TaskSerializer(tasks, many=True).data, status=status.HTTP_201_CREATED)

    @extend_schema(parameters=[TaskWaitQuerySerializer], responses=RenderedTaskSerializer)
    def retrieve(self, request: Request, task_id: UUID) -> HttpResponse:
        """Read a task, with what it waits for. Its `ETag` is what `If-Match` of a change compares.

        With `wait_s` the answer comes when its version or its last note is newer than `version` and `note`.
        """
        query = self.read_query(request)
        touch(request, task_id)
        version, note = query.get("version"), query.get("note")
        return wait_for_change(
            request,
            task_look(task_id, html=query["html"]),
            changed=lambda first, now: now.is_news(first, version, note),
            events=task_events(task_id),
            wait_s=query["wait_s"],
        )

    @extend_schema(parameters=[IF_MATCH, LEASE, AgentQuerySerializer])
    def partial_update(self, request: Request, task_id: UUID) -> Response:
        """Change the given fields of a task. With `If-Match` the change is refused if the task changed meanwhile."""
        body = self.get_serializer(data=request.data, partial=True)
        body.is_valid(raise_exception=True)
        actor = actor_of(request)
        task = task_update(
            actor=actor,
            task_id=task_id,
            expected_version=expected_version_of(request),
            **body.validated_data,
        )
        return task_response(task, actor=actor)

    @extend_schema(parameters=[IF_MATCH, LEASE, AgentQuerySerializer])
    def destroy(self, request: Request, task_id: UUID) -> Response:
        """Delete a task. Its history stays."""
        task_delete(actor=actor_of(request), task_id=task_id, expected_version=expected_version_of(request))
        return Response(status=status.HTTP_204_NO_CONTENT)


class TaskHistoryView(KnownQuery, ListAPIView[AuditEntry]):
    """What happened to a task, newest first; also after it was deleted."""

    queryset = AuditEntry.objects.none()
    serializer_class = AuditEntrySerializer
    pagination_class = NewestEntryFirst
    filter_backends = []

    def get_queryset(self) -> QuerySet[AuditEntry]:
        return task_history_for(user=self.request.user, task_id=self.kwargs["task_id"])

    def paginate_queryset(self, queryset: Any) -> Any:
        page = super().paginate_queryset(queryset)
        hide_blockers(self.request.user, page or [])
        return page


class TaskStatusView(KnownQuery, APIView):
    """Spec 003: change a task's status, and with it its priority, assignee and artifacts."""

    roles = AGENTS_WRITE
    queries = {"put": AgentQuerySerializer}

    @extend_schema(
        request=StatusChangeSerializer, responses=TaskSerializer, parameters=[IF_MATCH, LEASE, AgentQuerySerializer]
    )
    def put(self, request: Request, task_id: UUID) -> Response:
        """Change a task's status, and with it its priority, assignee and artifacts (spec 003)."""
        body = StatusChangeSerializer(data=request.data)
        body.is_valid(raise_exception=True)
        fields: dict[str, Any] = dict(body.validated_data)
        actor = actor_of(request)
        task = task_set_status(
            actor=actor,
            task_id=task_id,
            expected_version=expected_version_of(request),
            status=fields.pop("new_status"),
            **fields,
        )
        return task_response(task, actor=actor)
