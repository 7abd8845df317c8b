"""Redaction: removes secrets from log messages, arguments and tracebacks.

Every log record of the process is redacted when it is created, independent of the logging library and handler.
Tracebacks and other fields are redacted when they are written (`taskhub/observability/log_format.py`). Line ends in
arguments are escaped: a request cannot forge a log line. Rows that PostgreSQL quotes in its errors are cut off.
"""

from __future__ import annotations

import logging
import re
from functools import cache
from typing import Any, Final

from django.conf import settings

from taskhub.lib.database_errors import without_rows

HIDDEN: Final = "[hidden]"
_NAMED: Final = re.compile(
    r"(?i)(?<![A-Za-z0-9])(ticket|token|access_token|api_?key|secret(?:_?key)?|password|passwd|authorization)"
    r"((?:=|%3D)['\"]?|['\"]?: ?['\"]?)(?!Bearer|Basic)[^\s&'\",;]+"
)
_BEARER: Final = re.compile(r"(?i)\b(bearer|basic)([ :]+|%20)[A-Za-z0-9+/=_.:~-]{6,}")
_OAUTH: Final = re.compile(r"\bth[or]_[0-9a-f]{8,}")
_SIGN_IN: Final = re.compile(r"((?:^|[?&])(?:code|state|code_verifier|id_token_hint)=)[^\s&'\",;]{16,}", re.MULTILINE)
"""Of a query: what is shorter is a filter of tasks by state, and not of a sign-in."""
_SIGNING: Final = re.compile(r"\bwhsec_[A-Za-z0-9+/=_-]+")
_LOGIN: Final = re.compile(r"(://[^/\s:@]*:)[^/\s@]+@")
_CONTROL: Final = re.compile(r"[\x00-\x08\x0a-\x1f\x7f\x85\u2028\u2029]")
_SHORTEST: Final = 8
"""Shorter secrets would redact ordinary words; none of ours is shorter."""


def scrub(text: str) -> str:
    """The text without secrets: by name, by position, by value; and without rows of the database."""
    text = without_rows(text)
    for secret in _configured():
        text = text.replace(secret, HIDDEN)
    text = _BEARER.sub(rf"\1\2{HIDDEN}", text)
    text = _NAMED.sub(rf"\1\2{HIDDEN}", text)
    text = _SIGN_IN.sub(rf"\1{HIDDEN}", text)
    text = _OAUTH.sub(HIDDEN, _SIGNING.sub(HIDDEN, text))
    return _LOGIN.sub(rf"\1{HIDDEN}@", text)


@cache
def _configured() -> tuple[str, ...]:
    values = [
        settings.SECRET_KEY,
        *settings.SECRET_KEY_FALLBACKS,
        settings.DAYTONA_API_KEY,
        settings.DAYTONA_WEBHOOK_SECRET,
        settings.TASKHUB_OIDC_CLIENT_SECRET,
        settings.EVENTSTREAM_REDIS.get("password"),
        *(database.get("PASSWORD") for database in settings.DATABASES.values()),
    ]
    return tuple(str(value) for value in values if value and len(str(value)) >= _SHORTEST)


def _scrub_argument(value: Any) -> Any:
    if isinstance(value, str):
        return _CONTROL.sub(lambda found: found[0].encode("unicode_escape").decode(), scrub(value))
    return value


class Scrubbed(str):
    """A text that was redacted in parts; as a whole it must not be changed again (it may be JSON)."""

    __slots__ = ()


class ScrubbedRecord(logging.LogRecord):
    """Redacted when it is created, because libraries format the arguments in their own ways."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        if isinstance(self.msg, str):
            self.msg = scrub(self.msg)
        if isinstance(self.args, tuple):
            self.args = tuple(map(_scrub_argument, self.args))
        elif self.args:
            self.args = {name: _scrub_argument(value) for name, value in self.args.items()}

    def getMessage(self) -> str:  # noqa: N802 - logging's name
        """Converts other types (an exception, an address) to text first."""
        if isinstance(self.msg, Scrubbed):
            return self.msg
        return scrub(super().getMessage())


def scrub_all_logs() -> None:
    """Redact all records of this process from now on."""
    logging.setLogRecordFactory(ScrubbedRecord)
