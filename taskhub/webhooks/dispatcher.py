"""The pump: as long as there is something to send it sends it, many at once, and none waits for a slow receiver.

One pump at a time takes deliveries; its turn is short, and while it sees to the end of what it has begun the next one
takes its turn. Leases, not turns, keep two of them from sending the same.
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
"""Between two looks for what has become due meanwhile."""


async def pump(turn: AbstractContextManager[bool]) -> None:
    """Write and send what is due; `turn` says, as it is entered, whether that is for this pump to do now.

    Nothing due and nothing under way is its end.
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
    """On the thread that waits for the pump: others work on this loop, and Redis may be slow to answer."""
    is_ours = await sync_to_async(turn.__enter__)()
    try:
        yield is_ours
    finally:
        await sync_to_async(turn.__exit__)(None, None, None)


async def _settle(under_way: set[asyncio.Task[None]], timeout_s: float | None, until: str) -> set[asyncio.Task[None]]:
    """Those that go on after `timeout_s`. A receiver's failure is an answer; what else fails is for Celery to tell."""
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
        answer = Answer(None, "The endpoint's URL is not allowed any more.")
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
    """Raises SealBroken. The one before signs until the receiver has had a day to change over."""
    sealed = [endpoint.sealed_secret]
    if endpoint.secret_before_until is not None and endpoint.secret_before_until > timezone.now():
        sealed.append(endpoint.sealed_secret_before)
    return [SECRET_SEAL.open(text) for text in sealed]
