"""Unfinished lines in the relay: shown to who watches an execution, without an id, and never kept."""

from __future__ import annotations

from django.utils import timezone

from taskhub.executions.executor import LogLine
from taskhub.executions.log_relay import Viewer
from taskhub.executions.shared_log import LogEnd, SharedLog


def line(text: str, *, partial: bool = False) -> LogLine:
    return LogLine(1, "stdout", text, timezone.now(), partial=partial)


async def test_unfinished_line_is_replaced_by_the_whole_one() -> None:
    shared = SharedLog()
    items = Viewer(shared, name="x", after=0, limited=True).items()
    shared.show_partial((line("name? ", partial=True),))
    frame = await anext(items)
    assert isinstance(frame, bytes)
    assert b'"line":"name? ","n":1,' in frame
    assert b'"partial":true' in frame
    assert b"\nid:" not in frame  # a client that comes back gets the whole line
    assert [found.partial for found in shared.tail(10)] == [True]
    shared.append([line("name? bob")])
    frame = await anext(items)
    assert isinstance(frame, bytes)
    assert b"\nid: x:1\n" in frame
    assert b"partial" not in frame
    assert [(found.line, found.partial) for found in shared.tail(10)] == [("name? bob", False)]
    shared.close()


async def test_command_of_a_sandbox_shows_whole_lines_only() -> None:
    """Spec 000 knows no others."""
    shared = SharedLog()
    shared.show_partial((line("name? ", partial=True),))
    shared.finish(LogEnd(exit_code=0))
    assert [item async for item in Viewer(shared, name="c", after=0).items()] == [LogEnd(exit_code=0)]
    shared.close()
