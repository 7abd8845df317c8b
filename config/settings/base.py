"""Settings of all profiles. Values come from the environment by `config.env` only."""

from __future__ import annotations

import logging
from datetime import timedelta
from pathlib import Path

import django_stubs_ext
from corsheaders.defaults import default_headers
from csp.constants import NONE, SELF

from config import env
from config.settings.admin_look import UNFOLD  # noqa: F401 - a setting
from config.settings.jobs import *
from config.settings.logs import logging_to_console
from config.settings.mail import *
from config.settings.oauth import *
from config.settings.openapi import *
from config.settings.sign_on import *
from config.settings.sign_on import SIGN_ON_BACKENDS, SIGN_ON_ORIGINS

django_stubs_ext.monkeypatch()

BASE_DIR = Path(__file__).resolve().parents[2]
DATA_DIR = Path(env.text("TASKHUB_DATA_DIR", str(BASE_DIR / "var"))).resolve()

DEBUG = False
ROOT_URLCONF = "config.urls"
ASGI_APPLICATION = "config.asgi.application"

INSTALLED_APPS = [
    "config.apps.DaphneConfig",  # before staticfiles: it replaces the server of `runserver`
    "unfold.contrib.filters",
    "unfold.apps.BasicAppConfig",  # before the admin: its templates replace the admin's
    "taskhub.apps.HubAdminConfig",
    "django.contrib.auth",
    "django.contrib.contenttypes",
    "django.contrib.sessions",
    "django.contrib.messages",
    "whitenoise.runserver_nostatic",
    "django.contrib.staticfiles",
    "corsheaders",
    "rest_framework",
    "django_filters",
    "knox",
    "oauth2_provider",
    "drf_spectacular",
    "drf_spectacular_sidecar",
    "django_eventstream",
    "taskhub",
    "sandboxes",
]

MIDDLEWARE = [
    "taskhub.observability.request_logging.RequestContext",
    "django.middleware.security.SecurityMiddleware",
    "taskhub.web.security_headers.SecurityHeaders",
    "taskhub.web.compression.Compression",
    "taskhub.web.static_files.StaticFiles",
    "taskhub.web.cors.StreamCors",
    "corsheaders.middleware.CorsMiddleware",
    "django.contrib.sessions.middleware.SessionMiddleware",
    "django.middleware.common.CommonMiddleware",
    "django.middleware.csrf.CsrfViewMiddleware",
    "taskhub.auth.token_session.SessionAccounts",
    "django.contrib.messages.middleware.MessageMiddleware",
    "django.middleware.clickjacking.XFrameOptionsMiddleware",
]

TEMPLATES = [
    {
        "BACKEND": "django.template.backends.django.DjangoTemplates",
        "DIRS": [BASE_DIR / "templates"],
        "APP_DIRS": True,
        "OPTIONS": {
            "context_processors": [
                "django.template.context_processors.request",
                "django.contrib.auth.context_processors.auth",
                "django.contrib.messages.context_processors.messages",
                "taskhub.pages.header",
            ],
            "libraries": {"pages": "taskhub.pages.template_tags"},
        },
    },
]

AUTH_PASSWORD_VALIDATORS = [
    {"NAME": f"django.contrib.auth.password_validation.{validator}"}
    for validator in (
        "UserAttributeSimilarityValidator",
        "MinimumLengthValidator",
        "CommonPasswordValidator",
        "NumericPasswordValidator",
    )
]

