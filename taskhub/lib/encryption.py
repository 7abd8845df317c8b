"""Symmetric encryption of stored secrets (key derived from `SECRET_KEY`): the database alone does not reveal them."""

from __future__ import annotations

import base64
from dataclasses import dataclass

from cryptography.fernet import Fernet, InvalidToken, MultiFernet
from django.conf import settings
from django.utils.crypto import salted_hmac


class SealBroken(Exception):
    """The text was not encrypted with this seal, or its key is no longer in the settings."""


@dataclass(frozen=True, slots=True)
class Seal:
    """Encrypts with a key derived from `SECRET_KEY`, salt and purpose; also decrypts with `SECRET_KEY_FALLBACKS`."""

    salt: str
    purpose: str

    def close(self, text: str) -> str:
        return self._fernet().encrypt(text.encode()).decode()

    def open(self, sealed: str) -> str:
        """Raises SealBroken."""
        try:
            return self._fernet().decrypt(sealed).decode()
        except InvalidToken:
            raise SealBroken from None

    def _fernet(self) -> MultiFernet:
        secrets = (settings.SECRET_KEY, *settings.SECRET_KEY_FALLBACKS)
        keys = (salted_hmac(self.salt, self.purpose, secret, algorithm="sha256").digest() for secret in secrets)
        return MultiFernet([Fernet(base64.urlsafe_b64encode(key)) for key in keys])
