"""What every profile shares. Values come from the environment by `config.env` alone."""

from __future__ import annotations

from datetime import timedelta
from pathlib import Path

import django_stubs_ext

from config import env

django_stubs_ext.monkeypatch()

BASE_DIR = Path(__file__).resolve().parents[2]
DATA_DIR = Path(env.text("TASKHUB_DATA_DIR", str(BASE_DIR / "var"))).resolve()

DEBUG = False
ROOT_URLCONF = "config.urls"
ASGI_APPLICATION = "config.asgi.application"

INSTALLED_APPS = [
    "daphne",  # before staticfiles: it gives `runserver` an ASGI server
    "django.contrib.admin",
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
    "drf_spectacular",
    "drf_spectacular_sidecar",
    "django_eventstream",
    "taskhub",
    "sandboxes",
]

MIDDLEWARE = [
    "django.middleware.security.SecurityMiddleware",
    "whitenoise.middleware.WhiteNoiseMiddleware",
    "corsheaders.middleware.CorsMiddleware",
    "django.contrib.sessions.middleware.SessionMiddleware",
    "django.middleware.common.CommonMiddleware",
    "django.middleware.csrf.CsrfViewMiddleware",
    "django.contrib.auth.middleware.AuthenticationMiddleware",
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
            ],
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

# The paths of both specifications work with and without a trailing slash by their own patterns.
APPEND_SLASH = False
DEFAULT_AUTO_FIELD = "django.db.models.BigAutoField"
LANGUAGE_CODE = "en"
USE_TZ = True
TIME_ZONE = "UTC"
STATIC_URL = "/static/"
STATIC_ROOT = BASE_DIR / "staticfiles"
STORAGES = {
    # Execution logs (`logs/task-<id>.log`) go through Django's storage API.
    "default": {"BACKEND": "django.core.files.storage.FileSystemStorage", "OPTIONS": {"location": DATA_DIR / "files"}},
    "staticfiles": {"BACKEND": "django.contrib.staticfiles.storage.StaticFilesStorage"},
}
# A script of 1 MiB, JSON-escaped at worst six-fold, with room for its other fields.
DATA_UPLOAD_MAX_MEMORY_SIZE = 8 * 1024 * 1024

# --- Redis: notifications and the broker -------------------------------------------------------------
REDIS_URL = env.secret("REDIS_URL", "redis://127.0.0.1:6379/0")

# --- Events ------------------------------------------------------------------------------------------
EVENTSTREAM_REDIS = {**env.redis_options(REDIS_URL), "socket_timeout": 2, "socket_connect_timeout": 1}
EVENTSTREAM_STORAGE_CLASS = "taskhub.events.storage.OutboxStorage"
EVENTSTREAM_CHANNELMANAGER_CLASS = "taskhub.events.channels.ChannelManager"
TASKHUB_EVENTS_KEEP = timedelta(days=env.integer("TASKHUB_EVENTS_KEEP_DAYS", 7, least=1))
TASKHUB_STREAM_LIMIT = env.integer("TASKHUB_STREAM_LIMIT", 10_000, least=1)
TASKHUB_STREAM_LIMIT_PER_CALLER = env.integer("TASKHUB_STREAM_LIMIT_PER_CALLER", 1000, least=1)
TASKHUB_STREAM_MAX_AGE_S = env.integer("TASKHUB_STREAM_MAX_AGE_S", 6 * 3600, least=10)

# Requests answered at once by a web process; each of these threads keeps a database connection.
TASKHUB_WEB_THREADS = env.integer("TASKHUB_WEB_THREADS", 8, least=1)

# --- Executions --------------------------------------------------------------------------------------
TASKHUB_EXECUTOR = "sandboxes.executor.SandboxExecutor"
TASKHUB_LOG_LIMIT_BYTES = env.integer("TASKHUB_LOG_LIMIT_BYTES", 10 * 1024 * 1024, least=1024)
TASKHUB_EXECUTION_TIMEOUT_S = env.integer("TASKHUB_EXECUTION_TIMEOUT_S", 3600, least=1, most=86_400)
TASKHUB_SANDBOX_KEEP_S = env.integer("TASKHUB_SANDBOX_KEEP_S", 600)

# --- Daytona (or the local sandbox server, which speaks the same) -------------------------------------
DAYTONA_API_KEY = env.secret("DAYTONA_API_KEY", "")
DAYTONA_API_URL = env.text("DAYTONA_API_URL", "https://app.daytona.io/api")
DAYTONA_TARGET = env.text("DAYTONA_TARGET", "")