# The URL patterns of both specifications accept addresses with and without a trailing slash.
APPEND_SLASH = False
DEFAULT_AUTO_FIELD = "django.db.models.BigAutoField"
LANGUAGE_CODE = "en"
USE_TZ = True
FORMAT_MODULE_PATH = ["config.formats"]
TIME_ZONE = "UTC"
STATIC_URL = "/static/"
STATIC_ROOT = Path(env.text("TASKHUB_STATIC_ROOT", str(BASE_DIR / "staticfiles")))
STORAGES = {
    # Execution logs (`logs/task-<id>.log`) go through Django's storage API.
    "default": {"BACKEND": "django.core.files.storage.FileSystemStorage", "OPTIONS": {"location": DATA_DIR / "files"}},
    "staticfiles": {"BACKEND": "django.contrib.staticfiles.storage.StaticFilesStorage"},
}
# The scripts of the pages, each joined with the modules that it imports (taskhub/web/static_storage.py).
TASKHUB_PAGE_SCRIPTS = [
    *(
        f"taskhub/{page}.js"
        for page in ("board", "task", "monitor", "agents", "connect", "settings", "components", "docs")
    ),
    *(f"sandboxes/{page}.js" for page in ("demo", "list", "one")),
]
# The style sheets of the pages, each joined with those of every page.
TASKHUB_PAGE_STYLES = [
    *((f"taskhub/{page}.css",) for page in ("monitor", "agents", "connect", "settings", "docs")),
    ("taskhub/markdown.css", "taskhub/board.css"),
    ("taskhub/log.css", "taskhub/markdown.css", "taskhub/task.css"),
    ("sandboxes/sandboxes.css",),
    ("taskhub/log.css", "sandboxes/sandboxes.css"),
    (
        "taskhub/log.css",
        "taskhub/board.css",
        "taskhub/settings.css",
        "sandboxes/sandboxes.css",
        "taskhub/components.css",
    ),
]
# For those who work on the pages: /components/ shows what they are made of.
TASKHUB_COMPONENTS = env.flag("TASKHUB_COMPONENTS")
# Where `prepare` puts the static files of the pages; empty: `collectstatic` does, or nothing is prepared.
TASKHUB_PREPARED_STATIC: Path | None = None
# A script of 1 MiB, JSON-escaped six-fold in the worst case, plus the other fields.
DATA_UPLOAD_MAX_MEMORY_SIZE = 8 * 1024 * 1024

# --- Security headers (taskhub/web/security_headers.py) ----------------------------------------------
CONTENT_SECURITY_POLICY = {
    "DIRECTIVES": {
        "default-src": [NONE],
        "script-src": [SELF],
        "style-src": [SELF],
        "img-src": [SELF, "data:"],  # the icons in style sheets
        "font-src": [SELF],
        "connect-src": [SELF],
        "form-action": [SELF, *SIGN_ON_ORIGINS],
        "base-uri": [NONE],
        "frame-ancestors": [NONE],
    }
}
X_FRAME_OPTIONS = "DENY"
SECURE_REFERRER_POLICY = "same-origin"  # addresses may contain tickets

# --- Redis: notifications and the broker -------------------------------------------------------------
REDIS_URL = env.secret("REDIS_URL", "redis://127.0.0.1:6379/0")

# --- Events ------------------------------------------------------------------------------------------
EVENTSTREAM_REDIS = {**env.redis_options(REDIS_URL), "socket_timeout": 2, "socket_connect_timeout": 1}
EVENTSTREAM_STORAGE_CLASS = "taskhub.events.outbox.OutboxStorage"
EVENTSTREAM_CHANNELMANAGER_CLASS = "taskhub.events.channels.ChannelManager"
TASKHUB_EVENTS_KEEP = timedelta(days=env.integer("TASKHUB_EVENTS_KEEP_DAYS", 7, least=1))
TASKHUB_STREAM_LIMIT = env.integer("TASKHUB_STREAM_LIMIT", 10_000, least=1)
# How serious it is that the system allows fewer open files than so many streams need.
TASKHUB_DESCRIPTORS_LOG_LEVEL = logging.WARNING
TASKHUB_STREAM_LIMIT_PER_CALLER = env.integer("TASKHUB_STREAM_LIMIT_PER_CALLER", 1000, least=1)
TASKHUB_STREAM_MAX_AGE_S = env.integer("TASKHUB_STREAM_MAX_AGE_S", 6 * 3600, least=10)

# Load the SDKs of Daytona and MCP before serving, or with their first use.
TASKHUB_PRELOAD = True
# Concurrent requests of a web process; each of these threads keeps a database connection.
TASKHUB_WEB_THREADS = env.integer("TASKHUB_WEB_THREADS", 8, least=1)
# A request that waits for others of its process to write the same row waits as long as a connection does for a lock.
TASKHUB_ROW_WAIT_S = env.integer("TASKHUB_DATABASE_LOCK_TIMEOUT_S", 5)

