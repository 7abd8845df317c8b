"""Web processes, workers and one beat behind a proxy that ends TLS: PostgreSQL, Redis, Daytona."""

from __future__ import annotations

from config import env
from config.settings.logs import logging_to_console

from .base import *

SECRET_KEY = env.secret("SECRET_KEY")
_NAMES = env.words("ALLOWED_HOSTS")
# A web process is also asked how it does, past the proxy: by the name of the machine it runs on.
ALLOWED_HOSTS = [*_NAMES, "localhost"] if _NAMES else []
CSRF_TRUSTED_ORIGINS = [f"https://{name}" for name in _NAMES if not name.startswith((".", "*"))]
DATABASES = {"default": env.database("DATABASE_URL")}

LOGGING = logging_to_console(form="json")

SECURE_PROXY_SSL_HEADER = ("HTTP_X_FORWARDED_PROTO", "https")
SECURE_SSL_REDIRECT = True
# The proxy, and Prometheus beside it, ask these over plain HTTP on the private side.
SECURE_REDIRECT_EXEMPT = [r"^healthz$", r"^readyz$", r"^metrics$"]
SECURE_HSTS_SECONDS = env.integer("SECURE_HSTS_SECONDS", 31_536_000)
SECURE_HSTS_INCLUDE_SUBDOMAINS = True
# Browsers' own list: a name is hard to get out of it again, so nobody comes in without asking for it.
SECURE_HSTS_PRELOAD = env.flag("SECURE_HSTS_PRELOAD")
SILENCED_SYSTEM_CHECKS = ["security.W021"]
SESSION_COOKIE_SECURE = True
CSRF_COOKIE_SECURE = True
STORAGES = {
    **STORAGES,  # noqa: F405 - from base
    "staticfiles": {"BACKEND": "whitenoise.storage.CompressedManifestStaticFilesStorage"},
}
