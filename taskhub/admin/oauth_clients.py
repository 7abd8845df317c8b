"""OAuth clients: who is known, and how. Deleting one ends its grants; grants are among the API tokens."""

from __future__ import annotations

from typing import Any

from django.contrib import admin
from django.db import transaction
from django.http import HttpRequest
from oauth2_provider.models import AccessToken, Application, Grant, IDToken, RefreshToken

from taskhub.admin.base import HubModelAdmin, ReadOnlyAdmin, actor_of
from taskhub.services.audit import audit_write

# The toolkit registers all of its models; codes and tokens are nothing to look at, and clients register themselves.
for model in (AccessToken, Application, Grant, IDToken, RefreshToken):
    admin.site.unregister(model)


@admin.register(Application)
class OAuthClientAdmin(ReadOnlyAdmin):
    row_name = "OAuth client"
    rows_name = "OAuth clients"
    what = "Hosts of agents that sign in with OAuth. Their grants are among the API tokens."

    list_display = ["client_id", "name", "registration_source", "client_type", "created"]
    list_filter = ["registration_source"]
    search_fields = ["client_id", "name"]
    fields = ["client_id", "name", "redirect_uris", "registration_source", "client_type", "created", "updated"]

    def has_delete_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return bool(HubModelAdmin.has_delete_permission(self, request, obj))

    @transaction.atomic
    def delete_model(self, request: HttpRequest, obj: Application) -> None:
        changes = {"name": [obj.name, None]}
        super().delete_model(request, obj)
        audit_write(actor=actor_of(request), action="client:delete", subject=f"client:{obj.client_id}", changes=changes)

    def delete_queryset(self, request: HttpRequest, queryset: Any) -> None:
        for client in queryset:
            self.delete_model(request, client)