# --- Executions --------------------------------------------------------------------------------------
TASKHUB_EXECUTOR = "sandboxes.execute.executor.SandboxExecutor"
# Artifacts: size of one file, size of all files of an execution, retention.
TASKHUB_ARTIFACT_LIMIT_BYTES = env.integer("TASKHUB_ARTIFACT_LIMIT_BYTES", 10 * 1024 * 1024, least=1)
TASKHUB_ARTIFACTS_LIMIT_BYTES = env.integer("TASKHUB_ARTIFACTS_LIMIT_BYTES", 100 * 1024 * 1024, least=0)
# Folders whose files are neither reported nor kept unless an execution asks for them (`all_files`).
TASKHUB_ARTIFACTS_SKIP = env.words(
    "TASKHUB_ARTIFACTS_SKIP",
    ".git,node_modules,__pycache__,.venv,venv,.cache,.mypy_cache,.pytest_cache,.ruff_cache,.tox,.npm,.gradle,.terraform",
)
TASKHUB_ARTIFACTS_KEEP = timedelta(days=env.integer("TASKHUB_ARTIFACTS_KEEP_DAYS", 30, least=1))
# Logs of executions, and with them their scripts; 0: for ever.
TASKHUB_LOGS_KEEP_DAYS = env.integer("TASKHUB_LOGS_KEEP_DAYS", 0)
TASKHUB_LOG_LIMIT_BYTES = env.integer("TASKHUB_LOG_LIMIT_BYTES", 10 * 1024 * 1024, least=1024)
TASKHUB_EXECUTION_TIMEOUT_S = env.integer("TASKHUB_EXECUTION_TIMEOUT_S", 3600, least=1, most=86_400)
# Executions at once, for the hub and for each account; 0: no limit. Operators may set others while the hub runs.
TASKHUB_EXECUTIONS_AT_ONCE = env.integer("TASKHUB_EXECUTIONS_AT_ONCE", 0)
TASKHUB_EXECUTIONS_AT_ONCE_PER_ACCOUNT = env.integer("TASKHUB_EXECUTIONS_AT_ONCE_PER_ACCOUNT", 0)
# What the sandboxes of all executions may have together; 0: no limit.
TASKHUB_CAPACITY_CPU = env.integer("TASKHUB_CAPACITY_CPU", 0)
TASKHUB_CAPACITY_MEMORY_GIB = env.integer("TASKHUB_CAPACITY_MEMORY_GIB", 0)
TASKHUB_CAPACITY_DISK_GIB = env.integer("TASKHUB_CAPACITY_DISK_GIB", 0)
# How long an execution waits for a full sandbox service in which no sandbox is ours.
TASKHUB_EXECUTION_WAIT_S = env.integer("TASKHUB_EXECUTION_WAIT_S", 86400)
# The environment of executions for which neither request nor task names one; empty: none.
TASKHUB_DEFAULT_ENVIRONMENT = env.text("TASKHUB_DEFAULT_ENVIRONMENT", "")
TASKHUB_SANDBOX_KEEP_S = env.integer("TASKHUB_SANDBOX_KEEP_S", 600)

# Below so many free bytes in the data folder `/readyz` says that the disk is full.
TASKHUB_DATA_FREE_LEAST_BYTES = env.integer("TASKHUB_DATA_FREE_LEAST_BYTES", 64 * 1024 * 1024)

# --- Claims ------------------------------------------------------------------------------------------
# The length of an agent's lease on a task, and how many lost or failed attempts hold a task back.
TASKHUB_LEASE_S = env.integer("TASKHUB_LEASE_S", 900, least=10, most=86_400)
# How long an open question keeps its holder's lease from running out.
TASKHUB_QUESTION_KEEPS_S = env.integer("TASKHUB_QUESTION_KEEPS_S", 86_400)
# How long a task in progress may be without holder, execution or change before it is stale.
TASKHUB_STALE_AFTER_S = env.integer("TASKHUB_STALE_AFTER_S", 3600, least=1)
TASKHUB_BOARD_DONE_DAYS = env.integer("TASKHUB_BOARD_DONE_DAYS", 30, least=0)
# An agent may change what another one holds.
TASKHUB_OPEN_CHANGES = env.flag("TASKHUB_OPEN_CHANGES")
TASKHUB_ATTEMPTS = env.integer("TASKHUB_ATTEMPTS", 3, least=1)
# Tasks in review are verified without a request.
TASKHUB_VERIFY_IN_REVIEW = env.flag("TASKHUB_VERIFY_IN_REVIEW")

