"""Webhook endpoints: create, update, delete, rotate the secret."""

from __future__ import annotations

import base64
import secrets
from collections.abc import Iterable
from datetime import timedelta
from functools import partial
from typing import Any, Final
from uuid import UUID

from django.db import transaction
from django.utils import timezone

from taskhub.auth.actor import SYSTEM, Actor
from taskhub.errors import Conflict, Invalid, NotFound
from taskhub.events.channels import TASKS
from taskhub.events.outbox import read_heads
from taskhub.events.types import EVENT_TYPES
from taskhub.lib import awake
from taskhub.models import WebhookEndpoint
from taskhub.models.webhook import SECRET_SEAL
from taskhub.services.audit import audit_write
from taskhub.webhooks.ssrf_guard import read_origin, read_target

ENDPOINTS_LIMIT: Final = 100
SECRET_BYTES: Final = 32
BOTH_SIGN_FOR: Final = timedelta(days=1)
_CHANGEABLE: Final = ("url", "description", "event_types", "private", "is_active")


@transaction.atomic
def endpoint_create(
    *, actor: Actor, url: str, description: str = "", event_types: Iterable[str] = (), private: bool = False
) -> tuple[WebhookEndpoint, str]:
    """An endpoint that receives events from now on, and its secret, which cannot be read again.

    Raises Invalid for a disallowed URL or unknown event types; Conflict beyond 100 endpoints.
    """
    values = _checked(url=url, description=description, event_types=list(event_types), private=private)
    if WebhookEndpoint.objects.count() >= ENDPOINTS_LIMIT:
        raise Conflict(
            f"The limit of {ENDPOINTS_LIMIT} endpoints is reached; delete one first.", code="too_many_webhooks"
        )
    secret = _new_secret()
    endpoint = WebhookEndpoint.objects.create(
        **values,
        sealed_secret=SECRET_SEAL.close(secret),
        cursor=read_heads([TASKS])[TASKS],
        created_by=actor.user,
        created_by_name=actor.name,
    )
    changes = {name: [None, _told(name, value)] for name, value in values.items()}
    _audit(actor, "create", endpoint, changes)
    return endpoint, secret


@transaction.atomic
def endpoint_update(*, actor: Actor, endpoint_id: UUID, **values: Any) -> WebhookEndpoint:
    """Set any of url, description, event_types, private and is_active.

    An endpoint that is activated continues after the last event it received. Raises NotFound, Invalid.
    """
    endpoint = _locked(endpoint_id)
    values = _checked(**values)
    changes = {
        name: [_told(name, getattr(endpoint, name)), _told(name, value)]
        for name, value in values.items()
        if getattr(endpoint, name) != value
    }
    if not changes:
        return endpoint
    for name in changes:
        setattr(endpoint, name, values[name])
    if changes.keys() & {"url", "is_active"}:
        # The old results do not apply to the changed endpoint.
        endpoint.failing_since = endpoint.resting_until = None
        endpoint.notice = ""
    endpoint.save()
    transaction.on_commit(partial(awake.note, awake.WEBHOOKS))  # active again, it may be behind
    _audit(actor, "update", endpoint, changes)
    return endpoint


@transaction.atomic
def endpoint_delete(*, actor: Actor, endpoint_id: UUID) -> None:
    """Delete an endpoint with its deliveries. Raises NotFound."""
    endpoint = _locked(endpoint_id)
    _audit(actor, "delete", endpoint, {name: [_told(name, getattr(endpoint, name)), None] for name in _CHANGEABLE})
    endpoint.delete()


@transaction.atomic
def endpoint_rotate_secret(*, actor: Actor, endpoint_id: UUID) -> tuple[WebhookEndpoint, str]:
    """The endpoint and its new secret; for a day the previous one signs as well. Raises NotFound."""
    endpoint = _locked(endpoint_id)
    secret = _new_secret()
    endpoint.sealed_secret_before, endpoint.sealed_secret = endpoint.sealed_secret, SECRET_SEAL.close(secret)
    endpoint.secret_before_until = timezone.now() + BOTH_SIGN_FOR
    endpoint.save()
    _audit(actor, "rotate_secret", endpoint, {})
    return endpoint, secret


def endpoint_note_gone(*, endpoint: WebhookEndpoint) -> None:
    """Deactivate an endpoint that answered 410, until an operator activates it again. The caller has locked it."""
    if not endpoint.is_active:
        return
    before = endpoint.notice
    endpoint.is_active = False
    endpoint.notice = "Deactivated: the endpoint answered 410 Gone."
    endpoint.save(update_fields=["is_active", "notice", "updated_at"])
    _audit(SYSTEM, "update", endpoint, {"is_active": [True, False], "notice": [before, endpoint.notice]})


def _checked(**values: Any) -> dict[str, Any]:
    """Raises Invalid."""
    if "url" in values:
        read_target(values["url"])
    if "event_types" in values:
        unknown = sorted(set(values["event_types"]) - EVENT_TYPES.keys())
        if unknown:
            known = ", ".join(EVENT_TYPES)
            raise Invalid(
                "Unknown event types; details lists the known ones.",
                details={"event_types": [f"Must be any of: {known}."]},
            )
        values["event_types"] = sorted(set(values["event_types"]))
    return values


def _told(name: str, value: Any) -> Any:
    """Only the origin of a URL: with some receivers the rest is a credential."""
    return read_origin(value) if name == "url" else value


def _locked(endpoint_id: UUID) -> WebhookEndpoint:
    endpoint = WebhookEndpoint.objects.select_for_update().filter(pk=endpoint_id).first()
    if endpoint is None:
        raise NotFound("Webhook endpoint not found.", code="webhook_not_found")
    return endpoint


def _new_secret() -> str:
    """In the format of Standard Webhooks: base64 after the prefix."""
    return "whsec_" + base64.b64encode(secrets.token_bytes(SECRET_BYTES)).decode()


def _audit(actor: Actor, verb: str, endpoint: WebhookEndpoint, changes: dict[str, list[Any]]) -> None:
    audit_write(actor=actor, action=f"webhook:{verb}", subject=f"webhook:{endpoint.pk}", changes=changes)
