"""Local profile, used by `make run`: loopback only. Reading is open; writing needs a sign-in or the token.

In a container (`TASKHUB_IN_CONTAINER=1`) the port is published on the host's loopback. Other containers reach it too,
and the address does not identify the client, so reading is not open there.
"""

from __future__ import annotations

import logging

from config import env

from .base import *
from .base import DATA_DIR, MIDDLEWARE

SECRET_KEY = env.secret("SECRET_KEY", "only-for-commands-that-run-outside-the-launcher")
ALLOWED_HOSTS = ["localhost", "127.0.0.1", "[::1]"]
DATABASES = {"default": env.database("DATABASE_URL", unless_set=env.sqlite(DATA_DIR / "taskhub.sqlite3"))}
TASKHUB_IN_CONTAINER = env.flag("TASKHUB_IN_CONTAINER")
TASKHUB_OPEN_READING = not TASKHUB_IN_CONTAINER
TASKHUB_SIGN_IN_LINKS = True
# A hub that runs nothing holds less memory and starts sooner; its first run and its first agent wait a second.
TASKHUB_PRELOAD = False
# One user has few streams, and the limits of their session are what they are.
TASKHUB_DESCRIPTORS_LOG_LEVEL = logging.INFO
TASKHUB_ADDRESS = f"http://localhost:{env.integer('TASKHUB_PORT', 8000, least=1, most=65_535)}"
OAUTH2_PROVIDER = oauth_provider_of("local")  # noqa: F405 - from base
TASKHUB_SANDBOXES_OFF = env.text("TASKHUB_SANDBOXES_OFF", "")
# Browsers on this machine also show pages of other sites, whose requests are refused.
MIDDLEWARE = [MIDDLEWARE[0], "taskhub.web.origin_check.OwnPagesOnly", *MIDDLEWARE[1:]]
# Everybody here is one and the same, and the machine is theirs.
TASKHUB_REQUESTS_PER_MINUTE = env.integer("TASKHUB_REQUESTS_PER_MINUTE", 0)
TASKHUB_REQUESTS_PER_MINUTE_PER_ADDRESS = env.integer("TASKHUB_REQUESTS_PER_MINUTE_PER_ADDRESS", 0)
# Static files are served from the apps, and those of our pages as `prepare` has joined and compressed them.
WHITENOISE_USE_FINDERS = True
TASKHUB_PREPARED_STATIC = DATA_DIR / "prepared"
STATIC_ROOT = None  # type: ignore[assignment]  # taskhub/web/static_files.py adds the folder
STORAGES = {
    **STORAGES,  # noqa: F405 - from base
    "staticfiles": {"BACKEND": "taskhub.web.static_storage.PreparedStaticFilesStorage"},
}
