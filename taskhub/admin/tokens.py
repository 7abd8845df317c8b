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
from unfold.widgets import UnfoldAdminIntegerFieldWidget, UnfoldAdminSelectWidget

from taskhub.admin.base import COLUMN, HubModelAdmin, ReadOnlyAdmin, actor_of, cut, row_link
from taskhub.lib.one_line import ONE_LINE, is_one_line
from taskhub.models import ApiToken
from taskhub.roles import ROLES
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
    role = forms.ChoiceField(
        choices=[("", "what its account may"), *((name, name) for name in ROLES)],
        required=False,
        widget=UnfoldAdminSelectWidget,
        help_text="The most that it may do.",
    )

    class Meta:
        model = ApiToken
        fields = ["user", "name", "role"]

    def clean_name(self) -> str:
        name: str = self.cleaned_data["name"]
        if not is_one_line(name):
            raise forms.ValidationError(ONE_LINE)
        return name


@admin.register(ApiToken)
class ApiTokenAdmin(ReadOnlyAdmin):
    """Tokens are created here and shown once; deleting one revokes it."""

    what = "Programs and agents show a token with each request; a row with a client is a grant of OAuth."

    form = TokenForm
    list_display = ["name", "account", "role", "oauth_client", "created", "expiry", "last_used_at"]
    list_filter = [
        ("user", admin.RelatedOnlyFieldListFilter),
        ("expiry", admin.EmptyFieldListFilter),
        ("client", admin.EmptyFieldListFilter),
    ]
    search_fields = ["name", "user__username", "public_id"]
    list_select_related = ["user", "client"]
    fields = ["user", "name", "role"]

    @admin.display(ordering="user__username")
    def account(self, token: ApiToken) -> SafeString | str:
        return row_link("auth_user", token.user_id, cut(token.user, COLUMN))

    @admin.display(description="OAuth client", ordering="client__client_id")
    def oauth_client(self, token: ApiToken) -> SafeString | str:
        return row_link(
            "oauth2_provider_application", token.client_id, token.client and cut(token.client.client_id, COLUMN)
        )

    def get_fields(self, request: HttpRequest, obj: Any = None) -> Any:  # noqa: ARG002 - Django's interface
        if obj is None:
            return ["user", "name", "role", "days"]
        return ["user", "name", "role", "client", "public_id", "created", "expiry", "last_used_at"]

    def has_add_permission(self, request: HttpRequest) -> bool:
        return bool(HubModelAdmin.has_add_permission(self, request))

    def has_delete_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return bool(HubModelAdmin.has_delete_permission(self, request, obj))

    def save_model(self, request: HttpRequest, obj: ApiToken, form: Any, change: bool) -> None:  # noqa: ARG002 - likewise
        days = form.cleaned_data["days"]
        expiry = timezone.now() + timedelta(days=days) if days else None
        role = ROLES.get(form.cleaned_data["role"])
        made, text = token_create(actor=actor_of(request), user=obj.user, name=obj.name, expiry=expiry, role=role)
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
