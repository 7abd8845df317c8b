"""`/api/tasks/board/`: the board's columns with their first cards, and what is counted of all tasks."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, ClassVar, Final

from django.db.models import QuerySet
from django_filters.rest_framework import DjangoFilterBackend
from drf_spectacular.utils import extend_schema
from rest_framework import serializers
from rest_framework.exceptions import NotFound
from rest_framework.generics import GenericAPIView
from rest_framework.request import Request
from rest_framework.response import Response

from taskhub.api.cards import CardFactsSerializer, cards_data
from taskhub.api.filters import TaskFilter, choices_filter
from taskhub.api.pagination import KeysetPages
from taskhub.api.query import KnownQuery, QuerySerializer
from taskhub.api.serializers import TaskSerializer
from taskhub.models import Task, TaskStatus
from taskhub.selectors.board import (
    BOARD_STATES,
    board_counts,
    board_in_states,
    board_needs,
    board_searched,
    board_tasks,
    status_counts,
)
from taskhub.selectors.tasks import task_list_for

NEEDS_MOST: Final = 200
_PAGE: Final = 50


class BoardTaskSerializer(TaskSerializer):
    """A task without its description, which may be long and is on no card."""

    description = None  # type: ignore[assignment]  # DRF's way to leave out an inherited field

    class Meta(TaskSerializer.Meta):
        fields = [name for name in TaskSerializer.Meta.fields if name != "description"]


class BoardCardSerializer(CardFactsSerializer, BoardTaskSerializer):
    """A task with the facts of its card, as `/api/tasks/cards/` has them, and without its description."""

    class Meta(BoardTaskSerializer.Meta):
        fields = [*BoardTaskSerializer.Meta.fields, *CardFactsSerializer().fields]


class BoardColumnSerializer(serializers.Serializer[Any]):
    """`count`: tasks that the filters let through; `total`: all; `cursor`: of the next page, null on the last one."""

    status = serializers.ChoiceField(choices=TaskStatus.choices)
    count = serializers.IntegerField()
    total = serializers.IntegerField()
    cursor = serializers.CharField(allow_null=True)
    results = BoardCardSerializer(many=True)


class BoardSummarySerializer(serializers.Serializer[Any]):
    """Of all tasks on the board, whatever the filters: how many are in each state, what there is to filter by, and the
    tasks that need the caller, who made them or is their assignee. `accounts`: the hub's active ones, for callers that
    have one; an assignee may have any name.
    """

    states = serializers.DictField(child=serializers.IntegerField())
    assignees = serializers.ListField(child=serializers.CharField())
    accounts = serializers.ListField(child=serializers.CharField())
    tags = serializers.ListField(child=serializers.CharField())
    needs = BoardCardSerializer(many=True)


class BoardSerializer(serializers.Serializer[Any]):
    """`summary` is null on further pages of a column."""

    columns = BoardColumnSerializer(many=True)
    summary = BoardSummarySerializer(allow_null=True)


class BoardFilter(TaskFilter):
    state = choices_filter(
        BOARD_STATES.items(), method="by_state", help_text="In one of these states; repeat it for several."
    )

    def by_state(self, tasks: QuerySet[Task], name: str, value: list[str]) -> QuerySet[Task]:  # noqa: ARG002 - its interface
        return board_in_states(tasks, self.request.user, value)

    def by_text(self, tasks: QuerySet[Task], name: str, value: str) -> QuerySet[Task]:  # noqa: ARG002 - its interface
        return board_searched(tasks, value)


class BoardPages(KeysetPages):
    """The most urgent first, and of these the last changed."""

    ordering = ("-priority_rank", "-updated_at", "-created_at", "-id")


class BoardQuerySerializer(QuerySerializer):
    page_size = serializers.IntegerField(
        required=False,
        default=_PAGE,
        min_value=0,
        max_value=KeysetPages.max_page_size,
        help_text="Cards of a column; 0: the counts alone.",
    )
    cursor = serializers.CharField(
        required=False, help_text="The next page of one column, named by `status`: from its `cursor`."
    )
    old = serializers.BooleanField(
        required=False, default=False, help_text="Also tasks that are done and have left the board."
    )


class BoardView(KnownQuery, GenericAPIView[Task]):
    queryset = Task.objects.none()
    serializer_class = BoardSerializer
    filter_backends = [DjangoFilterBackend]
    filterset_class = BoardFilter
    pagination_class = None
    queries: ClassVar = {"get": BoardQuerySerializer}

    @extend_schema(filters=True, parameters=[BoardQuerySerializer])
    def get(self, request: Request) -> Response:
        """Show the board: the columns with their first cards, the most urgent and last changed first, and counts."""
        query = self.read_query(request)
        tasks = board_tasks(task_list_for(user=request.user), request.user, old=query["old"])
        filtered = self.filter_queryset(tasks)
        statuses = list(dict.fromkeys(request.query_params.getlist("status"))) or list(TaskStatus.values)
        if query.get("cursor") and len(statuses) != 1:
            raise NotFound("A cursor is of one column: name its status, and no other.")
        columns = list(self._columns(filtered, statuses, with_cards=query["page_size"] > 0))
        if query.get("cursor"):
            return Response(self._answer(columns, status_counts(filtered), status_counts(tasks), None))
        counts = board_counts(tasks, request.user)
        needs = list(board_needs(tasks, request.user).defer("description")[:NEEDS_MOST])
        names = {"assignees": counts.assignees, "accounts": counts.accounts, "tags": counts.tags}
        summary = {"states": counts.states, **names, "needs": needs}
        return Response(self._answer(columns, status_counts(filtered), counts.totals, summary))

    def _columns(
        self, filtered: QuerySet[Task], statuses: list[str], *, with_cards: bool
    ) -> Iterator[tuple[str, list[Task], str | None]]:
        """The status, its tasks on this page, and the cursor of the next one."""
        for status in statuses:
            if with_cards:
                pages = BoardPages()
                yield (
                    status,
                    pages.paginate_queryset(filtered.filter(status=status).defer("description"), self.request),
                    pages.next_cursor(),
                )
            else:
                yield status, [], None

    def _answer(
        self,
        columns: list[tuple[str, list[Task], str | None]],
        counts: dict[str, int],
        totals: dict[str, int],
        summary: dict[str, Any] | None,
    ) -> dict[str, Any]:
        """The facts of all cards are looked up together."""
        shown = {task.pk: task for _, tasks, _ in columns for task in tasks}
        shown |= {task.pk: task for task in (summary or {}).get("needs", ())}
        rows = {row["id"]: row for row in cards_data(self.request.user, list(shown.values()), BoardTaskSerializer)}

        def rows_of(tasks: list[Task]) -> list[dict[str, Any]]:
            return [rows[task.pk] for task in tasks if task.pk in rows]

        return {
            "columns": [
                {
                    "status": status,
                    "count": counts.get(status, 0),
                    "total": totals.get(status, 0),
                    "cursor": cursor,
                    "results": rows_of(tasks),
                }
                for status, tasks, cursor in columns
            ],
            "summary": summary and {**summary, "needs": rows_of(summary["needs"])},
        }
