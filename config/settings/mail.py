"""Settings of mail to people (`taskhub/services/mails.py`). Without `EMAIL_HOST` the hub sends none."""

from __future__ import annotations

from typing import Any, Final

from config import env

EMAIL_HOST = env.text("EMAIL_HOST", "")
EMAIL_PORT = env.integer("EMAIL_PORT", 25, least=1, most=65_535)
EMAIL_HOST_USER = env.text("EMAIL_HOST_USER", "")
EMAIL_HOST_PASSWORD = env.secret("EMAIL_HOST_PASSWORD", "")
EMAIL_USE_TLS = env.flag("EMAIL_USE_TLS")
EMAIL_USE_SSL = env.flag("EMAIL_USE_SSL")
EMAIL_TIMEOUT = 10
DEFAULT_FROM_EMAIL = env.text("DEFAULT_FROM_EMAIL", "taskhub@localhost")

_EVERY_S: Final = 5.0
_DELIVER: Final = {
    "task": "taskhub.jobs.mails_deliver",
    "schedule": _EVERY_S,
    "options": {"expires": 2 * _EVERY_S},
}
MAIL_SCHEDULE: Final[dict[str, Any]] = {"deliver mail": _DELIVER} if EMAIL_HOST else {}