# --- Live logs ---------------------------------------------------------------------------------------
TASKHUB_SPOOL_DIR = DATA_DIR / "spool"
TASKHUB_LOG_SPOOL_BYTES = env.integer("TASKHUB_LOG_SPOOL_BYTES", 1024 * 1024 * 1024, least=1024)
TASKHUB_LOG_IDLE_S = env.integer("TASKHUB_LOG_IDLE_S", 900, least=10)

# --- Daytona (or the local sandbox server, which has the same API) -------------------------------------
DAYTONA_API_KEY = env.secret("DAYTONA_API_KEY", "")
DAYTONA_API_URL = env.text("DAYTONA_API_URL", "https://app.daytona.io/api")
DAYTONA_TARGET = env.text("DAYTONA_TARGET", "")
# The signing secret (whsec_…) of the webhook endpoint registered with Daytona; without it webhooks are refused.
DAYTONA_WEBHOOK_SECRET = env.secret("DAYTONA_WEBHOOK_SECRET", "")

# --- Webhooks that the hub sends -----------------------------------------------------------------------
# Also to private addresses, and without TLS: operators are responsible for what can be reached there.
TASKHUB_WEBHOOKS_ALLOW_PRIVATE = env.flag("TASKHUB_WEBHOOKS_ALLOW_PRIVATE")
TASKHUB_WEBHOOKS_KEEP = timedelta(days=env.integer("TASKHUB_WEBHOOKS_KEEP_DAYS", 7, least=1))

# The hub's own address, in mail.
TASKHUB_ADDRESS = ""

CSRF_FAILURE_VIEW = "taskhub.api.errors.csrf_failure"
# --- Access control ---------------------------------------------------------------------------------
AUTHENTICATION_BACKENDS = [
    *("taskhub.accounts.AccountBackend", "taskhub.auth.backends.TokenSessionBackend"),
    *SIGN_ON_BACKENDS,
]
LOGIN_URL = "login"
LOGIN_REDIRECT_URL = "home"
LOGOUT_REDIRECT_URL = "home"
# Wrong tokens, tickets and passwords per address and web process; 0 is no limit.
TASKHUB_FAILED_CREDENTIALS_PER_MINUTE = env.integer("TASKHUB_FAILED_CREDENTIALS_PER_MINUTE", 60)
# Passwords tried in vain within 5 minutes, over all web processes: of an account from one address, or from a browser
# that has signed in to it before; and of an account from all other addresses together. 0 is no limit.
TASKHUB_FAILED_PASSWORDS = env.integer("TASKHUB_FAILED_PASSWORDS", 10)
TASKHUB_FAILED_PASSWORDS_PER_ACCOUNT = env.integer("TASKHUB_FAILED_PASSWORDS_PER_ACCOUNT", 50)
# Requests to the REST API per web process; 0 is no limit.
TASKHUB_REQUESTS_PER_MINUTE = env.integer("TASKHUB_REQUESTS_PER_MINUTE", 6000)
TASKHUB_REQUESTS_PER_MINUTE_PER_ADDRESS = env.integer("TASKHUB_REQUESTS_PER_MINUTE_PER_ADDRESS", 12_000)
# True only in the local profile, which listens on loopback: anonymous requests may read.
TASKHUB_OPEN_READING = False
# True only in the local profile: one-time links that sign in a browser of this machine (`make link`).
TASKHUB_SIGN_IN_LINKS = False
# True in a container with a published port: all clients have the address of the bridge.
TASKHUB_IN_CONTAINER = False
# Why sandboxes are disabled; empty if they are enabled.
TASKHUB_SANDBOXES_OFF = ""
# Origins beside the hub's own whose pages may read and write (with a token), like http://localhost:3000.
TASKHUB_ALLOWED_ORIGINS = env.origins("TASKHUB_ALLOWED_ORIGINS")
KNOX_TOKEN_MODEL = "taskhub.ApiToken"  # noqa: S105 - the name of a model
# knox would create a table for its own token model, which would never be flushed.
MIGRATION_MODULES = {"knox": None}
REST_KNOX = {
    "TOKEN_MODEL": KNOX_TOKEN_MODEL,
    "AUTH_HEADER_PREFIX": "Bearer",
    "TOKEN_TTL": timedelta(days=90),  # of tokens that are created without an expiry
}

