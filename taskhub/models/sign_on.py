"""Sign-on with an OpenID provider: which account is whose there, and accounts that may use a password regardless."""

from __future__ import annotations

from django.contrib.auth.models import User
from django.db import models


class SignOnIdentity(models.Model):
    """An account's identity at the provider. The subject never changes there; names and mail addresses do."""

    user = models.OneToOneField(User, on_delete=models.CASCADE, primary_key=True, related_name="sign_on_identity")
    issuer = models.CharField(max_length=255)
    subject = models.CharField(max_length=255)

    class Meta:
        constraints = [models.UniqueConstraint(fields=["issuer", "subject"], name="one_account_per_identity")]

    def __str__(self) -> str:
        return self.subject


class BreakGlassAccount(models.Model):
    """An operator for the day on which the provider is away: its password works also where passwords are off."""

    user = models.OneToOneField(User, on_delete=models.CASCADE, primary_key=True, related_name="break_glass")

    def __str__(self) -> str:
        return str(self.user)
