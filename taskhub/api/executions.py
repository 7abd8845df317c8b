"""`/api/exec/`: run a task's script, look at it, read its log, stop it (spec 003)."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any, Final, NamedTuple, cast
from uuid import UUID

from django.db.models import QuerySet
from django.http import HttpResponse
from django.http.response import HttpResponseBase
from django_filters.rest_framework import DjangoFilterBackend
from drf_spectacular.utils import extend_schema
from rest_framework import status
from rest_framework.generics import ListAPIView
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.views import APIView

from taskhub.api.actors import LEASE, AgentQuerySerializer, NamedQuerySerializer, actor_of
from taskhub.api.awaited import awaited
from taskhub.api.execution_scripts import ExecutionWithScriptSerializer
from taskhub.api.filters import ExecutionFilter
from taskhub.api.idempotency import IDEMPOTENCY_KEY, idempotent
from taskhub.api.log_serializers import LogLineSerializer, LogQuerySerializer, LogTailSerializer
from taskhub.api.pagination import NewestQueuedFirst
from taskhub.api.permissions import AGENTS_WRITE
from taskhub.api.query import KnownQuery
from taskhub.api.serializers import (
    ExecuteSerializer,
    ExecutionQuerySerializer,
    ExecutionQueuedSerializer,
    ExecutionSerializer,
)
from taskhub.api.task_answers import lease_headers, touch
from taskhub.api.waiting import Look, Seen, WaitQuerySerializer, wait_for_change
from taskhub.events.filters import Filters
from taskhub.executions.existing_sandbox import sandbox_is_missing
from taskhub.executions.log_reading import Window, log_tail, log_window
from taskhub.executions.script import guard_script_size
from taskhub.models import Execution, ExecutionStatus
from taskhub.roles import Caller
from taskhub.selectors.executions import (
    execution_get_for,
    execution_list_for,
    execution_with_script_for,
    task_executions_for,
)
from taskhub.services.execution_again import execution_again
from taskhub.services.executions import execution_queue, execution_request_stop
from taskhub.web.thread_pool import on_web_thread, with_database, with_database_writing

_LINES: Final = 100
"""Of a log, unless the request has a number."""
_MOVES: Final = frozenset({"execution_event", "task_deleted", "stream-reset"})
_ANY_MOVE: Final = _MOVES | {"task_updated"}
"""A task that is queued to be executed is updated; no execution event says so."""


class Standing(NamedTuple):
    """What ends a wait for an execution: that it has ended, or that it waits for capacity now and did not before."""

    is_active: bool
    waits: bool

    def ends_wait(self, first: Standing) -> bool:
        return not self.is_active or (self.waits and not first.waits)


JUST_QUEUED: Final = Standing(is_active=True, waits=False)


def execution_events(task_id: UUID) -> Filters:
    """The events after which an execution of the task may have ended, or wait."""
    return Filters(types=_MOVES, task_id=str(task_id))


def execution_look(find: Callable[[Caller], Execution], shown: Any) -> Look:
    def look(caller: Caller) -> Seen:
        found = find(caller)
        waits = found.status == ExecutionStatus.QUEUED and bool(found.waiting_reason)
        return Seen(shown(found).data, Standing(found.is_active, waits), about=found)

    return look


def wait_for_end(request: Request, find: Callable[[Caller], Execution], shown: Any, wait_s: int) -> HttpResponse:
    """The execution; with `wait_s` when it has ended, or begins to wait for capacity."""
    execution = find(request.user)
    return wait_for_change(
        request,
        execution_look(find, shown),
        changed=lambda first, now: now.ends_wait(first),
        events=execution_events(cast("UUID", execution.task_id)),
        wait_s=wait_s,
    )


class ExecutionView(KnownQuery, APIView):
    queries = {"get": WaitQuerySerializer}

    @extend_schema(parameters=[WaitQuerySerializer], responses=ExecutionWithScriptSerializer)
    def get(self, request: Request, execution_id: UUID) -> HttpResponse:
        """Read an execution with its script.

        With `wait_s` the answer comes when it has ended, or must wait to start.
        """

        def find(caller: Caller) -> Execution:
            return execution_with_script_for(user=caller, execution_id=execution_id)

        return wait_for_end(request, find, ExecutionWithScriptSerializer, self.read_query(request)["wait_s"])


class ExecutionsView(KnownQuery, ListAPIView[Execution]):
    """Executions of all tasks, newest first; `?status=` as often as needed, as for those that are active."""

    queryset = Execution.objects.none()
    serializer_class = ExecutionSerializer
    pagination_class = NewestQueuedFirst
    filter_backends = [DjangoFilterBackend]
    filterset_class = ExecutionFilter

    queries = {"get": WaitQuerySerializer}

    def get_queryset(self) -> QuerySet[Execution]:
        return execution_list_for(user=self.request.user)

    @extend_schema(parameters=[WaitQuerySerializer])
    def get(self, request: Request, *args: Any, **kwargs: Any) -> Any:
        """List executions, newest first. With `wait_s` the answer comes when one enters or leaves the page."""

        def look(caller: Caller) -> Seen:
            request.user = caller
            page = self.list(request, *args, **kwargs).data
            return Seen(page, [row["execution_id"] for row in page["results"]])

        return wait_for_change(
            request,
            look,
            changed=lambda first, now: first != now,
            events=Filters(types=_ANY_MOVE, task_id=str(self.kwargs.get("task_id", ""))),
            wait_s=self.read_query(request)["wait_s"],
        )


class TaskExecutionsView(ExecutionsView):
    """The executions of a task, newest first."""

    def get_queryset(self) -> QuerySet[Execution]:
        return task_executions_for(user=self.request.user, task_id=self.kwargs["task_id"])


class ExecuteView(KnownQuery, APIView):
    roles = AGENTS_WRITE
    queries = {"post": AgentQuerySerializer}

    @extend_schema(
        request=ExecuteSerializer,
        responses={202: ExecutionQueuedSerializer},
        parameters=[IDEMPOTENCY_KEY, LEASE, AgentQuerySerializer],
    )
    def post(self, request: Request, task_id: UUID) -> HttpResponseBase:
        """Run a script for the task, or with `again` what an earlier execution ran.

        The answer is a handle; the end comes as an event and in `/api/exec/status/`.
        """
        guard_size(request.data)
        body = ExecuteSerializer(data=request.data)
        body.is_valid(raise_exception=True)
        fields: dict[str, Any] = dict(body.validated_data)
        fields["script"] = fields.pop("script_content", None)
        queue = self._queue_in if fields.get("sandbox_id") else self._queue
        return queue(request, task_id, fields=fields)

    @awaited()
    async def _queue_in(self, request: Request, task_id: UUID, *, fields: dict[str, Any]) -> Response:
        """In a sandbox that is there already; while Daytona answers, no thread and no lock is held."""
        is_missing = await sandbox_is_missing(fields["sandbox_id"])
        fields = {**fields, "sandbox_is_missing": is_missing}
        return await with_database_writing(self._queue, request, task_id, fields=fields)

    @idempotent()
    def _queue(self, request: Request, task_id: UUID, *, fields: dict[str, Any]) -> Response:
        actor = actor_of(request)
        queue = execution_again if "again" in fields else execution_queue
        execution = queue(actor=actor, task_id=task_id, **fields)
        return Response(
            ExecutionQueuedSerializer(execution).data,
            status=status.HTTP_202_ACCEPTED,
            headers=lease_headers(actor, task_id),
        )


def guard_size(body: Any) -> None:
    """Before anything else is said of the body: a script that is too long is a 413, not a wrong field."""
    script = body.get("script_content") if isinstance(body, dict) else None
    if isinstance(script, str):
        guard_script_size(script)


class ExecutionWaitQuerySerializer(ExecutionQuerySerializer, WaitQuerySerializer, NamedQuerySerializer):
    pass


class ExecutionStatusView(KnownQuery, APIView):
    queries = {"get": ExecutionWaitQuerySerializer}

    @extend_schema(parameters=[ExecutionWaitQuerySerializer], responses=ExecutionSerializer)
    def get(self, request: Request, task_id: UUID) -> HttpResponse:
        """How an execution of the task stands: the newest, unless `execution_id` names one.

        With `wait_s` the answer comes when it has ended, or must wait to start.
        """
        query = self.read_query(request)
        wait_s = query.pop("wait_s")
        query.pop("as", None)
        touch(request, task_id)
        execution_id = execution_get_for(user=request.user, task_id=task_id, **query).pk

        def find(caller: Caller) -> Execution:
            return execution_get_for(user=caller, task_id=task_id, execution_id=execution_id)

        return wait_for_end(request, find, ExecutionSerializer, wait_s)


class ExecutionStopView(KnownQuery, APIView):
    roles = AGENTS_WRITE
    queries = {"post": AgentQuerySerializer}

    @extend_schema(request=None, responses={202: ExecutionSerializer}, parameters=[LEASE, AgentQuerySerializer])
    def post(self, request: Request, task_id: UUID) -> Response:
        """Ask for the end of the running execution; the event `stopped` says when it came."""
        execution = execution_request_stop(actor=actor_of(request), task_id=task_id)
        return Response(ExecutionSerializer(execution).data, status=status.HTTP_202_ACCEPTED)


class ExecutionLogsView(KnownQuery, APIView):
    queries = {"get": LogQuerySerializer}

    @extend_schema(parameters=[LogQuerySerializer], responses=LogTailSerializer)
    @awaited()
    async def get(self, request: Request, task_id: UUID) -> Response:
        """Lines of an execution's log, while it runs and afterwards: the last ones, a window, or those with a text."""
        query = self.read_query(request)
        first, limit, q = query.pop("from", None), query.pop("limit", None), query.pop("q", "")
        count = query.pop("tail", None)
        execution = await with_database(partial(execution_get_for, user=request.user, task_id=task_id, **query))
        if first is None and limit is None and not q:
            window = await log_tail(execution, count or _LINES)
        else:
            window = await log_window(execution, first=first or 1, limit=limit or _LINES, q=q)
        return Response(await on_web_thread(_window_data, execution, window))


def _window_data(execution: Execution, window: Window) -> dict[str, Any]:
    return {
        "execution_id": execution.pk,
        "status": execution.status,
        "log_file": execution.log_file,
        "lines": LogLineSerializer(window.lines, many=True).data,
        "next": window.next,
    }
