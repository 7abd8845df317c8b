"""`?facts=true` of sandboxes, and their history: what the hub knows beside Daytona's object."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from drf_spectacular.utils import extend_schema
from rest_framework import serializers
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.views import APIView

from sandboxes.gateway import Document
from sandboxes.models import StateChange
from sandboxes.selectors.facts import sandbox_facts_for, sandbox_history_for
from sandboxes.selectors.sandboxes import Reader
from taskhub.api.query import KnownQuery
from taskhub.models import Execution, ExecutionStatus


class SandboxExecutionSerializer(serializers.ModelSerializer[Execution]):
    """An execution in a sandbox. `account`: who asked for it."""

    execution_id = serializers.UUIDField(source="id")
    title = serializers.CharField(source="task.title")
    status = serializers.ChoiceField(choices=ExecutionStatus.choices)
    session_id = serializers.CharField(source="session_name")

    class Meta:
        model = Execution
        fields = [
            *("execution_id", "task_id", "title", "status", "exit_code", "account"),
            *("queued_at", "started_at", "finished_at", "session_id", "command_id"),
        ]


class WatcherSerializer(serializers.Serializer[Any]):
    """`user` is empty for streams that were opened without an account."""

    user = serializers.CharField(allow_blank=True)
    streams = serializers.IntegerField()


class SandboxFactsSerializer(serializers.Serializer[Any]):
    """`own`: the caller made the sandbox, or asked for `execution`, the newest one in it.

    `watchers`: open streams of it that the caller may see (its own; all for operators). `may_…`: whether the caller may
    do this now. `cpu`, `memory` and `disk` (GiB): what it holds now, nothing of the first two while it is stopped; null
    where Daytona does not say.
    """

    own = serializers.BooleanField(source="is_own")
    execution = SandboxExecutionSerializer(allow_null=True)
    watchers = WatcherSerializer(many=True)
    may_start = serializers.BooleanField()
    may_stop = serializers.BooleanField()
    may_delete = serializers.BooleanField()
    may_read_files = serializers.BooleanField()
    cpu = serializers.FloatField(allow_null=True)
    memory = serializers.FloatField(allow_null=True)
    disk = serializers.FloatField(allow_null=True)


def with_facts(user: Reader, documents: Sequence[Document]) -> list[Document]:
    """Each with `hub`: its facts."""
    facts = sandbox_facts_for(user=user, documents=documents)
    return [{**document, "hub": SandboxFactsSerializer(facts[str(document["id"])]).data} for document in documents]


class StateChangeSerializer(serializers.ModelSerializer[StateChange]):
    """A state, and when the hub saw it. `action` and `by`: what an account asked for, which led to it."""

    class Meta:
        model = StateChange
        fields = ["state", "at", "action", "by"]


class SandboxHistorySerializer(serializers.Serializer[Any]):
    states = StateChangeSerializer(many=True)
    executions = SandboxExecutionSerializer(many=True)


class SandboxHistoryView(KnownQuery, APIView):
    @extend_schema(responses=SandboxHistorySerializer)
    def get(self, request: Request, sandbox_id: str) -> Response:
        """The states that the hub saw in the last 30 days and the executions in the sandbox, the newest first.

        States are seen while the sandbox is watched, and when an account makes, starts, stops or deletes it. At most
        200 states and 50 executions; also after the sandbox's end.
        """
        return Response(SandboxHistorySerializer(sandbox_history_for(user=request.user, sandbox_id=sandbox_id)).data)
