"""`/api/exec/`: run a task's script, look at it, read its log, stop it (spec 003)."""

from __future__ import annotations

from typing import Any, ClassVar
from uuid import UUID

import django_filters
from asgiref.sync import async_to_sync
from django.db.models import QuerySet
from django_filters.rest_framework import DjangoFilterBackend
from drf_spectacular.utils import extend_schema
from rest_framework import status
from rest_framework.generics import ListAPIView
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.views import APIView

from taskhub.api.actors import actor_of
from taskhub.api.pagination import NewestQueuedFirst
from taskhub.api.permissions import AGENTS_WRITE
from taskhub.api.serializers import (
    ExecuteSerializer,
    ExecutionQuerySerializer,
    ExecutionQueuedSerializer,
    ExecutionSerializer,
    LogLineSerializer,
    LogTailSerializer,
    TailQuerySerializer,
)
from taskhub.errors import TooLarge
from taskhub.executions.log_stream import log_tail
from taskhub.models import Execution, ExecutionStatus
from taskhub.selectors.executions import execution_get_for, execution_list_for, task_executions_for
from taskhub.services.executions import SCRIPT_LIMIT_BYTES, execution_queue, execution_request_stop


class ExecutionFilter(django_filters.FilterSet):  # type: ignore[misc]  # the library has no types
    status = django_filters.MultipleChoiceFilter(choices=ExecutionStatus.choices)

    class Meta:
        model = Execution
        fields: ClassVar[list[str]] = []


class ExecutionsView(ListAPIView[Execution]):
    """Executions of all tasks, newest first; `?status=` as often as needed, as for those that are active."""

    queryset = Execution.objects.none()
    serializer_class = ExecutionSerializer
    pagination_class = NewestQueuedFirst
    filter_backends = [DjangoFilterBackend]
    filterset_class = ExecutionFilter

    def get_queryset(self) -> QuerySet[Execution]:
        return execution_list_for(user=self.request.user)


class TaskExecutionsView(ExecutionsView):
    """The executions of a task, newest first."""

    def get_queryset(self) -> QuerySet[Execution]:
        return task_executions_for(user=self.request.user, task_id=self.kwargs["task_id"])


class ExecuteView(APIView):
    roles = AGENTS_WRITE

    @extend_schema(request=ExecuteSerializer, responses={202: ExecutionQueuedSerializer})
    def post(self, request: Request, task_id: UUID) -> Response:
        """Run a script for the task. The answer is a handle; the end comes as an event and in `/api/exec/status/`."""
        guard_size(request.data)
        body = ExecuteSerializer(data=request.data)
        body.is_valid(raise_exception=True)
        fields: dict[str, Any] = dict(body.validated_data)
        execution = execution_queue(
            actor=actor_of(request), task_id=task_id, script=fields.pop("script_content", None), **fields
        )
        return Response(ExecutionQueuedSerializer(execution).data, status=status.HTTP_202_ACCEPTED)


def guard_size(body: Any) -> None:
    """Before anything else is said of the body: a script that is too long is a 413, not a wrong field."""
    script = body.get("script_content") if isinstance(body, dict) else None
    if isinstance(script, str) and len(script.encode("utf-8", errors="replace")) > SCRIPT_LIMIT_BYTES:
        raise TooLarge(f"A script may have at most {SCRIPT_LIMIT_BYTES} bytes.", code="script_too_large")


class ExecutionStatusView(APIView):
    @extend_schema(parameters=[ExecutionQuerySerializer], responses=ExecutionSerializer)
    def get(self, request: Request, task_id: UUID) -> Response:
        """How an execution of the task stands: the newest, unless `execution_id` names one."""
        query = ExecutionQuerySerializer(data=request.query_params.dict())
        query.is_valid(raise_exception=True)
        execution = execution_get_for(user=request.user, task_id=task_id, **query.validated_data)
        return Response(ExecutionSerializer(execution).data)


class ExecutionStopView(APIView):
    roles = AGENTS_WRITE

    @extend_schema(request=None, responses={202: ExecutionSerializer})
    def post(self, request: Request, task_id: UUID) -> Response:
        """Ask for the end of the running execution; the event `stopped` says when it came."""
        execution = execution_request_stop(actor=actor_of(request), task_id=task_id)
        return Response(ExecutionSerializer(execution).data, status=status.HTTP_202_ACCEPTED)


class ExecutionLogsView(APIView):
    @extend_schema(parameters=[TailQuerySerializer], responses=LogTailSerializer)
    def get(self, request: Request, task_id: UUID) -> Response:
        """The last lines of an execution's log, while it runs and afterwards."""
        query = TailQuerySerializer(data=request.query_params.dict())
        query.is_valid(raise_exception=True)
        count = query.validated_data.pop("tail")
        execution = execution_get_for(user=request.user, task_id=task_id, **query.validated_data)
        lines = async_to_sync(log_tail)(execution, count)
        return Response(
            {
                "execution_id": execution.pk,
                "status": execution.status,
                "log_file": execution.log_file,
                "lines": LogLineSerializer(lines, many=True).data,
            }
        )
