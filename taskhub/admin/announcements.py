"""Announcements: list, create, withdraw."""

from __future__ import annotations

from typing import Any

from django.contrib import admin
from django.db.models import QuerySet
from django.http import HttpRequest
from django.utils.safestring import SafeString
from unfold.decorators import display

from taskhub.admin.actions import ActingAdmin
from taskhub.admin.base import HubModelAdmin, actor_of, cut
from taskhub.admin.list_pages import DateFilter
from taskhub.models import Announcement, AnnouncementLevel
from taskhub.services.announcements import announcement_create, announcement_withdraw


@admin.register(Announcement)
class AnnouncementAdmin(ActingAdmin):
    """Announcements are created here and withdrawn by an action; their text never changes."""

    list_display = ["short_text", "shown_level", "created_at", "made_by_name", "holds", "ends_at", "withdrawn_at"]
    list_filter = [
        *("level", ("withdrawn_at", admin.EmptyFieldListFilter)),
        ("created_at", DateFilter),
    ]
    list_filter_submit = True
    search_fields = ["text", "made_by_name"]
    what = "Announcements are shown on the pages and sent to every stream."
    actions = ["withdraw"]

    def applies(self, action: str, row: Announcement) -> bool:  # noqa: ARG002 - withdraw is the only one
        return row.is_current

    @admin.display(description="Text", ordering="text")
    def short_text(self, announcement: Announcement) -> SafeString | str:
        return cut(announcement.text)

    @display(  # type: ignore[untyped-decorator]  # unfold has no types
        description="Level",
        ordering="level",
        label={AnnouncementLevel.WARNING.value: "warning", AnnouncementLevel.CRITICAL.value: "danger"},
    )
    def shown_level(self, announcement: Announcement) -> tuple[str, str]:
        return announcement.level, announcement.get_level_display()

    @admin.display(boolean=True)
    def holds(self, announcement: Announcement) -> bool:
        return announcement.is_current

    def get_fields(self, request: HttpRequest, obj: Any = None) -> Any:  # noqa: ARG002 - Django's interface
        made = ["level", "text", "ends_at"]
        return made if obj is None else [*made, "made_by_name", "created_at", "withdrawn_at"]

    def has_add_permission(self, request: HttpRequest) -> bool:
        return bool(HubModelAdmin.has_add_permission(self, request))

    def save_model(self, request: HttpRequest, obj: Announcement, form: Any, change: bool) -> None:  # noqa: ARG002 - likewise
        made = announcement_create(actor=actor_of(request), text=obj.text, level=obj.level, ends_at=obj.ends_at)
        obj.__dict__ |= made.__dict__

    @admin.action(description="Withdraw")
    def withdraw(self, request: HttpRequest, announcements: QuerySet[Announcement]) -> None:
        def withdraw(announcement: Announcement) -> None:
            announcement_withdraw(actor=actor_of(request), announcement_id=announcement.pk)

        self.act_on_each(request, announcements, withdraw, "withdrawn")
