"""An API token: hashed and expiring, by knox; with a name, so that its owner knows which one to revoke."""

from __future__ import annotations

import uuid

from django.db import models
from knox.models import AbstractAuthToken


class ApiToken(AbstractAuthToken):  # type: ignore[misc]  # knox has no types
    # What names a token where others may see it: the key is its digest, and that stays in the table.
    public_id = models.UUIDField(unique=True, default=uuid.uuid4, editable=False)
    name = models.CharField(max_length=100, blank=True, default="")

    class Meta:
        verbose_name = "API token"

    def __str__(self) -> str:
        # Never the digest, which knox's own __str__ shows.
        return self.name or self.token_key
