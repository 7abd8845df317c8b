"""API tokens: create, show once, revoke."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

from django import forms
from django.contrib import admin
from django.db.models import QuerySet
from django.http import HttpRequest, HttpResponse
from django.template.response import TemplateResponse
from django.utils import timezone
from django.utils.safestring import SafeString
from knox.settings import knox_settings
from unfold.widgets import UnfoldAdminIntegerFieldWidget

from taskhub.admin.base import COLUMN, HubModelAdmin, ReadOnlyAdmin, actor_of, cut, row_link
from taskhub.models import ApiToken
from taskhub.services.tokens import token_create, token_revoke


class TokenForm(forms.ModelForm[ApiToken]):
    days = forms.IntegerField(
        min_value=1,
        max_value=3650,
        required=False,
        initial=knox_settings.TOKEN_TTL.days,
        widget=UnfoldAdminIntegerFieldWidget,
        help_text="Days until it expires; empty: never.",
    )

    class Meta:
        model = ApiToken
        fields = ["user", "name"]


@admin.register(ApiToken)
class ApiTokenAdmin(ReadOnlyAdmin):
    """Tokens are created here and shown once; deleting one revokes it."""

    what = "Programs and agents show a token with each request."

    form = TokenForm
    list_display = ["name", "account", "created", "expiry"]
    list_filter = [("user", admin.RelatedOnlyFieldListFilter), ("expiry", admin.EmptyFieldListFilter)]
    search_fields = ["name", "user__username", "public_id"]
    list_select_related = ["user"]
    fields = ["user", "name"]

    @admin.display(ordering="user__username")
    def account(self, token: ApiToken) -> SafeString | str:
        return row_link("auth_user", token.user_id, cut(token.user, COLUMN))

    def get_fields(self, request: HttpRequest, obj: Any = None) -> Any:  # noqa: ARG002 - Django's interface
        return ["user", "name", "days"] if obj is None else ["user", "name", "public_id", "created", "expiry"]

    def has_add_permission(self, request: HttpRequest) -> bool:
        return bool(HubModelAdmin.has_add_permission(self, request))

    def has_delete_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return bool(HubModelAdmin.has_delete_permission(self, request, obj))

    def save_model(self, request: HttpRequest, obj: ApiToken, form: Any, change: bool) -> None:  # noqa: ARG002 - likewise
        days = form.cleaned_data["days"]
        expiry = timezone.now() + timedelta(days=days) if days else None
        made, text = token_create(actor=actor_of(request), user=obj.user, name=obj.name, expiry=expiry)
        # The token goes with the object into the response to this request, and nowhere else.
        obj.__dict__ |= {**made.__dict__, "text": text}

    def response_add(
        self,
        request: HttpRequest,
        obj: ApiToken,
        post_url_continue: str | None = None,  # noqa: ARG002 - Django's interface
    ) -> HttpResponse:
        context = {**self.admin_site.each_context(request), "title": "API token", "made": obj, "opts": self.opts}
        response = TemplateResponse(request, "admin/taskhub/apitoken/made.html", context)
        response.headers["Cache-Control"] = "no-store"
        return response

    def delete_model(self, request: HttpRequest, obj: ApiToken) -> None:
        token_revoke(actor=actor_of(request), public_id=obj.public_id)

    def delete_queryset(self, request: HttpRequest, queryset: QuerySet[ApiToken]) -> None:
        for token in queryset:
            self.delete_model(request, token)
