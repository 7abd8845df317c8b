"""Addresses of the authorization server. The toolkit finds its own by the names."""

from __future__ import annotations

from django.urls import path
from oauth2_provider.views import OAuthServerMetadataView

from taskhub.oauth.consent import ConsentView
from taskhub.oauth.endpoints import ResourceMetadata, RevocationEndpoint, TokenEndpoint
from taskhub.oauth.registration import RegistrationEndpoint

app_name = "oauth2_provider"

_RESOURCE = ".well-known/oauth-protected-resource"
urlpatterns = [
    path(".well-known/oauth-authorization-server", OAuthServerMetadataView.as_view(), name="oauth-server-metadata"),
    path(_RESOURCE, ResourceMetadata.as_view(), name="oauth-resource-metadata"),
    path(f"{_RESOURCE}/mcp", ResourceMetadata.as_view(), name="oauth-resource-metadata-mcp"),
    path("oauth/authorize", ConsentView.as_view(http_method_names=["get", "post"]), name="authorize"),
    path("oauth/token", TokenEndpoint.as_view(), name="token"),
    path("oauth/revoke", RevocationEndpoint.as_view(), name="revoke-token"),
    path("oauth/register", RegistrationEndpoint.as_view(), name="dcr-register"),
]
