"""Production profile: web processes, workers and one beat behind a TLS proxy; PostgreSQL, Redis, Daytona."""

from __future__ import annotations

from config import env
from config.settings.logs import logging_to_console

from .base import *

SECRET_KEY = env.secret("SECRET_KEY")
_NAMES = env.words("ALLOWED_HOSTS")
# Health checks bypass the proxy and use the name localhost.
ALLOWED_HOSTS = [*_NAMES, "localhost"] if _NAMES else []
TASKHUB_ADDRESS = f"https://{_NAMES[0].lstrip('.')}" if _NAMES and not _NAMES[0].startswith("*") else ""
CSRF_TRUSTED_ORIGINS = [f"https://{name}" for name in _NAMES if not name.startswith((".", "*"))]
DATABASES = {"default": env.database("DATABASE_URL")}

OAUTH2_PROVIDER = oauth_provider_of("production")  # noqa: F405 - from base

LOGGING = logging_to_console(form="json")

SECURE_PROXY_SSL_HEADER = ("HTTP_X_FORWARDED_PROTO", "https")
SECURE_SSL_REDIRECT = True
# The proxy and Prometheus request these over plain HTTP on the private side.
SECURE_REDIRECT_EXEMPT = [r"^healthz$", r"^readyz$", r"^metrics$"]
SECURE_HSTS_SECONDS = env.integer("SECURE_HSTS_SECONDS", 31_536_000)
SECURE_HSTS_INCLUDE_SUBDOMAINS = True
# The browsers' preload list is hard to leave, so it must be requested explicitly.
SECURE_HSTS_PRELOAD = env.flag("SECURE_HSTS_PRELOAD")
# Redirects over plain HTTP are for loopback alone (taskhub/oauth/redirects.py), where hosts of agents listen.
SILENCED_SYSTEM_CHECKS = ["security.W021", "oauth2_provider.W008"]
SESSION_COOKIE_SECURE = True
CSRF_COOKIE_SECURE = True
STORAGES = {
    **STORAGES,  # noqa: F405 - from base
    "staticfiles": {"BACKEND": "taskhub.web.static_storage.JoinedStaticFilesStorage"},
}
