"""System checks: unsafe combinations of settings stop every command."""

from __future__ import annotations

from typing import Any

from django.conf import settings
from django.core.checks import CheckMessage, Error, Tags, register

_LOOPBACK = frozenset({"localhost", "127.0.0.1", "[::1]", "testserver"})


@register(Tags.security)
def open_reading_stays_on_loopback(**_: Any) -> list[CheckMessage]:
    if not settings.TASKHUB_OPEN_READING or set(settings.ALLOWED_HOSTS) <= _LOOPBACK:
        return []
    return [
        Error(
            "Reading is open, but ALLOWED_HOSTS has names other than loopback.",
            hint="Set TASKHUB_OPEN_READING to False, or ALLOWED_HOSTS to loopback names only.",
            id="taskhub.E001",
        )
    ]


@register(Tags.security)
def debug_stays_on_loopback(**_: Any) -> list[CheckMessage]:
    if not settings.DEBUG or set(settings.ALLOWED_HOSTS) <= _LOOPBACK:
        return []
    return [Error("DEBUG is on for a public host.", hint="Set DEBUG to False.", id="taskhub.E002")]
