"""Log formatter: text, or one JSON object per line; always redacted.

`redaction.py` redacts messages when records are created. All other parts of a record (context, fields, tracebacks)
are redacted here, value by value and before they are written as JSON: redacting afterwards could remove a quotation
mark together with a secret.

This module is loaded with the setting LOGGING, before the apps are ready: it imports no models.
"""

from __future__ import annotations

import json
import logging
import traceback
from datetime import UTC, datetime
from typing import Any, Final, Literal

from structlog.contextvars import merge_contextvars
from structlog.stdlib import ExtraAdder, ProcessorFormatter
from structlog.typing import Processor

from taskhub.lib.database_errors import passing_trouble, without_rows
from taskhub.lib.timestamps import iso
from taskhub.observability.redaction import Scrubbed, scrub

Form = Literal["plain", "json"]
Fields = dict[str, Any]

_CLEAN: Final = frozenset({"timestamp", "level", "logger", "event", "exception"})
REQUEST_FIELDS: Final = ("method", "path", "status", "duration_ms")
_SHOWN_IN_PLAIN: Final = ("request_id", "user", "job")
# Records must fit readers that cut longer lines: journald at 48 KiB, the launcher at 64 KiB.
_EVENT_MOST: Final = 8_000
_VALUE_MOST: Final = 1_000
_EXCEPTION_MOST: Final = 24_000


class LineFormatter(ProcessorFormatter):
    """`form` is the format; `traced` adds the ids of the current trace and span."""

    def __init__(self, form: Form, *, traced: bool = False) -> None:
        super().__init__(
            foreign_pre_chain=[
                _head,
                merge_contextvars,
                ExtraAdder(allow=REQUEST_FIELDS),
                *([_trace_ids()] if traced else []),
                _exception,
            ],
            processors=[ProcessorFormatter.remove_processors_meta, _scrubbed, _as_json if form == "json" else _as_text],
        )
        self._write = _as_json if form == "json" else _as_text

    def format(self, record: logging.LogRecord) -> str:
        """Never fails: otherwise logging would print its own error to stderr, unformatted."""
        try:
            return super().format(record)
        except Exception as error:  # noqa: BLE001 - the boundary of logging: logging must not fail
            event = f"a record that cannot be formatted ({type(error).__name__}) from {record.pathname}:{record.lineno}"
            return self._write(None, "", {**_named(record), "event": event})


def _named(record: logging.LogRecord) -> Fields:
    moment = datetime.fromtimestamp(record.created, UTC)
    return {"timestamp": iso(moment), "level": record.levelname.lower(), "logger": record.name}


def _head(_: Any, __: str, event_dict: Any) -> Fields:
    return {**_named(event_dict["_record"]), **event_dict}


def _exception(_: Any, __: str, event_dict: Any) -> Fields:
    """The end of the traceback, where the error is."""
    exc_info, stack = event_dict.pop("exc_info", None), event_dict.pop("stack_info", None)
    parts = [_traceback(exc_info[1])] if exc_info and exc_info[1] else []
    if stack:
        parts.append(stack)
    if parts:
        event_dict["exception"] = scrub("\n".join(parts))[-_EXCEPTION_MOST:]
    fields: Fields = event_dict
    return fields


def _traceback(error: BaseException) -> str:
    """As Python prints it, but each message ends before the rows that PostgreSQL quotes; what follows it is kept."""
    printed = traceback.TracebackException.from_exception(error)
    waiting = [printed]
    while waiting:
        each = waiting.pop()
        each._str = without_rows(str(each))  # type: ignore[attr-defined]  # noqa: SLF001 - the class has no other way
        waiting += [linked for linked in (each.__cause__, each.__context__, *(each.exceptions or ())) if linked]
    return "".join(printed.format()).rstrip()


def _trace_ids() -> Processor:
    from taskhub.observability.tracing.current import current_ids  # noqa: PLC0415 - a process without traces never loads it

    return lambda _, __, event_dict: {**event_dict, **current_ids()}


def _scrubbed(_: Any, __: str, event_dict: Any) -> Fields:
    """All fields except those that are redacted already: the message by its record, the exception above."""
    event_dict["event"] = event_dict["event"][:_EVENT_MOST]
    texts = {name: str(value) for name, value in event_dict.items() if name not in _CLEAN and not _is_number(value)}
    together = "\n".join(texts.values())
    if scrub(together) != together:  # rare, and one check is cheaper than one for each
        texts = {name: scrub(text) for name, text in texts.items()}
    return {**event_dict, **{name: text[:_VALUE_MOST] for name, text in texts.items()}}


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float)


def _as_json(_: Any, __: str, fields: Any) -> str:
    """ASCII only, safe for terminals and for cut lines."""
    return Scrubbed(json.dumps(fields))


def _as_text(_: Any, __: str, fields: Any) -> str:
    line = f"{fields['timestamp']} {fields['level'].upper()} {fields['logger']}: {fields['event']}"
    shown = [f" {name}={fields[name]}" for name in _SHOWN_IN_PLAIN if name in fields]
    trace = f"\n{fields['exception']}" if "exception" in fields else ""
    return Scrubbed(line + "".join(shown) + trace)


_TOLD: Final = "_taskhub_refusal_told"
"""Attribute of a request: the record that says why it was refused."""


class OneLineForARefusal(logging.Filter):
    """Django logs a refused request (4xx) twice, or with a traceback like an internal error; this keeps one record.

    `requests_told`: every request has a record of its own, so Django's is dropped unless it has a reason.
    """

    def __init__(self, *, requests_told: bool) -> None:
        super().__init__()
        self._requests_told = requests_told

    def filter(self, record: logging.LogRecord) -> bool:
        if not record.name.startswith(("django.request", "django.security")):
            return True
        if getattr(record, "status_code", 500) >= 500:  # noqa: PLR2004 - Internal Server Error
            # While the database is away every request fails; `database_unavailable` logs a line for each.
            return not (record.exc_info and record.exc_info[1] and passing_trouble(record.exc_info[1]))
        request: Any = getattr(record, "request", None)
        if record.name == "django.request" and (self._requests_told or getattr(request, _TOLD, record) is not record):
            return False
        if request is not None:
            setattr(request, _TOLD, record)
        record.exc_info = record.exc_text = None
        # A client's mistake. Where requests have lines of their own, this one says why, and may be searched for.
        level = logging.WARNING if self._requests_told else logging.INFO
        record.levelno, record.levelname = level, logging.getLevelName(level)
        return True