CSRF_FAILURE_VIEW = "taskhub.api.errors.csrf_failure"
# --- Who may do what ---------------------------------------------------------------------------------
# True only in the local profile, which listens on loopback: then reading needs no token.
TASKHUB_OPEN_READING = False
KNOX_TOKEN_MODEL = "taskhub.ApiToken"  # noqa: S105 - the name of a model
# knox would make a table for its own token model all the same, and nothing would ever flush it.
MIGRATION_MODULES = {"knox": None}
REST_KNOX = {
    "TOKEN_MODEL": KNOX_TOKEN_MODEL,
    "AUTH_HEADER_PREFIX": "Bearer",
    "TOKEN_TTL": timedelta(days=90),  # of tokens that are made without saying how long they live
}

REST_FRAMEWORK = {
    "DEFAULT_AUTHENTICATION_CLASSES": [
        "taskhub.api.authentication.BearerAuthentication",
        "rest_framework.authentication.SessionAuthentication",
    ],
    "DEFAULT_PERMISSION_CLASSES": ["taskhub.api.permissions.ReadOpenlyOrAuthenticated"],
    "DEFAULT_PARSER_CLASSES": ["taskhub.api.parsers.ShallowJSONParser"],
    "DEFAULT_RENDERER_CLASSES": ["rest_framework.renderers.JSONRenderer"],
    "DEFAULT_PAGINATION_CLASS": "taskhub.api.pagination.NewestFirst",
    "DEFAULT_SCHEMA_CLASS": "drf_spectacular.openapi.AutoSchema",
    "EXCEPTION_HANDLER": "taskhub.api.errors.answer",
    "URL_FORMAT_OVERRIDE": None,  # what is sent is asked for by Accept alone
    "UNAUTHENTICATED_USER": "django.contrib.auth.models.AnonymousUser",
}

SPECTACULAR_SETTINGS = {
    "TITLE": "TaskHub",
    "DESCRIPTION": "Tasks, their executions in sandboxes, and everything live over Server-Sent Events.",
    "VERSION": "0.1.0",
    "SERVE_INCLUDE_SCHEMA": False,
    "SWAGGER_UI_DIST": "SIDECAR",
    "SWAGGER_UI_FAVICON_HREF": "SIDECAR",
    "REDOC_DIST": "SIDECAR",
    "COMPONENT_SPLIT_REQUEST": True,
    "SCHEMA_PATH_PREFIX": "/api/",
    "ENUM_NAME_OVERRIDES": {
        "TaskStatusEnum": "taskhub.models.task.TaskStatus",
        "TaskPriorityEnum": "taskhub.models.task.TaskPriority",
        "ExecutionStatusEnum": "taskhub.models.execution.ExecutionStatus",
    },
}

# --- Jobs --------------------------------------------------------------------------------------------
CELERY_BROKER_URL = env.celery_broker_url(REDIS_URL)
CELERY_BROKER_CONNECTION_RETRY_ON_STARTUP = True
CELERY_BROKER_CONNECTION_MAX_RETRIES = None
# The rows are the truth: a job that cannot be sent now is sent by the next reconciliation.
CELERY_TASK_PUBLISH_RETRY = False
CELERY_TASK_IGNORE_RESULT = True
CELERY_TASK_ACKS_LATE = True
CELERY_WORKER_PREFETCH_MULTIPLIER = 1
CELERY_WORKER_HIJACK_ROOT_LOGGER = False
CELERY_BROKER_TRANSPORT_OPTIONS = {"socket_connect_timeout": 1, "socket_timeout": 1}
CELERY_TIMEZONE = "UTC"
_RECONCILE_S = 1.0
CELERY_BEAT_SCHEDULE = {
    # `expires` drops a tick that found no free worker in time: skipped, never stacked.
    "reconcile executions": {
        "task": "taskhub.jobs.executions_reconcile",
        "schedule": _RECONCILE_S,
        "options": {"expires": 2 * _RECONCILE_S},
    },
    "trim events": {"task": "taskhub.jobs.events_trim", "schedule": 600.0, "options": {"expires": 600}},
    "expire tokens": {"task": "taskhub.jobs.tokens_expire", "schedule": 3600.0, "options": {"expires": 3600}},
    "release sandboxes": {"task": "taskhub.jobs.executions_release", "schedule": 30.0, "options": {"expires": 30}},
}

LOGGING = {
    "version": 1,
    "disable_existing_loggers": False,
    "formatters": {"plain": {"format": "%(asctime)s %(levelname)s %(name)s: %(message)s"}},
    "handlers": {"console": {"class": "logging.StreamHandler", "formatter": "plain"}},
    "root": {"handlers": ["console"], "level": "WARNING"},
    "loggers": {
        "taskhub": {"level": env.text("TASKHUB_LOG_LEVEL", "INFO").upper()},
        "sandboxes": {"level": env.text("TASKHUB_LOG_LEVEL", "INFO").upper()},
    },
}
