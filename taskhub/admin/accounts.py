"""Accounts and roles: Django's own pages, with audit entries."""

from __future__ import annotations

from typing import Any

from django.contrib import admin
from django.contrib.auth.admin import GroupAdmin, UserAdmin
from django.contrib.auth.models import Group, User
from django.db.models import Model, QuerySet
from django.http import HttpRequest
from unfold.forms import AdminPasswordChangeForm, UserChangeForm, UserCreationForm

from taskhub.admin.base import HubModelAdmin, actor_of
from taskhub.services.audit import audit_write


class Audited(HubModelAdmin):
    """Writes an audit entry beside Django's own log, in the transaction of the change."""

    def log_addition(self, request: HttpRequest, obj: Model, message: Any) -> Any:
        _audit(request, obj, "create", message)
        return super().log_addition(request, obj, message)

    def log_change(self, request: HttpRequest, obj: Model, message: Any) -> Any:
        _audit(request, obj, "update", message)
        return super().log_change(request, obj, message)

    def log_deletions(self, request: HttpRequest, queryset: QuerySet[Any]) -> Any:
        for obj in queryset:
            _audit(request, obj, "delete", [])
        return super().log_deletions(request, queryset)


def _audit(request: HttpRequest, obj: Model, verb: str, message: Any) -> None:
    noun = "account" if isinstance(obj, User) else "role"
    changes: dict[str, list[Any]] = {"fields": [None, message]}
    if isinstance(obj, User):
        changes["roles"] = [None, sorted(obj.groups.values_list("name", flat=True))]
        changes["is_active"] = [None, obj.is_active]
        changes["is_superuser"] = [None, obj.is_superuser]
    audit_write(actor=actor_of(request), action=f"{noun}:{verb}", subject=f"{noun}:{obj}", changes=changes)


admin.site.unregister([User, Group])


@admin.register(User)
class AccountAdmin(Audited, UserAdmin[User]):
    """Accounts of people and programs; their role is a group."""

    form = UserChangeForm
    add_form = UserCreationForm
    change_password_form = AdminPasswordChangeForm
    list_display = ["username", "email", "roles", "is_active", "is_superuser", "last_login"]

    def get_queryset(self, request: HttpRequest) -> QuerySet[User]:
        accounts: QuerySet[User] = super().get_queryset(request)
        return accounts.prefetch_related("groups")

    @admin.display
    def roles(self, account: User) -> str:
        return ", ".join(sorted(group.name for group in account.groups.all()))


@admin.register(Group)
class RoleAdmin(Audited, GroupAdmin):
    pass
