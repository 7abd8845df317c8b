"""Password failures: how often a password was tried in vain, for the limits of the sign-in forms."""

from __future__ import annotations

from django.db import models


class PasswordFailures(models.Model):
    """A counter that ends by itself. `key` and `account` are keyed digests: forms are also sent a password as the name.

    Counted are an account over all addresses, an account from one address, and an account from one browser that has
    signed in to it before. `auth/sign_in_limits.py` has the rules.
    """

    key = models.CharField(max_length=64, primary_key=True)
    account = models.CharField(max_length=64, db_index=True, help_text="Digest of the account's name.")
    failures = models.PositiveIntegerField(default=0, db_default=0)
    until = models.DateTimeField(db_index=True, help_text="When it is forgotten.")

    def __str__(self) -> str:
        return f"{self.failures} until {self.until}"
