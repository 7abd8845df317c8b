"""Claims and agents: read-only lists. A lease's token is never shown."""

from __future__ import annotations

from django.contrib import admin
from django.db.models import QuerySet
from django.http import HttpRequest
from django.utils.safestring import SafeString

from taskhub.admin.base import ReadOnlyAdmin, cut, row_link
from taskhub.models import Agent, Claim


@admin.register(Claim)
class ClaimAdmin(ReadOnlyAdmin):
    what = "A claim is an agent's attempt at a task, held under a lease."
    list_display = ["id", "of_task", "of_agent", "attempt", "end", "ended_by", "begun_at", "expires_at", "ended_at"]
    list_filter = ["end", ("ended_at", admin.EmptyFieldListFilter), ("begun_at", admin.DateFieldListFilter)]
    search_fields = ["task__id", "task__title", "agent__account", "agent__name"]
    exclude = ["token"]

    def get_queryset(self, request: HttpRequest) -> QuerySet[Claim]:
        claims: QuerySet[Claim] = super().get_queryset(request)
        return claims.select_related("task", "agent").defer("task__description", "task__folded_text")

    @admin.display(description="Task", ordering="task__title")
    def of_task(self, claim: Claim) -> SafeString | str:
        return row_link("taskhub_task", claim.task_id, cut(claim.task.title))

    @admin.display(description="Agent", ordering="agent__name")
    def of_agent(self, claim: Claim) -> SafeString | str:
        return row_link("taskhub_agent", claim.agent_id, cut(claim.agent))


@admin.register(Agent)
class AgentAdmin(ReadOnlyAdmin):
    what = "An agent is known from its first claim on."
    list_display = ["name", "account", "last_seen_at"]
    list_filter = [("last_seen_at", admin.DateFieldListFilter)]
    search_fields = ["name", "account"]
