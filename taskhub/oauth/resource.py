"""Resource indicator (RFC 8707): the address of this hub's `/mcp`, the one audience of access tokens."""

from __future__ import annotations

from typing import Final
from urllib.parse import urlsplit

from django.core.exceptions import DisallowedHost
from django.http import HttpRequest
from django.urls import reverse

_PORTS: Final = {"http": 80, "https": 443}


def mcp_resource(request: HttpRequest) -> str:
    """`https://hub.example.com/mcp`, by the address that the client used.

    Raises DisallowedHost, a 400, for an address with a port that is none.
    """
    resource = canonical(request.build_absolute_uri("/mcp"))
    if not resource:
        raise DisallowedHost("The port in the header Host is not a port number.")
    return resource


def metadata_address(request: HttpRequest) -> str:
    """Of the document that `WWW-Authenticate` names (RFC 9728)."""
    return request.build_absolute_uri(reverse("oauth2_provider:oauth-resource-metadata-mcp"))


def issuer(request: HttpRequest) -> str:
    """The authorization server's identifier: this hub's address without a slash at the end."""
    return request.build_absolute_uri("/").rstrip("/")


def canonical(uri: str) -> str:
    """One spelling of an address: scheme and host in lower case, without the scheme's own port or a slash at the end.

    "" for what is no absolute address, or has a user name, a query or a fragment.
    """
    try:
        parts = urlsplit(uri)
        port = parts.port
    except ValueError:
        return ""
    if not parts.hostname or "@" in parts.netloc or "#" in uri or "?" in uri:
        return ""
    host = f"[{parts.hostname}]" if ":" in parts.hostname else parts.hostname
    ending = "" if port in {None, _PORTS.get(parts.scheme)} else f":{port}"
    return f"{parts.scheme}://{host}{ending}{parts.path.rstrip('/')}"
