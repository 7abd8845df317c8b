"""Digests of OAuth clients' secrets."""

from __future__ import annotations

from django.contrib.auth.hashers import PBKDF2PasswordHasher


class ClientSecretHasher(PBKDF2PasswordHasher):
    """One round: a secret is 128 random characters, which no number of rounds makes harder to guess.

    The hasher of passwords would take a good part of a second of a web thread, for each request at the token endpoint
    that names a client. Its own name keeps Django from making up for the missing rounds.
    """

    algorithm = "client_secret"
    iterations = 1
