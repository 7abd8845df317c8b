"""Client id metadata documents: a client's id is the https address of a document that says what it is.

The hub fetches the document when a signed-in account is led to the consent page, through the guard of webhooks:
public addresses only, whatever webhooks may reach, no redirects, at most 16 KiB and 5 s. It is fetched again after an
hour; a fetch that fails keeps what was known.
"""

from __future__ import annotations

import asyncio
import json
from http import HTTPStatus
from typing import Any, Final
from urllib.parse import urlsplit

import httpcore
from django.urls import reverse
from oauth2_provider.cimd import CIMDError

from taskhub.errors import Invalid
from taskhub.oauth.registration import guard_client
from taskhub.webhooks.http_client import open_connections
from taskhub.webhooks.ssrf_guard import AddressRefused, Target, read_target

LIMIT_BYTES: Final = 16 * 1024
TIMEOUT_S: Final = 5.0
RECHECK_S: Final = 3600


class OnConsentOnly:
    """Permission to fetch: at the token endpoint anyone could have the hub fetch; there a client is known already."""

    def has_permission(self, request: Any, client_id: str) -> bool:  # noqa: ARG002 - the toolkit's interface
        return urlsplit(str(request.uri)).path == reverse("oauth2_provider:authorize")


class GuardedFetcher:
    """The toolkit's interface."""

    def fetch(self, client_id: str) -> tuple[dict[str, Any], int]:
        """The document, and for how many seconds it is good. Raises CIMDError."""
        try:
            target = read_target(client_id, public_only=True)
            path = urlsplit(client_id).path
            # The prefix to the letter: the consent page knows an id of this kind by it. A path, not only a query:
            # `https://evil.example?.hub.example/` must not look like another host.
            if not client_id.startswith("https://") or {".", ".."} & set(path.split("/")) or path in {"", "/"}:
                raise CIMDError("A client id must be an https address with a path.")
            document = asyncio.run(_fetch(target))
            guard_client(document)
        except Invalid as error:
            raise CIMDError(str(error.details)) from None
        except AddressRefused as error:
            raise CIMDError(str(error)) from None
        except (TimeoutError, httpcore.TimeoutException):
            raise CIMDError(f"No document within {TIMEOUT_S:.0f} s.") from None
        except (httpcore.NetworkError, httpcore.ProtocolError) as error:
            raise CIMDError(f"No document: {type(error).__name__}.") from None
        except ValueError as error:
            raise CIMDError(str(error)) from None
        return document, RECHECK_S


async def _fetch(target: Target) -> Any:
    headers = [("Host", target.authority), ("Accept", "application/json"), ("Accept-Encoding", "identity")]
    async with (
        asyncio.timeout(TIMEOUT_S),
        open_connections(public_only=True) as connections,
        connections.stream("GET", target.url, headers=headers) as response,
    ):
        if response.status != HTTPStatus.OK:
            raise CIMDError(f"The document was answered with {response.status}.")
        kind = {name.lower(): value for name, value in response.headers}.get(b"content-type", b"").decode("latin-1")
        if kind.partition(";")[0].strip().lower() != "application/json":
            raise CIMDError("The document must be application/json.")
        body = b""
        async for chunk in response.aiter_stream():
            body += chunk
            if len(body) > LIMIT_BYTES:
                raise CIMDError(f"The document has more than {LIMIT_BYTES} bytes.")
    try:
        return json.loads(body)
    except (ValueError, RecursionError):
        raise CIMDError("The document is not JSON.") from None
