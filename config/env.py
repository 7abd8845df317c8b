"""Environment variables: typed readers; a bad value stops the start.

Every reader takes the variable's name. A secret may also come from a file: `NAME_FILE=/run/secrets/name` is read if
`NAME` itself is not set, as container platforms provide secrets.

Raises `ImproperlyConfigured` with the variable's name and the expected value; never with the value of a secret.
"""

from __future__ import annotations

import os
from pathlib import Path
from urllib.parse import parse_qsl, unquote, urlsplit

from django.core.exceptions import ImproperlyConfigured

_OWN_PORTS = {"http": 80, "https": 443}


def text(name: str, default: str | None = None) -> str:
    """The variable's value; required if there is no default."""
    value = os.environ.get(name, default)
    if value is None:
        raise ImproperlyConfigured(f"{name} must be set.")
    return value


def secret(name: str, default: str | None = None) -> str:
    """The variable's value, or the stripped content of the file that `{name}_FILE` names."""
    path = os.environ.get(f"{name}_FILE")
    if os.environ.get(name) or not path:
        return os.environ.get(name) or text(name, default)
    try:
        return Path(path).read_text(encoding="utf-8").strip()
    except OSError as error:
        raise ImproperlyConfigured(f"{name}_FILE cannot be read: {error.strerror}.") from None


def integer(name: str, default: int, *, least: int = 0, most: int | None = None) -> int:
    """A whole number from `least` to `most`, inclusive."""
    value = os.environ.get(name)
    if value is None:
        return default
    bounds = f"a whole number from {least}" + (f" to {most}" if most is not None else "")
    try:
        number = int(value)
    except ValueError:
        raise ImproperlyConfigured(f"{name} must be {bounds}, not {value!r}.") from None
    if number < least or (most is not None and number > most):
        raise ImproperlyConfigured(f"{name} must be {bounds}, not {number}.")
    return number


def flag(name: str) -> bool:
    """1 or 0; 0 if not set."""
    return bool(integer(name, 0, most=1))


def one_of(name: str, default: str, choices: tuple[str, ...]) -> str:
    """One of the choices."""
    value = os.environ.get(name, default)
    if value not in choices:
        raise ImproperlyConfigured(f"{name} must be {' or '.join(choices)}, not {value!r}.")
    return value


def traces_wanted() -> bool:
    """Whether OpenTelemetry's own variables name an endpoint, and do not disable the SDK."""
    endpoints = ("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT", "OTEL_EXPORTER_OTLP_ENDPOINT")
    disabled = os.environ.get("OTEL_SDK_DISABLED", "").strip().lower() == "true"
    return not disabled and any(os.environ.get(name) for name in endpoints)


def words(name: str, default: str = "") -> list[str]:
    """A list separated by commas; empty entries are dropped."""
    return [word.strip() for word in os.environ.get(name, default).split(",") if word.strip()]


def origins(name: str) -> list[str]:
    """A list of origins as browsers send them: `https://name[:port]`, in lower case, without the scheme's own port."""
    return [_origin(name, word) for word in words(name)]


def _origin(name: str, word: str) -> str:
    wrong = ImproperlyConfigured(f"{name} must be origins like https://app.example.com:8443, not {word!r}.")
    try:
        parts = urlsplit(word)
        port = parts.port
    except ValueError:
        raise wrong from None
    rest = (parts.path.removeprefix("/"), parts.query, parts.fragment, parts.username)
    if parts.scheme not in _OWN_PORTS or not parts.hostname or "*" in parts.hostname or any(rest):
        raise wrong
    host = f"[{parts.hostname}]" if ":" in parts.hostname else parts.hostname
    return f"{parts.scheme}://{host}" + (f":{port}" if port not in {None, _OWN_PORTS[parts.scheme]} else "")


