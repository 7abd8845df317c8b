"""Webhooks that the hub sends: to whom, and what became of each."""

from __future__ import annotations

import uuid
from typing import Final

from django.conf import settings
from django.db import models

from taskhub.lib.encryption import Seal

SECRET_SEAL: Final = Seal("taskhub.webhooks", "secret")
URL_LIMIT: Final = 2000
"""Characters of an endpoint's address."""


class WebhookEndpoint(models.Model):
    """An address that is told of events. `cursor` is the number of the last event for which it was seen to.

    Events after the cursor are the endpoint's queue: the outbox keeps them, and a delivery is written in the
    transaction that moves the cursor past its event. An endpoint that is not active stands still and goes on there.
    """

    id = models.UUIDField(primary_key=True, default=uuid.uuid4, editable=False)
    url = models.CharField("URL", max_length=URL_LIMIT)
    description = models.CharField(max_length=200, blank=True, default="")
    event_types = models.JSONField(default=list, blank=True, help_text="The types it is told of; empty: all.")
    private = models.BooleanField(default=False, help_text="Whether it is told of private tasks, too.")
    is_active = models.BooleanField(default=True)
    sealed_secret = models.TextField()
    # Both secrets sign for a while, so that a receiver can change over without losing anything.
    sealed_secret_before = models.TextField(blank=True, default="")
    secret_before_until = models.DateTimeField(null=True)
    cursor = models.PositiveBigIntegerField()
    failing_since = models.DateTimeField(
        null=True, help_text="The first failed attempt after the last one that succeeded."
    )
    resting_until = models.DateTimeField(null=True, help_text="It has asked (Retry-After) to be left alone.")
    notice = models.CharField(max_length=300, blank=True, default="", help_text="What happened to it by itself.")
    created_by = models.ForeignKey(settings.AUTH_USER_MODEL, null=True, on_delete=models.SET_NULL, related_name="+")
    created_by_name = models.CharField(max_length=150, blank=True, default="", help_text="Outlives the account.")
    created_at = models.DateTimeField(auto_now_add=True)
    updated_at = models.DateTimeField(auto_now=True)

    class Meta:
        ordering = ["-created_at", "-id"]

    def __str__(self) -> str:
        return self.description or str(self.id)


class DeliveryStatus(models.TextChoices):
    PENDING = "pending", "Pending"
    DELIVERED = "delivered", "Delivered"
    FAILED = "failed", "Failed"


class WebhookDelivery(models.Model):
    """One event for one endpoint.

    pending → delivered   it answered with a status from 200 to 299
            | failed      every attempt failed, it is gone (410), or the event is not for it any more
    delivered, failed → pending   an operator has it sent again

    A pending one is leased to the worker that sends it; `attempts` counts the leases and is their fence.
    """

    id = models.UUIDField(primary_key=True, default=uuid.uuid4, editable=False, help_text="The header webhook-id.")
    endpoint = models.ForeignKey(WebhookEndpoint, on_delete=models.CASCADE, related_name="deliveries")
    sequence = models.PositiveBigIntegerField(null=True, help_text="The event's number; none for a test.")
    event_id = models.CharField(max_length=100, blank=True, default="")
    event_type = models.CharField(max_length=100)
    task_id = models.UUIDField(null=True)
    body = models.TextField(help_text="Word for word what is sent.")
    status = models.CharField(max_length=10, choices=DeliveryStatus.choices, default=DeliveryStatus.PENDING)
    attempts = models.PositiveIntegerField(default=0)
    failures = models.PositiveIntegerField(default=0, help_text="Failed attempts since it was last asked for.")
    next_attempt_at = models.DateTimeField()
    lease_until = models.DateTimeField(null=True)
    response_status = models.PositiveSmallIntegerField(null=True)
    error = models.CharField(max_length=300, blank=True, default="")
    took_ms = models.PositiveIntegerField(null=True)
    tries = models.JSONField(default=list, help_text="The latest attempts, the oldest first.")
    created_at = models.DateTimeField(auto_now_add=True)
    delivered_at = models.DateTimeField(null=True)

    class Meta:
        verbose_name_plural = "webhook deliveries"
        ordering = ["-created_at", "-id"]
        indexes = [
            models.Index(fields=["-created_at", "-id"], name="webhook_delivery_newest"),
            models.Index(fields=["endpoint", "-created_at", "-id"], name="webhook_delivery_of"),
            models.Index(
                fields=["endpoint", "next_attempt_at"],
                name="webhook_delivery_due",
                condition=models.Q(status="pending"),
            ),
        ]
        constraints = [
            models.UniqueConstraint(fields=["endpoint", "sequence"], name="webhook_delivery_once"),
            models.CheckConstraint(
                name="webhook_delivery_status_known", condition=models.Q(status__in=DeliveryStatus.values)
            ),
        ]

    def __str__(self) -> str:
        return f"{self.event_type} {self.sequence or self.pk}"
