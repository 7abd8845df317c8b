"""Settings of the authorization server for `/mcp` (django-oauth-toolkit, `taskhub/oauth/`)."""

from __future__ import annotations

from typing import Any

from django.conf import global_settings

from config import env

# How long an account's consent lasts; then the client asks again.
TASKHUB_OAUTH_GRANT_DAYS = env.integer("TASKHUB_OAUTH_GRANT_DAYS", 90, least=1, most=3650)
TASKHUB_OAUTH_REGISTRATIONS_PER_MINUTE = env.integer("TASKHUB_OAUTH_REGISTRATIONS_PER_MINUTE", 10)
# Schemes of programs beside https, and http on loopback.
TASKHUB_OAUTH_REDIRECT_SCHEMES = env.words("TASKHUB_OAUTH_REDIRECT_SCHEMES", "cursor,vscode,vscode-insiders")
_ACCESS_TOKEN_S = 3600
CLIENT_SECRET_HASHER = "taskhub.oauth.client_secrets.ClientSecretHasher"  # noqa: S105 - a class
# Django finds the hasher of a digest among these; the first is that of passwords.
PASSWORD_HASHERS = [*global_settings.PASSWORD_HASHERS, CLIENT_SECRET_HASHER]


def oauth_provider(*, registration: bool, documents: bool) -> dict[str, Any]:
    """The toolkit's settings: whether clients register themselves, and whether their metadata documents are fetched."""
    return {
        "SCOPES": {
            "viewer": "Read tasks, executions, logs and streams",
            "agent": "Work on tasks, run scripts",
            "operator": "Run the hub",
        },
        "DEFAULT_SCOPES": ["viewer", "agent"],
        # Codes and refresh tokens only: the toolkit's own server knows passwords and client credentials, too.
        "OAUTH2_SERVER_CLASS": "oauthlib.oauth2.WebApplicationServer",
        "OAUTH2_VALIDATOR_CLASS": "taskhub.oauth.validator.HubValidator",
        "OAUTH2_GRANT_TYPES_SUPPORTED": ["authorization_code", "refresh_token"],
        "OAUTH2_RESPONSE_TYPES_SUPPORTED": ["code"],
        "OAUTH2_TOKEN_ENDPOINT_AUTH_METHODS_SUPPORTED": ["none", "client_secret_post", "client_secret_basic"],
        "OAUTH2_PROTECTED_RESOURCE_NAME": "TaskHub",
        "CLIENT_SECRET_HASHER": "client_secret",
        "ACCESS_TOKEN_GENERATOR": "taskhub.oauth.token_text.access_token",
        "REFRESH_TOKEN_GENERATOR": "taskhub.oauth.token_text.refresh_token",
        "AUTHORIZATION_CODE_EXPIRE_SECONDS": 60,
        "ACCESS_TOKEN_EXPIRE_SECONDS": _ACCESS_TOKEN_S,
        # The grant's own end comes first; this is when the toolkit forgets a family.
        "REFRESH_TOKEN_EXPIRE_SECONDS": TASKHUB_OAUTH_GRANT_DAYS * 86_400,
        "REFRESH_TOKEN_REUSE_PROTECTION": True,
        "PKCE_REQUIRED": True,
        "REQUEST_APPROVAL_PROMPT": "force",
        "ALLOWED_REDIRECT_URI_SCHEMES": ["https", "http", *TASKHUB_OAUTH_REDIRECT_SCHEMES],
        "ALLOW_LOCALHOST_LOOPBACK": True,
        "COMPLIANT_BCP_RFC9700_IMPLICIT_GRANT": True,
        "COMPLIANT_BCP_RFC9700_PASSWORD_GRANT": True,
        "COMPLIANT_BCP_RFC9700_PKCE_METHOD": True,
        "COMPLIANT_BCP_RFC9700_ACCESS_TOKEN_TRANSPORT": True,
        "COMPLIANT_BCP_RFC9700_AUTHZ_RESPONSE_ISS": True,
        "COMPLIANT_BCP_RFC9700_TOKEN_STORAGE": True,
        "COMPLIANT_BCP_RFC9700_REFRESH_TOKEN": True,
        "COMPLIANT_BCP_RFC9700_REDIRECT_URI_MATCHING": True,
        "COMPLIANT_BCP_RFC9700_PKCE_REQUIRED": True,
        "DCR_ENABLED": registration,
        "DCR_REGISTRATION_PERMISSION_CLASSES": ["oauth2_provider.dcr.AllowAllDCRPermission"],
        "CIMD_ENABLED": documents,
        "CIMD_METADATA_FETCHER": "taskhub.oauth.client_documents.GuardedFetcher",
        "CIMD_REGISTRATION_PERMISSION_CLASSES": ["taskhub.oauth.client_documents.OnConsentOnly"],
        # Each holds a web thread for up to 5 s.
        "CIMD_MAX_CONCURRENT_FETCHES": 2,
    }


def oauth_provider_of(profile: str) -> dict[str, Any]:
    """Locally clients register themselves, and nothing is fetched, for a laptop may be offline; else the other way."""
    is_local = profile == "local"
    registration = env.integer("TASKHUB_OAUTH_REGISTRATION", int(is_local), most=1)
    documents = env.integer("TASKHUB_OAUTH_CLIENT_DOCUMENTS", int(not is_local), most=1)
    return oauth_provider(registration=bool(registration), documents=bool(documents))


# Migrations of a model that points to the toolkit's clients need it named.
OAUTH2_PROVIDER_APPLICATION_MODEL = "oauth2_provider.Application"
