"""Database errors: which of them pass by themselves, and what of them may be told.

PostgreSQL adds the failing row (`DETAIL:`) and the statement's place (`CONTEXT:`) to an error. Rows hold scripts and
environments, so neither may reach a log, a trace or a response.
"""

from __future__ import annotations

import re
import sqlite3
from typing import Final

from django.db.utils import Error, IntegrityError, InterfaceError, OperationalError

RETRY_S: Final = 5
"""After how long a client is told to come again."""
LOCKED: Final = "Another transaction holds a lock for too long; try again."
_MESSAGES: Final = {
    "full": "The database's disk is full; an operator must free some space. Try again later.",
    "read-only": "The database takes no writes at present; try again.",
    "locked": LOCKED,
    "away": "The database does not answer; try again.",
}
_BY_SQLSTATE: Final = {
    "25006": "read-only",
    "53100": "full",
    "55P03": "locked",
    "57014": "locked",  # statement_timeout; most often it waited, too
    "40001": "locked",
    "40P01": "locked",
}
_BY_SQLITE_CODE: Final = {
    sqlite3.SQLITE_BUSY: "locked",
    sqlite3.SQLITE_LOCKED: "locked",
    sqlite3.SQLITE_FULL: "full",
    sqlite3.SQLITE_READONLY: "read-only",
    sqlite3.SQLITE_IOERR: "away",
    sqlite3.SQLITE_CANTOPEN: "away",
    sqlite3.SQLITE_NOMEM: "away",
    sqlite3.SQLITE_PROTOCOL: "locked",
}
_PRIMARY: Final = 0xFF
"""The lowest byte of SQLite's extended error code is the primary code."""
_WITH_ROWS: Final = re.compile(r"(?s)(?:\n|\\n)\s*(?:DETAIL|CONTEXT|LINE \d+):.*")


def passing_trouble(error: BaseException) -> str | None:
    """The message for the client if the error passes by itself (locked, gone, full); None for a mistake of ours.

    Takes errors of Django and, as their cause, those of psycopg and sqlite3.
    """
    kind = kind_of_trouble(error)
    return _MESSAGES[kind] if kind else None


def kind_of_trouble(error: BaseException) -> str | None:
    """`full`, `read-only`, `locked` or `away`; None for a mistake of ours."""
    if not isinstance(error, Error) or isinstance(error, IntegrityError):
        return None
    cause = error.__cause__
    if isinstance(cause, sqlite3.Error):
        code = getattr(cause, "sqlite_errorcode", None)
        return _BY_SQLITE_CODE.get(code & _PRIMARY) if code is not None else None
    sqlstate = getattr(cause, "sqlstate", None)
    if sqlstate in _BY_SQLSTATE:
        return _BY_SQLSTATE[sqlstate]
    return "away" if isinstance(error, OperationalError | InterfaceError) else None


def without_rows(text: str) -> str:
    """The text up to PostgreSQL's first `DETAIL:`, `CONTEXT:` or `LINE n:`, also where line ends are escaped.

    What follows cannot be told apart from the row, which may hold any text.
    """
    return _WITH_ROWS.sub("", text)
