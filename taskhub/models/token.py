"""API tokens: hashed and expiring, by knox; with a name, so that owners can recognise them."""

from __future__ import annotations

import uuid

from django.db import models
from django.db.models.signals import pre_delete
from django.dispatch import receiver
from django.utils import timezone
from knox.models import AbstractAuthToken


class ApiToken(AbstractAuthToken):  # type: ignore[misc]  # knox has no types
    # Identifies a token in public: the key is its digest, which stays in the table.
    public_id = models.UUIDField(unique=True, default=uuid.uuid4, editable=False)
    name = models.CharField(max_length=100, blank=True, default="")
    role = models.CharField(
        max_length=8,
        blank=True,
        default="",
        db_default="",
        help_text="The most that it may do; empty: what its account may.",
    )
    last_used_at = models.DateTimeField(null=True, editable=False, help_text="Written at most once a minute.")

    class Meta:
        verbose_name = "API token"

    def __str__(self) -> str:
        # Not the digest, which knox's own __str__ shows.
        return self.name or self.token_key


class EndedToken(models.Model):
    """A token that was deleted: its digest is kept for a while, so that its bearer is told why it no longer works."""

    digest = models.CharField(max_length=128, primary_key=True)
    expired = models.BooleanField(help_text="Whether it had expired; otherwise it was revoked, or its account deleted.")
    ended_at = models.DateTimeField(default=timezone.now, db_index=True)

    def __str__(self) -> str:
        return "expired" if self.expired else "revoked"


@receiver(pre_delete, sender=ApiToken)
def _keep_digest(instance: ApiToken, **_: object) -> None:
    """In the transaction that deletes it, however it is deleted: by its owner, in the admin, with its account."""
    expired = instance.expiry is not None and instance.expiry < timezone.now()
    EndedToken.objects.get_or_create(digest=instance.digest, defaults={"expired": expired})
