"""The two streams of a log, from bytes with markers: nothing waits that need not, however they come."""

from __future__ import annotations

import itertools

from hypothesis import given
from hypothesis import strategies as st

from sandboxes.gateway.toolbox import Demultiplexer
from sandboxes.log_follower import unmarked

OUT, ERR = b"\x01\x01\x01", b"\x02\x02\x02"


def test_short_line_does_not_wait_for_the_next() -> None:
    assert Demultiplexer().feed(OUT + b"a\n") == [("stdout", "a\n")]


def test_what_comes_before_any_marker_is_dropped() -> None:
    assert Demultiplexer().feed(b"x" + ERR + b"y") == [("stderr", "y")]


def test_half_a_character_waits_for_its_other_half() -> None:
    demultiplexer = Demultiplexer()
    assert demultiplexer.feed(OUT + b"\xc3") == []
    assert demultiplexer.feed(ERR + b"e" + OUT + b"\xa9") == [("stderr", "e"), ("stdout", "é")]
    assert demultiplexer.finish() == []


def joined(pieces: list[tuple[str, str]]) -> dict[str, str]:
    return {stream: "".join(text for each, text in pieces if each == stream) for stream in ("stdout", "stderr")}


parts = st.lists(st.sampled_from([OUT, ERR, b"\x01", b"\x02", b"a", b"\n", "é".encode()]), max_size=20).map(b"".join)


@given(parts, st.data())
def test_any_cutting_gives_what_a_snapshot_gives(data: bytes, draw: st.DataObject) -> None:
    places = sorted(draw.draw(st.lists(st.integers(0, len(data)), max_size=6)))
    demultiplexer = Demultiplexer()
    pieces = [
        piece
        for start, stop in itertools.pairwise([0, *places, len(data)])
        for piece in demultiplexer.feed(data[start:stop])
    ]
    assert joined([*pieces, *demultiplexer.finish()]) == joined(list(unmarked(data.decode())))
