"""`POST /api/daytona/webhooks/`: state changes as Daytona's webhooks tell them (sent and signed by Svix)."""

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


@csrf_exempt  # its sender proves itself by the signature
@require_POST
def daytona_webhook(request: HttpRequest) -> HttpResponse:
    """204 for what was taken, also a second time; 401 without a valid, recent signature."""
    try:
        body = _verified(request)
        webhook_take(delivery_id=_header(request, "id"), body=body)
    except HubError as error:
        return error_response(error)
    except redis.RedisError:
        return error_response(Unavailable("It cannot be passed on now; send it again."))
    return HttpResponse(status=204)


def _verified(request: HttpRequest) -> dict[str, Any]:
    """The body, if Daytona sent it within the last five minutes. Raises NotFound, TooLarge, SignatureRefused."""
    if not settings.DAYTONA_WEBHOOK_SECRET:
        raise NotFound("This hub takes no webhooks of Daytona's.", code="webhooks_off")
    # Svix writes `svix-…` where the standard has `webhook-…`; what is signed is the same.
    headers = {f"webhook-{name}": _header(request, name) for name in _HEADERS}
    try:
        Webhook(settings.DAYTONA_WEBHOOK_SECRET).verify(request.body, headers, json_parse=False)
        body = json.loads(request.body)
    except RequestDataTooBig:
        raise TooLarge("No webhook of Daytona's is as large as this.", code="body_too_large") from None
    except (WebhookVerificationError, ValueError, RecursionError):  # a signature, or a body, that is none
        raise SignatureRefused("The signature is missing, wrong or too old.") from None
    return body if isinstance(body, dict) else {}


def _header(request: HttpRequest, name: str) -> str:
    return request.headers.get(f"svix-{name}") or request.headers.get(f"webhook-{name}", "")
