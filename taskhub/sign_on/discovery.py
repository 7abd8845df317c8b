"""OpenID discovery: the provider's endpoints, from its document, kept for an hour; and the library's settings."""

from __future__ import annotations

import threading
import time
from dataclasses import dataclass, field
from typing import Any, Final

import requests
from django.conf import settings
from mozilla_django_oidc.utils import import_from_settings

TIMEOUT_S: Final = 10
WAIT_S: Final = 1.0
"""For another thread that asks the provider."""
_KEPT_S: Final = 3600.0
_TROUBLE_KEPT_S: Final = 10.0
_ENDPOINTS: Final = {
    "OIDC_OP_AUTHORIZATION_ENDPOINT": "authorization_endpoint",
    "OIDC_OP_TOKEN_ENDPOINT": "token_endpoint",
    "OIDC_OP_USER_ENDPOINT": "userinfo_endpoint",
    "OIDC_OP_JWKS_ENDPOINT": "jwks_uri",
}


class ProviderTrouble(Exception):
    """The provider does not answer, or with what cannot be used; the text is for the log."""


@dataclass(frozen=True, slots=True)
class _Known:
    """What the provider of `issuer` said last, and until when that counts; `trouble` in place of a document."""

    issuer: str = ""
    document: dict[str, Any] = field(default_factory=dict)
    trouble: str = ""
    until: float = 0.0

    def counts_for(self, issuer: str) -> bool:
        return self.issuer == issuer and time.monotonic() < self.until


class _Discovery:
    asking: Final = threading.Lock()
    known = _Known()


def discovered() -> dict[str, Any]:
    """The document of the configured issuer. Raises ProviderTrouble.

    One thread asks, and the others wait for it for a second only: a provider that drops packets must not occupy all
    threads of the pages. For the same reason trouble counts for a while.
    """
    known = _known_of(str(settings.TASKHUB_OIDC_ISSUER))
    if known.trouble:
        raise ProviderTrouble(known.trouble)
    return known.document


def _known_of(issuer: str) -> _Known:
    """Raises ProviderTrouble."""
    known = _Discovery.known
    if known.counts_for(issuer):
        return known
    if not _Discovery.asking.acquire(timeout=WAIT_S):
        raise ProviderTrouble(f"{issuer} is being asked.")
    try:
        known = _Discovery.known
        if not known.counts_for(issuer):
            _Discovery.known = known = _ask(issuer)
        return known
    finally:
        _Discovery.asking.release()


def _ask(issuer: str) -> _Known:
    try:
        document = _fetch(issuer)
    except ProviderTrouble as error:
        return _Known(issuer, trouble=str(error), until=time.monotonic() + _TROUBLE_KEPT_S)
    return _Known(issuer, document, until=time.monotonic() + _KEPT_S)


def forget(*, trouble: bool = False) -> None:
    """Ask the provider anew at the next sign-in; where it was in trouble just now, only if that is to be forgotten."""
    if trouble or not _Discovery.known.trouble:
        _Discovery.known = _Known()


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
