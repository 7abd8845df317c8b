"""Search of a whole log: how many lines match, which ones, and what looks like an error."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import pytest
from asgiref.sync import async_to_sync
from django.core.files.storage import default_storage

from taskhub.executions import log_reading
from taskhub.executions.executor import LogLine
from taskhub.executions.log_archive import LogSpool
from taskhub.executions.log_index import SUFFIX
from taskhub.executions.log_search import Found, log_search
from taskhub.models import Execution

BEGAN = datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)
EXECUTION = Execution(status="completed", log_file="logs/task-of-a-search.log")


@pytest.fixture(autouse=True)
def no_log_is_there() -> None:
    for name in (EXECUTION.log_file, EXECUTION.log_file + SUFFIX):
        default_storage.delete(name)


def kept(*lines: str, stream: Any = "stdout") -> None:
    spool = LogSpool()
    spool.add([LogLine(n, stream, line, BEGAN) for n, line in enumerate(lines, start=1)])
    spool.finish()
    spool.store(EXECUTION.log_file)
    spool.close()


def search(q: str = "", *, kind: Any = "text", first: int = 1, limit: int = 1000) -> Found:
    return async_to_sync(log_search)(EXECUTION, kind=kind, q=q, first=first, limit=limit)


def test_all_matches_are_counted_and_the_first_ones_named() -> None:
    kept(*(f"line {n}" for n in range(1, 20_001)))
    found = search("LINE 777")
    assert found == Found(11, [777, *range(7770, 7780)], None, 20_000)
    assert search("line", limit=3) == Found(20_000, [1, 2, 3], None, 20_000)
    assert search("line", first=19_999) == Found(2, [19_999, 20_000], None, 20_000)
    assert search("nothing of it") == Found(0, [], None, 20_000)
    assert search("line", first=20_001) == Found(0, [], None, 20_000)


def test_search_that_takes_too_long_is_continued(monkeypatch: pytest.MonkeyPatch) -> None:
    kept(*(f"line {n}" for n in range(1, 1001)))
    monkeypatch.setattr(log_reading, "SEARCH_CHARS", 1)  # each request looks at one block alone
    first: int | None = 1
    count, matches, requests = 0, [], 0
    while first is not None:
        found = search("7", first=first)
        count += found.count
        matches += found.matches
        first = found.next
        requests += 1
    assert matches == [n for n in range(1, 1001) if "7" in str(n)]
    assert (count, requests) == (len(matches), 4)


def test_case_accents_and_colours_are_ignored() -> None:
    kept("plain", "\x1b[31mÜber\x1b[0mall", "uber\x1b]0;a title\x07ALL", "\x1b[1mbold\x1b[0m", "überal")
    assert search("uberall").matches == [2, 3]
    assert search("ÜBERALL").matches == [2, 3]
    assert search("[31m").matches == []


def test_lines_after_an_unfinished_sequence_keep_their_numbers() -> None:
    kept("a \x1b]0;never ended", "b", "a")
    assert search("b").matches == [2]
    assert search("a").matches == [1, 3]


def test_lines_of_stderr_are_found() -> None:
    kept("a", "b", stream="stderr")
    assert search(kind="stderr") == Found(2, [1, 2], None, 2)
    kept("a")
    assert search(kind="stderr") == Found(0, [], None, 1)


def test_log_that_was_not_kept_has_no_matches() -> None:
    assert search("a") == Found(0, [], None, 0)


ERRORS = [
    "ERROR: it does not work",
    "ValueError: invalid literal",
    "java.lang.NullPointerException: null",
    "Traceback (most recent call last):",
    "fatal: not a git repository",
    "panic: runtime error: index out of range",
    "3 failed, 12 passed",
    "make: *** [all] Error 2",
    "##[error]Process completed with exit code 1.",
    "\x1b[31mError\x1b[0m in step 3",
    "level=error msg=gone",
    "10 errors generated",
    "bash: foo: command not found",
    "Segmentation fault (core dumped)",
]
NO_ERRORS = [
    "0 errors, 0 warnings",
    "12 passed, 0 failed",
    "no errors found",
    "without errors",
    "errors: 0",
    "error=None",
    "error=null",
    '{"ok": true, "error": null}',
    '{"errors":0}',
    "reading errors.py and error.log",
    "on_error is called, --no-error too, src/error/x",
    "errors_total 5",
    "terrific",
    "unfailed",
]


@pytest.mark.parametrize("line", ERRORS)
def test_line_looks_like_an_error(line: str) -> None:
    kept("before", line, "after")
    assert search(kind="error").matches == [2]


@pytest.mark.parametrize("line", NO_ERRORS)
def test_line_does_not_look_like_an_error(line: str) -> None:
    kept("before", line, "after")
    assert search(kind="error").matches == []
