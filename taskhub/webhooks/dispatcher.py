"""Webhook dispatcher: sends due deliveries concurrently; a slow receiver delays no other.

One dispatcher at a time claims deliveries. It holds the lock only while it claims; while it waits for the last
responses, the next dispatcher claims. Leases, not the lock, prevent a delivery from being sent twice.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncGenerator
from contextlib import AbstractContextManager, asynccontextmanager
from typing import Final

import httpcore
from asgiref.sync import sync_to_async
from django.utils import timezone

from taskhub.errors import Invalid
from taskhub.lib.encryption import SealBroken
from taskhub.models import MetricName, WebhookDelivery, WebhookEndpoint
from taskhub.models.webhook import SECRET_SEAL
from taskhub.observability.metrics_store import meter
from taskhub.webhooks.deliveries import delivery_note_attempt
from taskhub.webhooks.http_client import Answer, Message, open_connections, send
from taskhub.webhooks.queue import deliveries_claim, deliveries_write
from taskhub.webhooks.ssrf_guard import read_target

log = logging.getLogger(__name__)

TURN_S: Final = 10.0
EVERY_S: Final = 0.5
"""Interval between two checks for due deliveries."""


async def pump(turn: AbstractContextManager[bool]) -> None:
    """Create and send due deliveries; entering `turn` yields True if this dispatcher holds the lock.

    Returns when nothing is due and nothing is being sent.
    """
    under_way: set[asyncio.Task[None]] = set()
    async with open_connections() as connections:
        try:
            async with _entered(turn) as is_ours:
                until = asyncio.get_running_loop().time() + TURN_S
                while is_ours and asyncio.get_running_loop().time() < until:
                    is_behind = await sync_to_async(deliveries_write)()
                    claimed = await sync_to_async(deliveries_claim)()
                    under_way |= {asyncio.create_task(_deliver(connections, delivery)) for delivery in claimed}
                    if under_way:
                        under_way = await _settle(under_way, 0 if is_behind else EVERY_S, asyncio.FIRST_COMPLETED)
                    elif not is_behind:
                        return
        finally:
            if under_way:
                await _settle(under_way, None, asyncio.ALL_COMPLETED)


@asynccontextmanager
async def _entered(turn: AbstractContextManager[bool]) -> AsyncGenerator[bool, None]:
    """Enter the lock on the thread that waits for the dispatcher: Redis may be slow, and others use this loop."""
    is_ours = await sync_to_async(turn.__enter__)()
    try:
        yield is_ours
    finally:
        await sync_to_async(turn.__exit__)(None, None, None)


async def _settle(under_way: set[asyncio.Task[None]], timeout_s: float | None, until: str) -> set[asyncio.Task[None]]:
    """Tasks that still run after `timeout_s`. A failing receiver is a result; other errors are raised for Celery."""
    ended, under_way = await asyncio.wait(under_way, timeout=timeout_s, return_when=until)
    for task in ended:
        task.result()
    return under_way


async def _deliver(connections: httpcore.AsyncConnectionPool, delivery: WebhookDelivery) -> None:
    try:
        message = _message(delivery)
    except SealBroken:
        answer = Answer(None, "The endpoint's secret cannot be read with the present SECRET_KEY; rotate it.")
    except Invalid:
        answer = Answer(None, "The endpoint's URL is no longer allowed; change it.")
    else:
        answer = await send(connections, message)
    is_noted = await sync_to_async(delivery_note_attempt)(delivery=delivery, answer=answer)
    if is_noted:
        meter.add(MetricName.WEBHOOK_ATTEMPTS, answer.took_ms, "delivered" if answer.is_success else "failed")


def _message(delivery: WebhookDelivery) -> Message:
    """Raises SealBroken, Invalid."""
    endpoint = delivery.endpoint
    return Message(delivery.pk, read_target(endpoint.url), _secrets(endpoint), delivery.body)


def _secrets(endpoint: WebhookEndpoint) -> list[str]:
    """Raises SealBroken. The previous secret signs for a day, so that the receiver can switch over."""
    sealed = [endpoint.sealed_secret]
    if endpoint.secret_before_until is not None and endpoint.secret_before_until > timezone.now():
        sealed.append(endpoint.sealed_secret_before)
    return [SECRET_SEAL.open(text) for text in sealed]
