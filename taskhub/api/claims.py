"""Claims over REST: agents take tasks under a lease, and give them back."""

from __future__ import annotations

from functools import partial
from typing import Any, cast
from uuid import UUID

from django.contrib.auth.models import User
from django.http import HttpResponse
from drf_spectacular.utils import extend_schema
from rest_framework import serializers
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.views import APIView

from taskhub.api.actors import LEASE, AgentQuerySerializer, actor_of
from taskhub.api.claim_lines import claim_signals, patient_look
from taskhub.api.fields import IdField, OneOfField, StrictSerializer, TextListField
from taskhub.api.idempotency import IDEMPOTENCY_KEY, idempotent
from taskhub.api.permissions import AGENTS_WRITE
from taskhub.api.query import KnownQuery
from taskhub.api.serializers import TaskSerializer
from taskhub.api.task_answers import task_response
from taskhub.api.waiting import Seen, WaitQuerySerializer, wait_for_signals
from taskhub.models import TaskPriority
from taskhub.roles import Caller
from taskhub.selectors.claims import is_living
from taskhub.services.claims import Claimed, task_claim, task_release
from taskhub.services.leases import LEASE_LEAST_S, LEASE_MOST_S


class LeaseOfSerializer(StrictSerializer):
    lease_s = serializers.IntegerField(
        required=False,
        min_value=LEASE_LEAST_S,
        max_value=LEASE_MOST_S,
        help_text="Of silence, at most.",
    )


class ClaimOneSerializer(LeaseOfSerializer):
    """How to take the task of the address."""

    example = {"lease_s": 900}


class ClaimSerializer(LeaseOfSerializer):
    """Which task to take: the next free one that fits, or `task_id`."""

    example = {"priority": ["high"], "tags": ["ci"], "lease_s": 900}

    task_id = IdField(required=False)
    priority = serializers.ListField(child=OneOfField(choices=TaskPriority.choices), required=False)
    tags = TextListField(max_length=50, required=False, help_text="All of these.")


class LeaseSerializer(serializers.Serializer[Any]):
    """How the task is held. Send `token` as `TaskHub-Lease` (over MCP `lease`) with each request about it.

    Each of them renews the lease; after `expires_at` without one another agent gets the task, unless it is being
    executed. `attempt`: how often it was claimed, from 1.
    """

    token = serializers.CharField()
    expires_at = serializers.DateTimeField()
    lease_s = serializers.IntegerField()
    attempt = serializers.IntegerField()


class ClaimedSerializer(serializers.Serializer[Any]):
    """The caller's task; null where none is free. `lease` is null for people, who need none."""

    task = TaskSerializer(allow_null=True)
    lease = LeaseSerializer(allow_null=True)


def claimed_data(claimed: Claimed | None) -> Any:
    """The answer to a claim."""
    task, claim = (claimed.task, claimed.claim) if claimed is not None else (None, None)
    return ClaimedSerializer({"task": task, "lease": claim}).data


def _repeated(data: Any) -> Any:
    """A lease is repeated only while it lives."""
    lease = data["lease"]
    return data if lease is None or is_living(lease["token"]) else {**data, "lease": None}


_claims = idempotent(secret=True, stores=lambda response: response.data["task"] is not None, repeats=_repeated)


class ClaimQuerySerializer(AgentQuerySerializer, WaitQuerySerializer):
    pass


class ClaimView(KnownQuery, APIView):
    roles = AGENTS_WRITE
    queries = {"post": ClaimQuerySerializer}

    @extend_schema(
        request=ClaimSerializer, responses=ClaimedSerializer, parameters=[IDEMPOTENCY_KEY, ClaimQuerySerializer]
    )
    def post(self, request: Request) -> HttpResponse:
        """Take the next free task: it becomes the caller's and `inprogress`, and no other caller gets it.

        An agent, which is any caller with a token, holds it under a lease. With `wait_s`, and without `task_id`, the
        answer comes when there is a task.
        """
        body = ClaimSerializer(data=request.data)
        body.is_valid(raise_exception=True)
        wanted: dict[str, Any] = body.validated_data
        wait_s = self.read_query(request)["wait_s"]
        if not wait_s or "task_id" in wanted:
            return self._claim(request, wanted)
        return wait_for_signals(
            request,
            patient_look(partial(self._look, request, wanted)),
            changed=lambda _, has_task: has_task,
            signals=claim_signals(cast("User", request.user), wanted),
            wait_s=wait_s,
            writes=True,
        )

    def _look(self, request: Request, wanted: dict[str, Any], caller: Caller) -> Seen:
        request.user = caller
        response = self._claim(request, wanted)
        headers = {name: value for name, value in response.headers.items() if name != "Content-Type"}
        return Seen(response.data, response.data["task"] is not None, headers)

    @_claims
    def _claim(self, request: Request, wanted: dict[str, Any]) -> Response:
        return Response(claimed_data(task_claim(actor=actor_of(request), **wanted)))


class TaskClaimView(KnownQuery, APIView):
    roles = AGENTS_WRITE
    queries = {"post": AgentQuerySerializer}

    @extend_schema(
        operation_id="tasks_claim_one",
        request=ClaimOneSerializer,
        responses=ClaimedSerializer,
        parameters=[IDEMPOTENCY_KEY, AgentQuerySerializer],
    )
    @_claims
    def post(self, request: Request, task_id: UUID) -> Response:
        """Take this task. Its holder gets a new lease, and the former one is dead."""
        body = ClaimOneSerializer(data=request.data)
        body.is_valid(raise_exception=True)
        return Response(claimed_data(task_claim(actor=actor_of(request), task_id=task_id, **body.validated_data)))


class TaskReleaseView(KnownQuery, APIView):
    roles = AGENTS_WRITE
    queries = {"post": AgentQuerySerializer}

    @extend_schema(request=None, responses=TaskSerializer, parameters=[LEASE, AgentQuerySerializer])
    def post(self, request: Request, task_id: UUID) -> Response:
        """Give a task back: `todo` and unassigned. A person also lets a task go that is held back."""
        task = task_release(actor=actor_of(request), task_id=task_id)
        return task_response(task)
