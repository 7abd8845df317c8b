"""API tokens: hashed and expiring, by knox; with a name, so that owners can recognise them."""

from __future__ import annotations

import uuid
from typing import Final

from django.apps import apps
from django.db import models
from django.db.models.signals import pre_delete
from django.dispatch import receiver
from django.utils import timezone
from knox.models import AbstractAuthToken

OAUTH_ACCESS_PREFIX: Final = "tho_"
"""Of the texts of OAuth access tokens, which REST refuses."""


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

    # An OAuth grant (`taskhub/oauth/`): `public_id` is the family of its tokens, and no text opens this row.
    client = models.ForeignKey(
        "oauth2_provider.Application",
        on_delete=models.CASCADE,
        null=True,
        blank=True,
        related_name="+",
        help_text="The OAuth client that holds it; none for a token that was made here.",
    )
    code_digest = models.CharField(max_length=64, blank=True, default="", db_default="", editable=False)

    class Meta:
        verbose_name = "API token"
        indexes = [models.Index(fields=["code_digest"], condition=~models.Q(code_digest=""), name="token_by_code")]

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
    if instance.client_id is not None:
        _delete_family(instance.public_id)
        return
    expired = instance.expiry is not None and instance.expiry < timezone.now()
    EndedToken.objects.get_or_create(digest=instance.digest, defaults={"expired": expired})


def _delete_family(family: uuid.UUID) -> None:
    """The tokens of an OAuth grant end with it."""
    access, refresh = (apps.get_model("oauth2_provider", name) for name in ("AccessToken", "RefreshToken"))
    access.objects.filter(refresh_token__token_family=family).delete()
    refresh.objects.filter(token_family=family).delete()
