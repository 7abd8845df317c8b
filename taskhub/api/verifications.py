"""`/api/tasks/{task_id}/verify`: check the work of a task."""

from __future__ import annotations

from typing import Any, ClassVar
from uuid import UUID

from drf_spectacular.utils import extend_schema
from rest_framework import serializers, status
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.views import APIView

from taskhub.api.actors import AgentQuerySerializer, actor_of
from taskhub.api.awaited import awaited
from taskhub.api.fields import StrictBooleanField, StrictSerializer
from taskhub.api.permissions import AGENTS_WRITE
from taskhub.api.query import KnownQuery
from taskhub.executions.executor import ExecutorError
from taskhub.executions.log_reading import TAIL_LINES, log_tail, tail_text
from taskhub.models import Execution, ExecutionKind, ExecutionStatus, Verdict
from taskhub.services.verifications import Requested, verification_request
from taskhub.web.thread_pool import with_database_writing


class VerifySerializer(StrictSerializer):
    example: ClassVar[dict[str, Any]] = {"again": False}

    again = StrictBooleanField(required=False, help_text="Also where a verdict stands; for people and operators.")


class VerificationSerializer(serializers.Serializer[Any]):
    """A verification. `verified` is null while it is under way. `cached`: it has ended, and its verdict is on the work
    as it is now, so nothing was begun."""

    execution_id = serializers.UUIDField()
    kind = serializers.ChoiceField(choices=[ExecutionKind.VERIFY.value])
    status = serializers.ChoiceField(choices=ExecutionStatus.choices)
    verified = serializers.ChoiceField(choices=Verdict.values, allow_null=True)
    exit_code = serializers.IntegerField(allow_null=True)
    error = serializers.DictField(child=serializers.CharField(), allow_null=True)
    log_tail = serializers.CharField(help_text="The last lines, at most 4,096 bytes.")
    cached = serializers.BooleanField()


async def verification_told(asked: Requested, *, execution: Execution | None = None) -> dict[str, Any]:
    """The answer to a request, under way or ended; `execution`: as it has become since. A log that cannot be read is
    told as empty. Of one that is hidden neither log nor error is told."""
    execution = execution or asked.execution
    error = {"code": execution.error_code, "message": execution.error_message} if execution.error_code else None
    return {
        "execution_id": execution.pk,
        "kind": execution.kind,
        "status": execution.status,
        "verified": execution.verdict or None,
        "exit_code": execution.exit_code,
        "error": None if asked.is_hidden else error,
        "log_tail": "" if asked.is_hidden else await _tail(execution),
        "cached": asked.is_cached,
    }


async def _tail(execution: Execution) -> str:
    if execution.is_active:
        return ""
    try:
        lines = (await log_tail(execution, TAIL_LINES)).lines
    except ExecutorError:
        return ""
    return tail_text(lines)


class TaskVerifyView(KnownQuery, APIView):
    roles = AGENTS_WRITE
    queries = {"post": AgentQuerySerializer}

    @extend_schema(
        request=VerifySerializer,
        responses={200: VerificationSerializer, 202: VerificationSerializer},
        parameters=[AgentQuerySerializer],
    )
    @awaited(body=VerifySerializer)
    async def post(self, request: Request, task_id: UUID, body: dict[str, Any]) -> Response:
        """Check the task's work: its environment's and its own verify script, in a fresh sandbox, on what the last run
        left. The end comes as `task_verified`; one that is under way, or whose verdict stands, answers with 200.
        """
        asked = await with_database_writing(verification_request, actor=actor_of(request), task_id=task_id, **body)
        told = await verification_told(asked)
        return Response(
            VerificationSerializer(told).data, status=status.HTTP_202_ACCEPTED if asked.is_new else status.HTTP_200_OK
        )