def sqlite(path: str | Path) -> dict[str, object]:
    """Django's DATABASES entry for a file.

    WAL mode with IMMEDIATE transactions: concurrent writers wait for the lock (up to 20 s) instead of failing with
    "database is locked" if two of them have read first.
    """
    return {
        "ENGINE": "django.db.backends.sqlite3",
        "NAME": str(path),
        "CONN_MAX_AGE": None,
        "OPTIONS": {
            "transaction_mode": "IMMEDIATE",
            "timeout": 20,
            "init_command": "PRAGMA journal_mode=WAL; PRAGMA synchronous=NORMAL;",
        },
    }


def database(name: str, *, unless_set: dict[str, object] | None = None) -> dict[str, object]:
    """Django's DATABASES entry from `sqlite:///path` or `postgresql://user:password@host:port/name?option=value`."""
    if unless_set is not None and name not in os.environ and f"{name}_FILE" not in os.environ:
        return unless_set
    url = secret(name)
    parts = urlsplit(url)
    if parts.scheme == "sqlite":
        return sqlite(unquote(parts.path.removeprefix("/")))
    if parts.scheme in {"postgres", "postgresql"}:
        return {
            "ENGINE": "django.db.backends.postgresql",
            "NAME": unquote(parts.path.removeprefix("/")),
            "USER": unquote(parts.username or ""),
            "PASSWORD": unquote(parts.password or ""),
            "HOST": unquote(parts.hostname or ""),
            "PORT": str(parts.port or ""),
            # Requests run on a few permanent threads (taskhub/web/asgi_handler.py): each keeps its connection.
            "CONN_MAX_AGE": 300,
            "CONN_HEALTH_CHECKS": True,
            # Repeated statements are planned once per connection. A transaction pooler must support prepared statements
            # (PgBouncer from 1.21).
            "OPTIONS": {"server_side_binding": True, "prepare_threshold": 5, **_postgresql_options(parts.query)},
        }
    raise ImproperlyConfigured(f"{name} must begin with sqlite:/// or postgresql://.")


def _postgresql_options(query: str) -> dict[str, object]:
    """The URL's own options, and the time limits of a connection; those in the URL's `options` win."""
    given = dict(parse_qsl(query))
    limits_s = {
        "lock_timeout": integer("TASKHUB_DATABASE_LOCK_TIMEOUT_S", 5),
        "statement_timeout": integer("TASKHUB_DATABASE_STATEMENT_TIMEOUT_S", 30),
        "idle_in_transaction_session_timeout": integer("TASKHUB_DATABASE_IDLE_TIMEOUT_S", 60),
    }
    # libpq sends them when it connects, so they cost no statement. 0 sends nothing: a pooler may refuse `options`.
    set_ours = " ".join(f"-c {name}={seconds}s" for name, seconds in limits_s.items() if seconds)
    options = f"{set_ours} {given.pop('options', '')}".strip()
    return {**given, **({"options": options} if options else {})}


def redis_options(url: str) -> dict[str, object]:
    """`redis.Redis` arguments from `redis://[user:password@]host:port/db`, `rediss://…` or `unix:///path?db=0`.

    django-eventstream takes arguments instead of the URL.
    """
    parts = urlsplit(url)
    login = {
        "username": unquote(parts.username) if parts.username else None,
        "password": unquote(parts.password) if parts.password else None,
    }
    if parts.scheme == "unix":
        query = dict(parse_qsl(parts.query))
        return {"unix_socket_path": unquote(parts.path), "db": int(query.get("db", 0)), **login}
    if parts.scheme in {"redis", "rediss"}:
        return {
            "host": parts.hostname or "127.0.0.1",
            "port": parts.port or 6379,
            "db": int(parts.path.removeprefix("/") or 0),
            "ssl": parts.scheme == "rediss",
            **login,
        }
    raise ImproperlyConfigured("REDIS_URL must begin with redis://, rediss:// or unix://.")


def celery_broker_url(url: str) -> str:
    """The same Redis in the notation of Celery's transport (`redis+socket:///path?virtual_host=0`)."""
    parts = urlsplit(url)
    if parts.scheme != "unix":
        return url
    query = dict(parse_qsl(parts.query))
    return f"redis+socket://{parts.path}?virtual_host={query.get('db', 0)}"
