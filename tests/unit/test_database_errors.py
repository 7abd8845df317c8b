"""Errors of the database: which pass by themselves, and that no row is told."""

from __future__ import annotations

import io
import logging
import sqlite3

import psycopg
import pytest
from django.db import DatabaseError, DataError, IntegrityError, InterfaceError, InternalError, OperationalError
from django.db import ProgrammingError as WrongSQL
from psycopg import errors

from taskhub.lib.database_errors import passing_trouble, without_rows
from taskhub.observability.log_format import LineFormatter
from taskhub.observability.redaction import ScrubbedRecord

ROW = (
    "null value in column x\nDETAIL:  Failing row contains (1, echo a-secret\n\nTraceback\nb).\nCONTEXT:  SQL statement"
)


def caused(error: DatabaseError | InterfaceError, cause: Exception) -> DatabaseError | InterfaceError:
    error.__cause__ = cause
    return error


def sqlite_error(code: int) -> sqlite3.OperationalError:
    error = sqlite3.OperationalError("as SQLite says it")
    error.sqlite_errorcode = code
    return error


@pytest.mark.parametrize(
    ("error", "said"),
    [
        (caused(OperationalError("x"), errors.LockNotAvailable("x")), "lock"),
        (caused(OperationalError("x"), errors.QueryCanceled("x")), "lock"),
        (caused(OperationalError("x"), errors.DeadlockDetected("x")), "lock"),
        (caused(OperationalError("x"), errors.DiskFull("x")), "disk is full"),
        (caused(InternalError("x"), errors.ReadOnlySqlTransaction("x")), "no writes"),
        (caused(OperationalError("x"), errors.AdminShutdown("x")), "does not answer"),
        (caused(OperationalError("x"), errors.TooManyConnections("x")), "does not answer"),
        (caused(InterfaceError("x"), psycopg.InterfaceError("x")), "does not answer"),
        (caused(OperationalError("x"), sqlite_error(sqlite3.SQLITE_BUSY_SNAPSHOT)), "lock"),
        (caused(OperationalError("x"), sqlite_error(sqlite3.SQLITE_FULL)), "disk is full"),
        (caused(OperationalError("x"), sqlite_error(sqlite3.SQLITE_READONLY)), "no writes"),
        (caused(OperationalError("x"), sqlite_error(sqlite3.SQLITE_IOERR_WRITE)), "does not answer"),
    ],
)
def test_what_passes_is_told_with_its_reason(error: Exception, said: str) -> None:
    assert said in (passing_trouble(error) or "")


@pytest.mark.parametrize(
    "error",
    [
        caused(IntegrityError("x"), errors.NotNullViolation("x")),
        caused(DataError("x"), errors.NumericValueOutOfRange("x")),
        caused(WrongSQL("x"), errors.UndefinedTable("x")),
        caused(OperationalError("no such table: x"), sqlite_error(sqlite3.SQLITE_ERROR)),
        ValueError("x"),
    ],
)
def test_a_mistake_of_ours_stays_one(error: Exception) -> None:
    assert passing_trouble(error) is None


@pytest.mark.parametrize("text", [ROW, f"IntegrityError({ROW!r})", f"ERROR: x\nLINE 1: INSERT 'a-secret'\n{ROW}"])
def test_what_follows_a_quoted_row_is_not_told(text: str) -> None:
    assert without_rows(text) in {"null value in column x", "IntegrityError('null value in column x", "ERROR: x"}


def test_a_traceback_keeps_all_but_the_rows() -> None:
    written = io.StringIO()
    handler = logging.StreamHandler(written)
    handler.setFormatter(LineFormatter("plain"))
    try:
        try:
            raise errors.NotNullViolation(ROW)
        except psycopg.Error as cause:
            raise IntegrityError(*cause.args) from cause
    except IntegrityError as error:
        told = (type(error), error, error.__traceback__)
    for arguments in ((), (told[1],), (repr(told[1]),)):
        text = "a write failed" + ": %s" * len(arguments)
        handler.handle(ScrubbedRecord("some", logging.ERROR, __file__, 1, text, arguments, told))
    assert written.getvalue().count("The above exception was the direct cause") == 3
    assert "a-secret" not in written.getvalue()
    assert "Failing row" not in written.getvalue()
    assert written.getvalue().count("django.db.utils.IntegrityError: null value in column x\n") == 3
