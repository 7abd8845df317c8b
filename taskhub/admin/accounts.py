"""Accounts: name, password and one role; roles are fixed and are listed with their accounts."""

from __future__ import annotations

from typing import Any, Final

from django import forms
from django.contrib import admin
from django.contrib.auth.admin import UserAdmin
from django.contrib.auth.models import Group, User
from django.db.models import Count, Model, QuerySet
from django.http import HttpRequest
from unfold.forms import AdminPasswordChangeForm, UserChangeForm, UserCreationForm
from unfold.widgets import UnfoldAdminSelectWidget

from taskhub.admin.actions import ActingMixin
from taskhub.admin.base import HubModelAdmin, ReadOnlyAdmin, actor_of, list_link
from taskhub.auth.sign_in_limits import locked_for_s
from taskhub.roles import ROLES, Role, role_from
from taskhub.services.accounts import account_set_role, account_unlock
from taskhub.services.audit import audit_write

WHAT_ROLES_MAY: Final = {
    Role.VIEWER: "reads tasks, executions, logs and streams",
    Role.AGENT: "also works: changes tasks, runs scripts",
    Role.OPERATOR: "also runs the hub: this admin, sandboxes, other accounts; sees private tasks",
}
_ROLE_CHOICES: Final = [(role.group, f"{role.group}: {may}") for role, may in WHAT_ROLES_MAY.items()]


def _role_field(**options: Any) -> forms.ChoiceField:
    return forms.ChoiceField(choices=_ROLE_CHOICES, widget=UnfoldAdminSelectWidget, **options)


class AccountCreationForm(UserCreationForm):  # type: ignore[misc]  # unfold has no types
    role = _role_field(initial=Role.VIEWER.group)


class AccountForm(UserChangeForm):  # type: ignore[misc]  # unfold has no types
    role = _role_field()

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        role = _role_of(self.instance)
        self.fields["role"].initial = role.group
        if role is Role.NOBODY:
            self.fields["role"].choices = [("", "no role: may do nothing"), *_ROLE_CHOICES]
            self.fields["role"].required = False


def _role_of(account: User) -> Role:
    """As its groups say; an account that is switched off keeps its role."""
    groups = [group.name for group in account.groups.all()] if account.pk else []
    named = max((ROLES.get(name, Role.NOBODY) for name in groups), default=Role.NOBODY)
    return role_from(groups, is_active=True, is_superuser=True) if account.is_superuser else named


class RoleFilter(admin.SimpleListFilter):
    title = "role"
    parameter_name = "role"

    def lookups(self, request: HttpRequest, model_admin: Any) -> list[tuple[str, str]]:  # noqa: ARG002 - Django's interface
        return [(role, role) for role in ROLES]

    def queryset(self, request: HttpRequest, queryset: QuerySet[User]) -> QuerySet[User]:  # noqa: ARG002 - likewise
        return queryset.filter(groups__name=self.value()) if self.value() in ROLES else queryset


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
    changes: dict[str, list[Any]] = {"fields": [None, message]}
    if isinstance(obj, User):
        changes["roles"] = [None, sorted(obj.groups.values_list("name", flat=True))]
        changes["is_active"] = [None, obj.is_active]
        changes["is_superuser"] = [None, obj.is_superuser]
    audit_write(actor=actor_of(request), action=f"account:{verb}", subject=f"account:{obj}", changes=changes)


admin.site.unregister([User, Group])


@admin.register(User)
class AccountAdmin(ActingMixin, Audited, UserAdmin[User]):  # type: ignore[misc]  # Django's stubs give the same method two types
    """Accounts of people and programs, each with one role; Django's single permissions are not used."""

    row_name, rows_name = "account", "accounts"
    what = "An account signs in with its password, and has API tokens."
    form = AccountForm
    add_form = AccountCreationForm
    change_password_form = AdminPasswordChangeForm
    fieldsets = [
        (None, {"fields": ["username", "password", "role", "is_active", "email"]}),
        ("Sign-in", {"fields": ["sign_in", "last_login", "date_joined"]}),
    ]
    add_fieldsets = [(None, {"classes": ["wide"], "fields": ["username", "password1", "password2", "role"]})]
    readonly_fields = ["sign_in", "last_login", "date_joined"]
    list_display = ["username", "role", "is_active", "email", "last_login"]
    list_filter = [RoleFilter, "is_active"]
    filter_horizontal = []
    actions = ["unlock"]

    def get_queryset(self, request: HttpRequest) -> QuerySet[User]:
        accounts: QuerySet[User] = super().get_queryset(request)
        return accounts.prefetch_related("groups")

    @admin.display
    def role(self, account: User) -> str:
        return _role_of(account).group if _role_of(account) else "none"

    @admin.display(description="Failed sign-ins")
    def sign_in(self, account: User) -> str:
        wait_s = locked_for_s(account.username)
        if wait_s:
            return f"Locked for {wait_s} s, except for browsers that have signed in to it before."
        return "Not locked."

    def save_related(self, request: HttpRequest, form: Any, formsets: Any, change: bool) -> None:
        super().save_related(request, form, formsets, change)
        role = ROLES.get(form.cleaned_data["role"])
        if role is not None:
            account_set_role(user=form.instance, role=role)

    @admin.action(description="Reset failed sign-ins")
    def unlock(self, request: HttpRequest, accounts: QuerySet[User]) -> None:
        def unlock(account: User) -> None:
            account_unlock(actor=actor_of(request), user=account)

        self.act_on_each(request, accounts, unlock, "can sign in again")


@admin.register(Group)
class RoleAdmin(ReadOnlyAdmin):
    """The three roles; an account's own page gives it one."""

    row_name, rows_name = "role", "roles"
    what = "The roles are fixed."

    list_display = ["name", "may", "accounts"]
    fields = ["name", "may", "accounts"]
    readonly_fields = ["may", "accounts"]
    search_fields = ["name"]

    def get_queryset(self, request: HttpRequest) -> QuerySet[Group]:
        roles: QuerySet[Group] = super().get_queryset(request)
        return roles.annotate(accounts_counted=Count("user"))

    @admin.display(description="What it may do")
    def may(self, group: Group) -> str:
        role = ROLES.get(group.name)
        return WHAT_ROLES_MAY[role] if role else "nothing: it is not a role of the hub"

    @admin.display
    def accounts(self, group: Group) -> Any:
        return list_link("auth_user", group.accounts_counted, role=group.name)  # type: ignore[attr-defined]
