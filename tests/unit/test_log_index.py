"""The archive of a log: any line and any byte is found, with the time at which it was read."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from django.core.files.storage import default_storage
from hypothesis import HealthCheck, given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st

from taskhub.executions import log_archive
from taskhub.executions.executor import LogLine
from taskhub.executions.log_archive import LogSpool
from taskhub.executions.log_index import SUFFIX

BEGAN = datetime(2026, 1, 2, 3, 4, 5, 678_000, tzinfo=UTC)
NAME = "logs/task-of-these-tests.log"


@pytest.fixture(autouse=True)
def no_log_is_there() -> None:
    default_storage.delete(NAME)
    default_storage.delete(NAME + SUFFIX)


def kept(lines: list[LogLine], *batches: int) -> None:
    spool = LogSpool()
    start = 0
    for stop in [*batches, len(lines)]:
        spool.add(lines[start:stop])
        start = stop
    spool.finish()
    assert spool.store(NAME).lines == len(lines)
    spool.close()


made = st.lists(
    st.tuples(
        st.one_of(st.text(st.characters(exclude_characters="\n", exclude_categories=["Cs"]), max_size=5)),
        st.sampled_from(["stdout", "stderr"]),
        st.sampled_from([0, 1, 63, 64, 8191, 8192, 90_000_000]),
    ),
    max_size=30,
)


def as_lines(entries: list[tuple[str, str, int]]) -> list[LogLine]:
    at, lines = BEGAN, []
    for n, (text, stream, ms) in enumerate(entries, start=1):
        at += timedelta(milliseconds=ms)
        lines.append(LogLine(n, stream, text, at))  # type: ignore[arg-type]
    return lines


@given(made, st.data())
@hypothesis_settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_every_line_and_every_byte_is_found(entries: list[tuple[str, str, int]], data: st.DataObject) -> None:
    lines = as_lines(entries)
    text = "".join(f"{line.line}\n" for line in lines).encode()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("taskhub.executions.log_index._LINES", data.draw(st.integers(1, 5)))
        patch.setattr("taskhub.executions.log_index._BYTES", data.draw(st.integers(1, 20)))
        kept(lines)
    after = data.draw(st.integers(0, len(lines) + 1))
    assert list(log_archive.read(NAME, after=after)) == lines[after:]
    count = data.draw(st.integers(0, len(lines) + 1))
    assert log_archive.tail(NAME, count) == (lines[-count:] if count else [])
    start = data.draw(st.integers(0, len(text)))
    end = data.draw(st.integers(start, len(text)))
    with log_archive.open_log(NAME) as log:
        assert log is not None
        assert (log.lines, log.size) == (len(lines), len(text))
        assert b"".join(log.text(start, end)) == text[start:end]


def test_file_is_the_text_and_a_time_takes_about_a_byte() -> None:
    lines = [LogLine(n, "stdout", f"line {n}", BEGAN + timedelta(milliseconds=n // 10)) for n in range(1, 20_001)]
    kept(lines, 100, 5000)
    assert Path(default_storage.path(NAME)).read_text() == "".join(f"line {n}\n" for n in range(1, 20_001))
    assert default_storage.size(NAME + SUFFIX) < 20_001 * 1.2


def test_clock_that_is_set_back_does_not_count_backwards() -> None:
    times = [BEGAN, BEGAN - timedelta(hours=1), BEGAN + timedelta(milliseconds=5)]
    kept([LogLine(n, "stdout", "x", at) for n, at in enumerate(times, start=1)])
    assert [line.timestamp for line in log_archive.read(NAME)] == [BEGAN, BEGAN, times[2]]


def test_archive_of_the_first_release_is_read() -> None:
    path = Path(default_storage.path(NAME))
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(
        b"2025-06-22T10:00:00.123456Z stdout F one\n2025-06-22T10:00:01.000000Z stderr F  two \rx\n"
        b"2025-06-22T10:00:02.000000Z stdout F \n"
    )
    found = list(log_archive.read(NAME, after=1))
    assert [(line.n, line.stream, line.line) for line in found] == [(2, "stderr", " two \rx"), (3, "stdout", "")]
    assert found[0].timestamp == datetime(2025, 6, 22, 10, 0, 1, tzinfo=UTC)
    assert [line.n for line in log_archive.tail(NAME, 2)] == [2, 3]
    with log_archive.open_log(NAME) as log:
        assert log is not None
        assert (log.lines, log.size) == (3, 13)
        assert b"".join(log.text(2, 12)) == b"e\n two \rx\n"


@pytest.mark.parametrize("damage", ["missing", "cut", "of another text"])
def test_log_whose_index_is_lost_is_read_without_times(damage: str) -> None:
    kept(as_lines([("one", "stdout", 0), ("two", "stderr", 1)]))
    index = Path(default_storage.path(NAME + SUFFIX))
    if damage == "missing":
        index.unlink()
    elif damage == "cut":
        index.write_bytes(index.read_bytes()[:-1])
    else:
        Path(default_storage.path(NAME)).write_bytes(b"one\ntwo\nthree")
    lines = list(log_archive.read(NAME))
    assert [line.line for line in lines][:2] == ["one", "two"]
    assert {line.stream for line in lines} == {"stdout"}
    assert [line.line for line in log_archive.tail(NAME, 1)] == [lines[-1].line]


def test_lines_that_come_while_it_is_stored_are_left_out() -> None:
    """The reader of a log is still at work where a script could not be ended through its runner."""
    spool = LogSpool()
    lines = as_lines([("one", "stdout", 0), ("two", "stdout", 1)])
    spool.add(lines[:1])
    spool.finish()
    spool.add(lines)
    spool.cut("of a test")
    assert (spool.store(NAME).lines, list(log_archive.read(NAME))) == (1, lines[:1])
    spool.close()


def test_log_that_was_never_stored_is_empty() -> None:
    assert list(log_archive.read(NAME)) == []
    assert log_archive.tail(NAME, 3) == []
