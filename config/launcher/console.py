"""What the launcher and its children say, as text for eyes or, with `TASKHUB_LOG_FORMAT=json`, as one object a line."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from typing import TextIO

from taskhub.lib.timestamps import iso


class Console:
    def __init__(self, *, as_json: bool) -> None:
        self._as_json = as_json

    def say(self, name: str, text: str) -> None:
        """A line of a child, or about it. What is an object already goes out as it is."""
        if not self._as_json:
            print(f"{name:>9} | {text}", flush=True)
        elif _is_object(text):
            print(text, flush=True)
        else:
            self._write(name, text)

    def announce(self, text: str, file: TextIO | None = None) -> None:
        """Words of the launcher's own, over several lines; as text they may go to another `file` than stdout."""
        if self._as_json:
            self._write("launcher", text.strip())
        else:
            print(text, file=file, flush=True)

    @staticmethod
    def _write(logger: str, event: str) -> None:
        line = {"timestamp": iso(datetime.now(UTC)), "level": "info", "logger": logger, "event": event}
        print(json.dumps(line), flush=True)


def _is_object(text: str) -> bool:
    try:
        return isinstance(json.loads(text), dict)
    except ValueError:
        return False
