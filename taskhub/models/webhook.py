"""Webhook endpoints, and deliveries to them."""

from __future__ import annotations

import uuid
from typing import Final

from django.conf import settings
from django.db import models

from taskhub.lib.encryption import Seal

SECRET_SEAL: Final = Seal("taskhub.webhooks", "secret")
URL_LIMIT: Final = 2000
"""Characters of an endpoint's URL."""


class WebhookEndpoint(models.Model):
    """A URL that receives events. `cursor` is the number of the last event that was turned into a delivery.

    Events after the cursor are the endpoint's queue: the outbox keeps them, and the transaction that creates a delivery
    also moves the cursor past its event. An inactive endpoint keeps its cursor and continues from there.
    """

    id = models.UUIDField(primary_key=True, default=uuid.uuid4, editable=False)
    url = models.CharField("URL", max_length=URL_LIMIT)
    description = models.CharField(max_length=200, blank=True, default="")
    event_types = models.JSONField(default=list, blank=True, help_text="The types it receives; empty: all.")
    private = models.BooleanField(default=False, help_text="Whether it receives private tasks, too.")
    is_active = models.BooleanField(default=True)
    sealed_secret = models.TextField()
    # Both secrets sign for a while, so that a receiver can switch over without losing anything.
    sealed_secret_before = models.TextField(blank=True, default="")
    secret_before_until = models.DateTimeField(null=True)
    cursor = models.PositiveBigIntegerField()
    failing_since = models.DateTimeField(null=True, help_text="First failed attempt after the last successful one.")
    resting_until = models.DateTimeField(null=True, help_text="Deliveries are paused until then (Retry-After).")
    notice = models.CharField(
        max_length=300, blank=True, default="", help_text="Why the hub deactivated it or skipped events."
    )
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

    pending → delivered   the response was a status from 200 to 299
           | failed   every attempt failed, the endpoint is gone (410), or it may no longer receive the event
    delivered, failed → pending   an operator has it sent again

    A pending one is leased to the worker that sends it; `attempts` counts the leases and is their fence.
    """

    id = models.UUIDField(primary_key=True, default=uuid.uuid4, editable=False, help_text="The header webhook-id.")
    endpoint = models.ForeignKey(WebhookEndpoint, on_delete=models.CASCADE, related_name="deliveries")
    sequence = models.PositiveBigIntegerField(null=True, help_text="The event's number; empty for a test.")
    event_id = models.CharField(max_length=100, blank=True, default="")
    event_type = models.CharField(max_length=100)
    task_id = models.UUIDField(null=True)
    body = models.TextField(help_text="The request's body, byte for byte.")
    status = models.CharField(max_length=10, choices=DeliveryStatus.choices, default=DeliveryStatus.PENDING)
    attempts = models.PositiveIntegerField(default=0)
    failures = models.PositiveIntegerField(default=0, help_text="Failed attempts since it was last requested.")
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
            models.Index(fields=["status", "-created_at", "-id"], name="webhook_delivery_status"),
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
