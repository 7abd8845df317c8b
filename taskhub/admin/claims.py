"""Claims and agents: read-only lists. A lease's token is never shown."""

from __future__ import annotations

from uuid import UUID

from django.contrib import admin
from django.db.models import QuerySet
from django.utils.safestring import SafeString

from taskhub.admin.base import COLUMN, NOTHING, ReadOnlyAdmin, cut, row_link
from taskhub.admin.list_pages import DateFilter
from taskhub.admin.titles import TASK_WITHOUT
from taskhub.models import Agent, Claim
from taskhub.selectors.claims import claims_searched


@admin.register(Claim)
class ClaimAdmin(ReadOnlyAdmin):
    what = "A claim is an agent's attempt at a task, held under a lease."
    list_display = ["of_task", "of_agent", "attempt", "shown_end", "begun_at", "expires_at", "ended_at"]
    list_filter = ["end", ("ended_at", admin.EmptyFieldListFilter), ("begun_at", DateFilter)]
    list_filter_submit = True
    list_select_related = ["task", "agent"]
    time_field = "begun_at"
    list_without = tuple(f"task__{field}" for field in TASK_WITHOUT)
    search_fields = ["agent__name"]
    search_help_text = "The id of a task, or text in a task's title, or in an agent's account or name."
    exclude = ["token"]

    def search(self, rows: QuerySet[Claim], text: str, some_id: UUID | None) -> QuerySet[Claim]:
        return claims_searched(rows, text, some_id)

    @admin.display(description="How it ended", ordering="end")
    def shown_end(self, claim: Claim) -> SafeString | str:
        by = f" ({claim.ended_by})" if claim.ended_by else ""
        return cut(f"{claim.get_end_display()}{by}", COLUMN) or NOTHING

    @admin.display(description="Task", ordering="task__title")
    def of_task(self, claim: Claim) -> SafeString | str:
        return row_link("taskhub_task", claim.task_id, cut(claim.task.title, 36))

    @admin.display(description="Agent", ordering="agent__name")
    def of_agent(self, claim: Claim) -> SafeString | str:
        return row_link("taskhub_agent", claim.agent_id, cut(claim.agent, COLUMN))


@admin.register(Agent)
class AgentAdmin(ReadOnlyAdmin):
    what = "An agent is known from its first claim on."
    list_display = ["name", "account", "last_seen_at"]
    list_filter = [("last_seen_at", admin.DateFieldListFilter)]
    search_fields = ["name", "account"]
