"""`/api/agents/`: the agents of the hub; release what one holds, stop one, stop its executions."""

from __future__ import annotations

from typing import Any, ClassVar

from django.db.models import QuerySet
from drf_spectacular.utils import extend_schema
from rest_framework import serializers
from rest_framework.generics import ListAPIView
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.views import APIView

from taskhub.api.actors import AgentQuerySerializer, NamedQuerySerializer, actor_of
from taskhub.api.pagination import NewestSeenFirst
from taskhub.api.permissions import AGENTS_WRITE
from taskhub.api.query import KnownQuery
from taskhub.models import Agent, ApiToken, Claim, TaskStatus
from taskhub.roles import ROLES
from taskhub.selectors.agents import agent_facts, agent_list, agent_rights
from taskhub.services.agents import Acted, agent_release, agent_stop, agent_stop_executions


class AgentTokenSerializer(serializers.Serializer[Any]):
    """The token that the agent used last. `is_shared`: another agent used it last as well."""

    id = serializers.UUIDField(source="public_id")
    name = serializers.CharField()
    role = serializers.ChoiceField(
        choices=list(ROLES), allow_null=True, help_text="The most that it may do; null: what its account may."
    )
    expires_at = serializers.DateTimeField(source="expiry", allow_null=True)
    last_used_at = serializers.DateTimeField(allow_null=True)
    is_shared = serializers.BooleanField()

    def to_representation(self, instance: ApiToken) -> dict[str, Any]:
        shown: dict[str, Any] = super().to_representation(instance)
        return shown | {"role": instance.role or None}


class AgentClaimSerializer(serializers.ModelSerializer[Claim]):
    """A task that the agent holds, and since when."""

    title = serializers.CharField(source="task.title")
    status = serializers.ChoiceField(source="task.status", choices=TaskStatus.choices)
    since = serializers.DateTimeField(source="begun_at")

    class Meta:
        model = Claim
        fields = ["task_id", "title", "status", "since", "expires_at", "attempt"]


class AgentSerializer(serializers.ModelSerializer[Agent]):
    """An agent, with what the caller may know of it: of private tasks only what they may see.

    `token`: null where it has ended, and for other accounts than the agent's own, operators excepted. `held` has the
    first 20 of the tasks that `holds` counts. `active` executions are those that it asked for; `runs_today` and
    `failures_today` are those that were queued since midnight (UTC). `may_…`: whether the caller may do this.
    """

    token = AgentTokenSerializer(read_only=True, allow_null=True)
    held = AgentClaimSerializer(read_only=True, many=True)
    holds = serializers.IntegerField(read_only=True)
    active = serializers.IntegerField(read_only=True)
    runs_today = serializers.IntegerField(read_only=True)
    failures_today = serializers.IntegerField(read_only=True)
    may_release = serializers.BooleanField(read_only=True)
    may_stop = serializers.BooleanField(read_only=True)
    may_stop_executions = serializers.BooleanField(read_only=True)

    class Meta:
        model = Agent
        fields = [
            *("id", "account", "name", "last_seen_at", "token", "held", "holds", "active"),
            *("runs_today", "failures_today", "may_release", "may_stop", "may_stop_executions"),
        ]


def agents_data(request: Request, agents: list[Agent]) -> list[dict[str, Any]]:
    """The agents as `AgentSerializer` describes them, for this caller."""
    actor = actor_of(request) if request.user.is_authenticated else None
    facts = agent_facts(user=request.user, agents=agents)
    for agent in agents:
        known = facts[agent.pk]
        if known.token is not None:
            known.token.is_shared = known.token_is_shared
        rights = agent_rights(actor=actor, agent=agent)
        for source in (known, rights):
            for name in source.__slots__:
                setattr(agent, name, getattr(source, name))
    return list(AgentSerializer(agents, many=True).data)


class AgentsView(KnownQuery, ListAPIView[Agent]):
    queryset = Agent.objects.none()
    serializer_class = AgentSerializer
    pagination_class = NewestSeenFirst
    filter_backends = []
    queries: ClassVar[dict[str, Any]] = {"get": NamedQuerySerializer}

    def get_queryset(self) -> QuerySet[Agent]:
        return agent_list()

    @extend_schema(parameters=[NamedQuerySerializer])
    def get(self, request: Request, *args: Any, **kwargs: Any) -> Response:  # noqa: ARG002 - DRF's interface
        """The agents, those first that were seen last: what each holds and since when, runs and failures today."""
        self.read_query(request)
        page = self.paginate_queryset(self.get_queryset())
        return self.get_paginated_response(agents_data(request, list(page or [])))


class RefusalSerializer(serializers.Serializer[Any]):
    """A task that stayed as it was."""

    task_id = serializers.UUIDField()
    code = serializers.CharField(source="error.code")
    message = serializers.CharField(source="error.message")


class ActedSerializer(serializers.Serializer[Any]):
    """The tasks that were changed, those that were not and why; `remaining`: how many the next request would take on.

    `token_revoked`: false where no token was to be revoked, or it had ended before.
    """

    done = serializers.ListField(child=serializers.UUIDField())
    refused = RefusalSerializer(many=True)
    remaining = serializers.IntegerField()
    token_revoked = serializers.BooleanField()


class _ActionView(KnownQuery, APIView):
    roles = AGENTS_WRITE
    queries: ClassVar[dict[str, Any]] = {"post": AgentQuerySerializer}


_documented = extend_schema(request=None, responses=ActedSerializer, parameters=[AgentQuerySerializer])


class AgentReleaseView(_ActionView):
    @_documented
    def post(self, request: Request, agent_id: int) -> Response:
        """Give back what the agent holds: `todo` and unassigned. At most 100 tasks, the longest held first."""
        return _answer(agent_release(actor=actor_of(request), agent_id=agent_id))


class AgentStopView(_ActionView):
    @_documented
    def post(self, request: Request, agent_id: int) -> Response:
        """Revoke the token that the agent used last, and give back what it holds; for its own account and operators.

        All agents that use this token lose it. Executions go on until they are stopped.
        """
        return _answer(agent_stop(actor=actor_of(request), agent_id=agent_id))


class AgentStopExecutionsView(_ActionView):
    @_documented
    def post(self, request: Request, agent_id: int) -> Response:
        """Stop the executions that the agent asked for and that are queued or under way, at most 100."""
        return _answer(agent_stop_executions(actor=actor_of(request), agent_id=agent_id))


def _answer(acted: Acted) -> Response:
    return Response(ActedSerializer(acted).data)
