"""`/api/overview/`: what the caller holds, how many tasks there are, what waits for people, what is stale."""

from __future__ import annotations

from typing import Any, ClassVar, Final

from drf_spectacular.utils import extend_schema
from rest_framework import serializers
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.views import APIView

from taskhub.api.actors import NamedQuerySerializer
from taskhub.api.me import MeSerializer
from taskhub.api.query import KnownQuery
from taskhub.auth.actor import Actor
from taskhub.models import WAITING_FOR, ApiToken, Claim, Task, TaskStatus
from taskhub.roles import Caller, role_of
from taskhub.selectors.overview import hub_overview


class WhoSerializer(MeSerializer):
    """`agent`: the caller's name among the agents of its account; empty for a person."""

    agent = serializers.CharField()


class OverviewTaskSerializer(serializers.ModelSerializer[Task]):
    """A task in few words."""

    waiting_for = serializers.ChoiceField(choices=["", *WAITING_FOR])

    class Meta:
        model = Task
        fields = ["id", "title", "status", "priority", "assignee", "holder", "waiting_for", "version", "updated_at"]


class HeldLeaseSerializer(serializers.ModelSerializer[Claim]):
    """A task that the caller holds. The lease's token is not told again; a claim of the task gives a new one."""

    title = serializers.CharField(source="task.title")

    class Meta:
        model = Claim
        fields = ["task_id", "title", "expires_at", "lease_s", "attempt"]


class CountsSerializer(serializers.Serializer[Any]):
    def get_fields(self) -> dict[str, Any]:
        return {name: serializers.IntegerField() for name in (*TaskStatus.values, "ready", "stale")}


class WaitingCountsSerializer(serializers.Serializer[Any]):
    def get_fields(self) -> dict[str, Any]:
        return {name: serializers.IntegerField() for name in WAITING_FOR}


class OverviewSerializer(serializers.Serializer[Any]):
    """`counts` and `waiting_for` are of all tasks that the caller sees; lists have ten, the longest unchanged first.

    `assigned`: to the caller's account, and not done; `waiting`: for people; `stale`: in progress, and no agent seems
    to work on them. `paused`: the hub or the account gets no new starts.
    """

    you = WhoSerializer()
    paused = serializers.BooleanField(source="is_paused")
    counts = CountsSerializer()
    waiting_for = WaitingCountsSerializer()
    leases = HeldLeaseSerializer(many=True)
    assigned = OverviewTaskSerializer(many=True)
    waiting = OverviewTaskSerializer(many=True)
    stale = OverviewTaskSerializer(many=True)


_OF_HUB: Final = ("is_paused", "counts", "waiting_for", "leases", "assigned", "waiting", "stale")


def overview_data(caller: Caller, agent: str) -> dict[str, Any]:
    """The overview as `OverviewSerializer` describes it."""
    you = {"name": caller.get_username(), "agent": agent, "role": role_of(caller).group}
    overview = hub_overview(user=caller, agent=agent)
    shown = {name: getattr(overview, name) for name in _OF_HUB}
    data: dict[str, Any] = OverviewSerializer({"you": you, **shown}).data
    return data


class OverviewView(KnownQuery, APIView):
    queries: ClassVar[dict[str, Any]] = {"get": NamedQuerySerializer}

    @extend_schema(parameters=[NamedQuerySerializer], responses=OverviewSerializer)
    def get(self, request: Request) -> Response:
        """Who the caller is, what it holds, how many tasks there are, what waits for people, what is stale."""
        name = self.read_query(request).get("as", "")
        token = request.auth if isinstance(request.auth, ApiToken) else None
        agent = Actor(door="rest", token=token, agent_name=name).agent
        return Response(overview_data(request.user, agent))
