"""`/api/tasks/`: tasks, their history, and spec 003's status update."""

from __future__ import annotations

import re
from typing import Any, ClassVar
from uuid import UUID

import django_filters
from django.db.models import Q, QuerySet
from django.http import QueryDict
from django_filters.rest_framework import DjangoFilterBackend
from django_filters.utils import translate_validation
from drf_spectacular.utils import OpenApiParameter, extend_schema
from rest_framework import status
from rest_framework.filters import OrderingFilter
from rest_framework.generics import ListAPIView
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.views import APIView
from rest_framework.viewsets import GenericViewSet

from taskhub.api.actors import actor_of
from taskhub.api.pagination import NewestEntryFirst
from taskhub.api.permissions import AGENTS_WRITE
from taskhub.api.serializers import (
    AuditEntrySerializer,
    ClaimedSerializer,
    ClaimSerializer,
    StatusChangeSerializer,
    TaskSerializer,
)
from taskhub.errors import Invalid
from taskhub.models import AuditEntry, Task, TaskPriority, TaskStatus
from taskhub.selectors.tasks import task_get_for, task_history_for, task_list_for
from taskhub.services.tasks import task_claim, task_create, task_delete, task_update

_ETAG = re.compile(r'(?:W/)?"(\d{1,9})"\Z')
IF_MATCH = OpenApiParameter(
    "If-Match",
    {"type": "string", "pattern": r'^((W/)?"[0-9]{1,9}"|\*)$', "example": "*"},
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


def task_response(task: Task, http_status: int = status.HTTP_200_OK) -> Response:
    return Response(TaskSerializer(task).data, status=http_status, headers={"ETag": f'"{task.version}"'})


class TaskFilter(django_filters.FilterSet):  # type: ignore[misc]  # the library has no types
    status = django_filters.MultipleChoiceFilter(choices=TaskStatus.choices)
    priority = django_filters.MultipleChoiceFilter(choices=TaskPriority.choices)
    assignee = django_filters.CharFilter()
    private = django_filters.ChoiceFilter(
        choices=[("", "any"), ("true", "true"), ("false", "false")], empty_label=None, method="by_privacy"
    )
    q = django_filters.CharFilter(method="search", max_length=200, help_text="Text in the title or the description.")

    class Meta:
        model = Task
        fields: ClassVar[list[str]] = []

    def by_privacy(self, tasks: QuerySet[Task], name: str, value: str) -> QuerySet[Task]:  # noqa: ARG002 - its interface
        return tasks.filter(private=value == "true")

    def search(self, tasks: QuerySet[Task], name: str, value: str) -> QuerySet[Task]:  # noqa: ARG002 - its interface
        return tasks.filter(Q(title__icontains=value) | Q(description__icontains=value))


def filter_tasks(query: QueryDict, tasks: QuerySet[Task]) -> QuerySet[Task]:
    """Those that the filters of this query let through. Raises ValidationError."""
    found = TaskFilter(data=query, queryset=tasks)
    if not found.is_valid():
        raise translate_validation(found.errors)
    filtered: QuerySet[Task] = found.qs
    return filtered


class TaskViewSet(GenericViewSet[Task]):
    """Tasks. A change needs a token; `If-Match` prevents overwriting concurrent changes."""

    roles = AGENTS_WRITE
    queryset = Task.objects.none()
    serializer_class = TaskSerializer
    filter_backends = [DjangoFilterBackend, OrderingFilter]
    filterset_class = TaskFilter
    ordering_fields = ["created_at", "updated_at", "title", "status", "priority_rank"]
    ordering = ["-created_at", "-id"]
    lookup_url_kwarg = "task_id"

    def get_queryset(self) -> QuerySet[Task]:
        return task_list_for(user=self.request.user)

    def list(self, request: Request) -> Response:  # noqa: ARG002 - DRF's interface
        page = self.paginate_queryset(self.filter_queryset(self.get_queryset()))
        return self.get_paginated_response(self.get_serializer(page, many=True).data)

    def create(self, request: Request) -> Response:
        body = self.get_serializer(data=request.data)
        body.is_valid(raise_exception=True)
        task = task_create(actor=actor_of(request), **body.validated_data)
        return task_response(task, status.HTTP_201_CREATED)

    def retrieve(self, request: Request, task_id: UUID) -> Response:
        return task_response(task_get_for(user=request.user, task_id=task_id))

    @extend_schema(parameters=[IF_MATCH])
    def partial_update(self, request: Request, task_id: UUID) -> Response:
        body = self.get_serializer(data=request.data, partial=True)
        body.is_valid(raise_exception=True)
        task = task_update(
            actor=actor_of(request),
            task_id=task_id,
            expected_version=expected_version_of(request),
            **body.validated_data,
        )
        return task_response(task)

    @extend_schema(parameters=[IF_MATCH])
    def destroy(self, request: Request, task_id: UUID) -> Response:
        task_delete(actor=actor_of(request), task_id=task_id, expected_version=expected_version_of(request))
        return Response(status=status.HTTP_204_NO_CONTENT)


class TaskHistoryView(ListAPIView[AuditEntry]):
    """What happened to a task, newest first; also after it was deleted."""

    queryset = AuditEntry.objects.none()
    serializer_class = AuditEntrySerializer
    pagination_class = NewestEntryFirst
    filter_backends = []

    def get_queryset(self) -> QuerySet[AuditEntry]:
        return task_history_for(user=self.request.user, task_id=self.kwargs["task_id"])


class TaskStatusView(APIView):
    """Spec 003: change a task's status, and with it its priority, assignee and artifacts."""

    roles = AGENTS_WRITE

    @extend_schema(request=StatusChangeSerializer, responses=TaskSerializer, parameters=[IF_MATCH])
    def put(self, request: Request, task_id: UUID) -> Response:
        body = StatusChangeSerializer(data=request.data)
        body.is_valid(raise_exception=True)
        fields: dict[str, Any] = dict(body.validated_data)
        task = task_update(
            actor=actor_of(request),
            task_id=task_id,
            expected_version=expected_version_of(request),
            status=fields.pop("new_status"),
            **fields,
        )
        return task_response(task)


class TaskClaimView(APIView):
    roles = AGENTS_WRITE

    @extend_schema(request=ClaimSerializer, responses=ClaimedSerializer)
    def post(self, request: Request) -> Response:
        """Take the next free task: it becomes the caller's and `inprogress`, and no other caller gets it."""
        body = ClaimSerializer(data=request.data)
        body.is_valid(raise_exception=True)
        task = task_claim(actor=actor_of(request), **body.validated_data)
        return Response(ClaimedSerializer({"task": task}).data)
