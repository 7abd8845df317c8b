"""API tokens: hashed and expiring, by knox; with a name, so that owners can recognise them."""

from __future__ import annotations

import uuid

from django.db import models
from knox.models import AbstractAuthToken


class ApiToken(AbstractAuthToken):  # type: ignore[misc]  # knox has no types
    # Identifies a token in public: the key is its digest, which stays in the table.
    public_id = models.UUIDField(unique=True, default=uuid.uuid4, editable=False)
    name = models.CharField(max_length=100, blank=True, default="")

    class Meta:
        verbose_name = "API token"

    def __str__(self) -> str:
        # Not the digest, which knox's own __str__ shows.
        return self.name or self.token_key
