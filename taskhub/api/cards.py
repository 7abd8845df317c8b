"""`/api/tasks/cards/`: tasks with what a card of the board shows of them."""

from __future__ import annotations

from typing import Any

from django.db.models import QuerySet
from django_filters.rest_framework import DjangoFilterBackend
from rest_framework import serializers
from rest_framework.generics import ListAPIView
from rest_framework.request import Request
from rest_framework.response import Response

from taskhub.api.filters import TaskFilter
from taskhub.api.query import KnownQuery
from taskhub.api.serializers import TaskSerializer
from taskhub.models import ExecutionStatus, Task
from taskhub.roles import Caller
from taskhub.selectors.cards import card_facts
from taskhub.selectors.tasks import task_list_for


class LastRunSerializer(serializers.Serializer[Any]):
    """The newest run that has ended."""

    execution_id = serializers.UUIDField(source="id")
    status = serializers.ChoiceField(choices=ExecutionStatus.choices)
    exit_code = serializers.IntegerField(allow_null=True)
    error_code = serializers.CharField(allow_blank=True)
    finished_at = serializers.DateTimeField(allow_null=True)


class CardFactsSerializer(serializers.Serializer[Any]):
    status_since = serializers.DateTimeField(read_only=True)
    held_since = serializers.DateTimeField(read_only=True, allow_null=True)
    stale = serializers.BooleanField(read_only=True)
    question_by = serializers.CharField(read_only=True, allow_blank=True)
    last_run = LastRunSerializer(read_only=True, allow_null=True)


class CardSerializer(CardFactsSerializer, TaskSerializer):
    """A task with the facts of its card.

    `status_since`: when it got its present status; `held_since`: when its holder claimed it, null without a holder;
    `stale`: it is in progress and no agent seems to work on it; `question_by`: who asked its open question, an account
    or `<account>/<agent>`, empty without one; `last_run`: null before a run has ended.
    """

    class Meta(TaskSerializer.Meta):
        fields = [*TaskSerializer.Meta.fields, *CardFactsSerializer().fields]


def cards_data(
    caller: Caller, tasks: list[Task], serializer: type[TaskSerializer] = TaskSerializer
) -> list[dict[str, Any]]:
    """The tasks as `CardSerializer` describes them, with the fields of `serializer`.

    One that was deleted meanwhile is left out.
    """
    facts = card_facts(user=caller, task_ids=[task.pk for task in tasks])
    shown = [task for task in tasks if task.pk in facts]
    return [
        {**row, **CardFactsSerializer(facts[task.pk]).data}
        for task, row in zip(shown, serializer(shown, many=True).data, strict=True)
    ]


class TaskCardsView(KnownQuery, ListAPIView[Task]):
    queryset = Task.objects.none()
    serializer_class = CardSerializer
    filter_backends = [DjangoFilterBackend]
    filterset_class = TaskFilter

    def get_queryset(self) -> QuerySet[Task]:
        return task_list_for(user=self.request.user)

    def get(self, request: Request, *args: Any, **kwargs: Any) -> Response:  # noqa: ARG002 - DRF's interface
        """List tasks as `/api/tasks/` does, the newest first, each with what its card on the board shows."""
        page = self.paginate_queryset(self.filter_queryset(self.get_queryset()))
        return self.get_paginated_response(cards_data(request.user, list(page or [])))
