"""OpenID discovery: the provider's endpoints, from its document, kept for an hour; and the library's settings."""

from __future__ import annotations

import threading
import time
from typing import Any, Final

import requests
from django.conf import settings
from mozilla_django_oidc.utils import import_from_settings

TIMEOUT_S: Final = 10
_KEPT_S: Final = 3600.0
_ENDPOINTS: Final = {
    "OIDC_OP_AUTHORIZATION_ENDPOINT": "authorization_endpoint",
    "OIDC_OP_TOKEN_ENDPOINT": "token_endpoint",
    "OIDC_OP_USER_ENDPOINT": "userinfo_endpoint",
    "OIDC_OP_JWKS_ENDPOINT": "jwks_uri",
}


class ProviderTrouble(Exception):
    """The provider does not answer, or with what cannot be used; the text is for the log."""


class _Discovered:
    lock: Final = threading.Lock()
    issuer = ""
    document: dict[str, Any] = {}
    until = 0.0


def discovered() -> dict[str, Any]:
    """The document of the configured issuer. Raises ProviderTrouble."""
    issuer = str(settings.TASKHUB_OIDC_ISSUER)
    with _Discovered.lock:
        if _Discovered.issuer != issuer or time.monotonic() >= _Discovered.until:
            _Discovered.document = _fetch(issuer)
            _Discovered.issuer, _Discovered.until = issuer, time.monotonic() + _KEPT_S
        return _Discovered.document


def forget() -> None:
    """Ask the provider anew at the next sign-in."""
    _Discovered.until = 0.0


def _fetch(issuer: str) -> dict[str, Any]:
    address = f"{issuer.rstrip('/')}/.well-known/openid-configuration"
    try:
        answer = requests.get(address, timeout=TIMEOUT_S, allow_redirects=False)
        answer.raise_for_status()
        document = answer.json()
    except (requests.RequestException, ValueError) as error:
        raise ProviderTrouble(f"{address}: {error}") from None
    if not isinstance(document, dict) or document.get("issuer") != issuer:
        raise ProviderTrouble(f"{address} is not of the issuer {issuer}, which must be written as the document has it.")
    missing = [name for name in ("authorization_endpoint", "token_endpoint", "jwks_uri") if not document.get(name)]
    if missing:
        raise ProviderTrouble(f"{address} names no {', '.join(missing)}.")
    return document


def library_setting(name: str, *default: Any) -> Any:
    """A setting of mozilla-django-oidc: from the provider's document, from ours, else the library's default."""
    if name in _ENDPOINTS:
        return discovered().get(_ENDPOINTS[name], "")
    ours = {
        "OIDC_RP_CLIENT_ID": settings.TASKHUB_OIDC_CLIENT_ID,
        "OIDC_RP_CLIENT_SECRET": settings.TASKHUB_OIDC_CLIENT_SECRET,
        "OIDC_RP_SIGN_ALGO": settings.TASKHUB_OIDC_ALGORITHM,
        "OIDC_RP_SCOPES": settings.TASKHUB_OIDC_SCOPES,
        "OIDC_USE_PKCE": True,
        "OIDC_TIMEOUT": TIMEOUT_S,
        "OIDC_STORE_ID_TOKEN": True,  # the provider asks for it at the sign-out
        "OIDC_AUTHENTICATION_CALLBACK_URL": "sign-on-callback",
    }
    return ours[name] if name in ours else import_from_settings(name, *default)
