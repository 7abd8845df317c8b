"""`POST /api/daytona/webhooks/`: Daytona's webhooks about state changes (sent and signed by Svix)."""

from __future__ import annotations

import json
from typing import Any, Final

import redis
from django.conf import settings
from django.core.exceptions import RequestDataTooBig
from django.http import HttpRequest, HttpResponse
from django.views.decorators.csrf import csrf_exempt
from django.views.decorators.http import require_POST
from standardwebhooks import Webhook, WebhookVerificationError

from sandboxes.services.daytona_webhooks import webhook_take
from taskhub.api.errors import error_response
from taskhub.errors import HubError, NotFound, TooLarge, Unavailable

_HEADERS: Final = ("id", "timestamp", "signature")


class SignatureRefused(HubError):
    status = 401
    default_code = "signature_refused"


@csrf_exempt  # the signature authenticates the sender
@require_POST
def daytona_webhook(request: HttpRequest) -> HttpResponse:
    """204 if accepted, also when repeated; 401 without a valid, recent signature."""
    try:
        body = _verified(request)
        webhook_take(delivery_id=_header(request, "id"), body=body)
    except HubError as error:
        return error_response(error)
    except redis.RedisError:
        return error_response(Unavailable("The webhook cannot be processed now; send it again."))
    return HttpResponse(status=204)


def _verified(request: HttpRequest) -> dict[str, Any]:
    """The body, if Daytona sent it within the last five minutes. Raises NotFound, TooLarge, SignatureRefused."""
    if not settings.DAYTONA_WEBHOOK_SECRET:
        raise NotFound("This hub does not accept Daytona's webhooks.", code="webhooks_off")
    # Svix sends `svix-…` headers where the standard has `webhook-…`; the signature is the same.
    headers = {f"webhook-{name}": _header(request, name) for name in _HEADERS}
    try:
        Webhook(settings.DAYTONA_WEBHOOK_SECRET).verify(request.body, headers, json_parse=False)
        body = json.loads(request.body)
    except RequestDataTooBig:
        raise TooLarge("The body is too large for a Daytona webhook.", code="body_too_large") from None
    except (WebhookVerificationError, ValueError, RecursionError):  # an invalid signature or body
        raise SignatureRefused("The signature is missing, wrong or too old.") from None
    return body if isinstance(body, dict) else {}


def _header(request: HttpRequest, name: str) -> str:
    return request.headers.get(f"svix-{name}") or request.headers.get(f"webhook-{name}", "")
