"""Reading Server-Sent Events in tests, over a real connection."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import httpx


@dataclass
class Frame:
    """One event, or one comment, as it came."""

    event: str = "message"
    id: str = ""
    data: str = ""
    comment: str = ""

    @property
    def number(self) -> int:
        """Of an event about tasks: its place among them."""
        return int(self.id.removeprefix("tasks:"))

    def json(self) -> Any:
        return json.loads(self.data)


def parse(lines: Iterator[str]) -> Iterator[Frame]:
    frame = Frame()
    data: list[str] = []
    for line in lines:
        if line.startswith(":"):
            yield Frame(comment=line[1:].strip())
        elif not line:
            assert data, "a block without data: some clients take it for an event"
            frame.data = "\n".join(data)
            yield frame
            frame, data = Frame(), []
        else:
            field, _, value = line.partition(":")
            value = value.removeprefix(" ")
            if field == "data":
                data.append(value)
            elif field in {"event", "id"}:
                setattr(frame, field, value)


@contextmanager
def open_stream(url: str, *, timeout_s: float = 90.0, **options: Any) -> Iterator[Iterator[Frame]]:
    """Frames as they come; a silence longer than `timeout_s` fails the test."""
    with httpx.stream("GET", url, timeout=httpx.Timeout(timeout_s), **options) as response:
        assert response.status_code == 200, response.read()
        assert response.headers["content-type"] == "text/event-stream; charset=utf-8"
        yield parse(response.iter_lines())


def until(frames: Iterator[Frame], wanted: Any, *, within_s: float = 90.0) -> list[Frame]:
    """All events up to the first for which `wanted(frame)` holds, that one included."""
    seen = []
    deadline = time.monotonic() + within_s
    for frame in frames:
        if frame.data:  # a busy machine takes its time, and keepalives come in between
            seen.append(frame)
            if wanted(frame):
                return seen
        # Looked at with every frame, keepalives included; a silent stream ends by the time limit of its reads.
        if time.monotonic() > deadline:
            raise AssertionError(f"not within {within_s} s; the last frames are {seen[-5:]}")
    raise AssertionError(f"the stream ended after {seen}")
