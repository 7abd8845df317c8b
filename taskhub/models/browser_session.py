"""Browser sessions: which of Django's sessions are an account's, for its owner to see and end."""

from __future__ import annotations

import re
import uuid
from typing import Final

from django.conf import settings
from django.db import models

from taskhub.models.token import ApiToken

BROWSER_LENGTH: Final = 300


# In this order: most browsers also name those that they descend from.
_BROWSERS: Final = {"Edg": "Edge", "OPR": "Opera", "Firefox": "Firefox", "Chrome": "Chrome", "Version": "Safari"}
_SYSTEMS: Final = {
    "Android": "Android",
    "iPhone": "iPhone",
    "iPad": "iPad",
    "Windows": "Windows",
    "Mac OS X": "macOS",
    "CrOS": "ChromeOS",
    "Linux": "Linux",
}


class BrowserSession(models.Model):
    """A sign-in. Django's own row holds the session and its end; without that one this row means nothing.

    `id` identifies it in public: the key is the session.
    """

    id = models.UUIDField(primary_key=True, default=uuid.uuid4, editable=False)
    session_key = models.CharField(max_length=40, unique=True)
    user = models.ForeignKey(settings.AUTH_USER_MODEL, on_delete=models.CASCADE, related_name="browser_sessions")
    # Without a constraint: the previous release, which runs beside this one during an upgrade, deletes tokens and knows
    # of no row that refers to them.
    token = models.ForeignKey(
        ApiToken,
        null=True,
        on_delete=models.CASCADE,
        db_constraint=False,
        related_name="+",
        help_text="The one that it was begun with.",
    )
    address = models.CharField(max_length=45, blank=True, default="", help_text="The client's address.")
    browser = models.CharField(max_length=BROWSER_LENGTH, blank=True, default="", help_text="Its User-Agent.")
    begun_at = models.DateTimeField(auto_now_add=True)

    def __str__(self) -> str:
        return f"{self.browser or self.address}, since {self.begun_at:%Y-%m-%d %H:%M:%S}"

    @property
    def browser_name(self) -> str:
        """`Chrome 156 on Linux`; the User-Agent itself where it is of none of the common browsers."""
        found = ((name, re.search(rf"{mark}/(\d+)", self.browser)) for mark, name in _BROWSERS.items())
        named = next((f"{name} {version[1]}" for name, version in found if version), "")
        system = next((name for mark, name in _SYSTEMS.items() if mark in self.browser), "")
        return f"{named} on {system}" if named and system else named or self.browser
