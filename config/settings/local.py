"""One machine, loopback only: what `make run` uses. Reading is open; writing needs the token of the first start."""

from __future__ import annotations

from config import env

from .base import *
from .base import DATA_DIR, MIDDLEWARE

SECRET_KEY = env.secret("SECRET_KEY", "only-for-commands-that-run-outside-the-launcher")
ALLOWED_HOSTS = ["localhost", "127.0.0.1", "[::1]"]
DATABASES = {"default": env.database("DATABASE_URL", unless_set=env.sqlite(DATA_DIR / "taskhub.sqlite3"))}
TASKHUB_OPEN_READING = True
# A browser on this machine may be anybody's: what a page of another site asks for gets nothing.
MIDDLEWARE = [MIDDLEWARE[0], "taskhub.web.origin_check.OwnPagesOnly", *MIDDLEWARE[1:]]
TASKHUB_ALLOWED_ORIGINS = env.words("TASKHUB_ALLOWED_ORIGINS")
# Everybody here is one and the same, and the machine is theirs.
TASKHUB_REQUESTS_PER_MINUTE = env.integer("TASKHUB_REQUESTS_PER_MINUTE", 0)
TASKHUB_REQUESTS_PER_MINUTE_PER_ADDRESS = env.integer("TASKHUB_REQUESTS_PER_MINUTE_PER_ADDRESS", 0)
# Static files come straight from the apps: nothing to collect, so nothing to forget.
WHITENOISE_USE_FINDERS = True
STATIC_ROOT = None  # type: ignore[assignment]  # there is no folder for WhiteNoise to look for
