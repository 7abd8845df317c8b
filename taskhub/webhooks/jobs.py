"""Celery jobs for webhooks. They may be killed at any time: rows and leases record what is still to be sent."""

from __future__ import annotations

import logging

from asgiref.sync import async_to_sync
from celery import shared_task
from django.conf import settings
from django.utils import timezone

from taskhub.lib import awake
from taskhub.lib.database_limits import retention
from taskhub.lib.locks import alone
from taskhub.models import WebhookEndpoint
from taskhub.webhooks.deliveries import deliveries_are_near, deliveries_trim
from taskhub.webhooks.dispatcher import TURN_S, pump

log = logging.getLogger(__name__)


@shared_task
def webhooks_deliver() -> None:
    """Create and send due deliveries. A slow receiver may delay this job, but not the lock."""
    if not WebhookEndpoint.objects.exists():
        return
    async_to_sync(pump)(alone("taskhub:webhooks", at_most_s=2 * TURN_S))
    if deliveries_are_near():
        awake.note(awake.WEBHOOKS)


@shared_task
@retention()
def webhooks_trim() -> None:
    """Retention: delete finished deliveries older than `TASKHUB_WEBHOOKS_KEEP`."""
    deleted = deliveries_trim(before=timezone.now() - settings.TASKHUB_WEBHOOKS_KEEP)
    if deleted:
        log.info("%d webhook deliveries deleted", deleted)
