"""Gate: a pipe at which children wait until the launcher has made the database ready.

They load their code meanwhile. The end of the pipe, which nothing was written to, lets them go on; so does the end of
the launcher. Bytes turn them away.
"""

from __future__ import annotations

import os
import sys
from typing import Final, Self

GATE: Final = "TASKHUB_GATE"
"""Environment variable of the children: the pipe's descriptor."""
_MANY: Final = 64
"""A byte for each child that waits."""


class Gate:
    """The launcher's side. `descriptor` is what the children inherit."""

    def __init__(self) -> None:
        self.descriptor, self._ours = os.pipe()

    def open(self) -> None:
        """Let those go on who wait; a child that is started later does not wait."""
        if self._ours >= 0:
            os.close(self._ours)
            self._ours = -1

    def turn_away(self) -> None:
        """End those who still wait: there is nothing to go on with."""
        if self._ours >= 0:
            os.write(self._ours, bytes(_MANY))

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.open()
        os.close(self.descriptor)


def wait_at_gate() -> None:
    """A child's side: return when the gate is open; at once where there is none. Raises SystemExit."""
    descriptor = os.environ.get(GATE)
    if descriptor and os.read(int(descriptor), 1):
        sys.exit(0)