# The streams have rules of their own (taskhub/web/cors.py). No cookies: an allowed page sends a token.
CORS_ALLOWED_ORIGINS = TASKHUB_ALLOWED_ORIGINS
CORS_URLS_REGEX = (
    r"^/(?:api/(?!events/stream/?$|exec/logs/[^/]+/stream/?$)|mcp/?$|oauth/(?:token|revoke|register)$"
    r"|\.well-known/oauth-)"
)
CORS_ALLOW_HEADERS = [
    *default_headers,
    *("cache-control", "idempotency-key", "if-match", "if-none-match", "last-event-id", "taskhub-lease"),
    *("traceparent", "tracestate", "x-request-id"),
    *("mcp-protocol-version", "mcp-session-id", "mcp-method", "mcp-name"),
]
CORS_EXPOSE_HEADERS = [
    *("Accept-Ranges", "Content-Disposition", "Content-Range", "ETag", "Retry-After", "WWW-Authenticate"),
    *("TaskHub-Lease", "X-Request-ID"),
]

REST_FRAMEWORK = {
    "DEFAULT_AUTHENTICATION_CLASSES": [
        "taskhub.api.authentication.BearerAuthentication",
        "taskhub.api.authentication.SessionAuthentication",
    ],
    "DEFAULT_PERMISSION_CLASSES": ["taskhub.api.permissions.RoleAllows"],
    "DEFAULT_THROTTLE_CLASSES": [
        "taskhub.api.throttles.AddressThrottle",
        "taskhub.api.throttles.AccountThrottle",
    ],
    "DEFAULT_PARSER_CLASSES": ["taskhub.api.parsers.ShallowJSONParser"],
    "DEFAULT_RENDERER_CLASSES": ["taskhub.api.renderers.JSONRenderer"],
    "DEFAULT_PAGINATION_CLASS": "taskhub.api.pagination.NewestFirst",
    "DEFAULT_SCHEMA_CLASS": "drf_spectacular.openapi.AutoSchema",
    "EXCEPTION_HANDLER": "taskhub.api.errors.answer",
    "URL_FORMAT_OVERRIDE": None,  # the format is negotiated by Accept only
    "UNAUTHENTICATED_USER": "django.contrib.auth.models.AnonymousUser",
}

# --- Jobs; the periodic ones are in `config/settings/jobs.py` ----------------------------------------
CELERY_BROKER_URL = env.celery_broker_url(env.secret("TASKHUB_BROKER_URL", REDIS_URL))
CELERY_BROKER_CONNECTION_RETRY_ON_STARTUP = True
CELERY_BROKER_CONNECTION_MAX_RETRIES = None
# The database is authoritative: the next reconciliation sends a job that could not be sent.
CELERY_TASK_PUBLISH_RETRY = False
CELERY_TASK_IGNORE_RESULT = True
CELERY_WORKER_PREFETCH_MULTIPLIER = 1
CELERY_WORKER_HIJACK_ROOT_LOGGER = False
CELERY_BROKER_TRANSPORT_OPTIONS = {
    "socket_connect_timeout": 1,
    "socket_timeout": 1,
    # A worker removes a job from Redis when it takes it; if the worker dies, the reconciliation sends the job again.
    # Kombu's acknowledgement tracking would return it an hour later, and a worker with unacknowledged jobs fails with
    # an AttributeError when Redis goes away (kombu 5.7).
    "ack_emulation": False,
}
CELERY_TIMEZONE = "UTC"

# --- Logs and traces ---------------------------------------------------------------------------------
LOGGING = logging_to_console(form="plain")
TASKHUB_TRACING = env.traces_wanted()
