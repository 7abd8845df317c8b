r"""The runner's marks in a log: found, understood, and taken out.

A mark is a control string that terminals do not show: ESC `_`, a token, a letter, words, ESC `\`. The token is random
for each execution (`LogTokens`), so text of the script's is never taken for a mark. The letters:

    E code changes files reason    the end, behind the last character of a stream, and with a newline of its own
    F number                       there are changes of files up to this number
    P, then text                   the line that has not ended yet
    C commit                       what was checked out
    L                              checkout and setup are done, and the script waits for the network to be closed
    S seconds                      the script begins, at this time since 1970; ends an unfinished line of its stream

F and P come with a newline of their own, wherever they stand: what is before an F and behind it is one line. The first
C and the first S count, and no C behind S: a script may have found out the token.
The runner (`execute/attend.pl`, `execute/run.sh`) writes them.
"""

from __future__ import annotations

import re
from typing import Final

from sandboxes.gateway import Stream
from taskhub.executions.executor import CHECKOUT_FAILED, CheckedOut, LogTokens, ScriptBegun, ScriptEnd, WaitsForLock

MARK_CHARS: Final = 128
"""The longest mark that can stand behind other text on a line."""
# What stands behind a mark's token, up to the end of its line.
_END: Final = re.compile(r"E(\d{1,3}) (\d{1,9}) (\d{1,9}) ([a-z]+|-)\x1b\\\Z", re.ASCII)
_CHANGE: Final = re.compile(r"F(\d{1,9})\x1b\\\Z", re.ASCII)
_COMMIT: Final = re.compile(r"C([0-9a-f]{40,64})\x1b\\\Z", re.ASCII)
_LOCK: Final = "L\x1b\\"
_BEGUN: Final = re.compile(r"S(\d{1,12})\x1b\\\Z", re.ASCII)
BEGIN: Final = "\x1b_"
_REASONS: Final = frozenset({"killed", "interpreter", "prepare", "setup", "given", "git", *CHECKOUT_FAILED})


class LogMarks:
    """The marks of one reading of a log.

    `end` is there once both streams have said it; `partial` is what is shown of the line that each stream is in;
    `changes` the highest number of a change; `checked_out`, `waits` and `begun` what came before the script.
    """

    def __init__(self, tokens: LogTokens) -> None:
        self._run = f"{BEGIN}{tokens.run}"
        self._ends = f"{BEGIN}{tokens.end}"
        self._partial = f"{self._run}P\x1b\\"
        self._carried: dict[Stream, str] = {"stdout": "", "stderr": ""}
        self._over: set[Stream] = set()
        self.partial: dict[Stream, str] = {"stdout": "", "stderr": ""}
        self.changes = 0
        self.checked_out: CheckedOut | None = None
        self.waits: WaitsForLock | None = None
        self.begun: ScriptBegun | None = None
        self.end: ScriptEnd | None = None

    def strip(self, stream: Stream, lines: list[str], rest: str) -> tuple[list[str], str]:
        """The lines of a stream without marks; `rest` is what has no newline yet. Nothing counts behind the end."""
        if stream in self._over:
            return [], ""
        if not lines:
            return lines, rest
        kept: list[str] = []
        for line in lines:
            # Most lines hold no control string at all.
            if BEGIN in line and self._is_mark(stream, line, kept):
                if stream in self._over:
                    return kept, ""
                continue
            kept.append(self._carried[stream] + line if self._carried[stream] else line)
            self._carried[stream] = self.partial[stream] = ""
        if self._carried[stream]:
            rest, self._carried[stream] = self._carried[stream] + rest, ""
        return kept, rest

    def _is_mark(self, stream: Stream, line: str, kept: list[str]) -> bool:
        if self._run in line:
            if line.startswith(self._partial):
                self.partial[stream] = line.removeprefix(self._partial)
                return True
            start = line.rindex(self._run)
            if found := _CHANGE.match(line, start + len(self._run)):
                self.changes = max(self.changes, int(found[1]))
                self._carried[stream] += line[:start]
                return True
            if self._is_of_preparation(line, start + len(self._run)):
                self._end_line(stream, line[:start], kept)
                return True
        start = line.rfind(self._ends)
        if start >= 0 and (found := _END.match(line, start + len(self._ends))):
            self._end_line(stream, line[:start], kept)
            self._over.add(stream)
            if len(self._over) == len(self._carried):
                reason = found[4] if found[4] in _REASONS else ""
                self.end = ScriptEnd(int(found[1]), int(found[2]), int(found[3]), reason)
            return True
        return False

    def _is_of_preparation(self, line: str, start: int) -> bool:
        if found := _COMMIT.match(line, start):
            if self.checked_out is None and self.begun is None:
                self.checked_out = CheckedOut(found[1])
            return True
        if line.startswith(_LOCK, start):
            self.waits = WaitsForLock()
            return True
        if found := _BEGUN.match(line, start):
            self.begun = self.begun or ScriptBegun(int(found[1]))
            return True
        return False

    def _end_line(self, stream: Stream, text: str, kept: list[str]) -> None:
        if whole := self._carried[stream] + text:
            kept.append(whole)
        self._carried[stream] = self.partial[stream] = ""
