"""Builds that are played, for tests: an image's states and its log. Nothing is built, and the sandbox has no image."""

import asyncio
from collections.abc import AsyncIterator
from dataclasses import dataclass, field

from sandboxes.local.logs import Pulse

_FAILING = ("false", "exit 1")


@dataclass
class Build:
    """The log of one image's build. `failed` is why it ended without an image, and None while it goes on."""

    dockerfile: str
    lines: list[str] = field(default_factory=list)
    ended: bool = False
    failed: str = ""
    grown: Pulse = field(default_factory=Pulse)

    async def play(self, pause_s: float) -> None:
        """A line for each instruction, after a pause each. `RUN false` and `RUN … exit 1` fail."""
        steps = [line.strip() for line in self.dockerfile.splitlines() if line.strip() and not line.startswith("#")]
        for n, step in enumerate(steps, start=1):
            self._say(f"Step {n}/{len(steps)} : {step}")
            await asyncio.sleep(pause_s)
            name, _, words = step.partition(" ")
            if name.upper() == "RUN" and words.endswith(_FAILING):
                self.failed = f"The command '{words}' returned a non-zero code: 1"
                self._say(self.failed)
                break
        else:
            self._say("Successfully built")
        self.ended = True
        self.grown.send()

    def _say(self, line: str) -> None:
        self.lines.append(line)
        self.grown.send()

    async def follow(self) -> AsyncIterator[str]:
        """Lines as they come, until the build has ended."""
        at = 0
        while True:
            while at < len(self.lines):
                yield self.lines[at]
                at += 1
            if self.ended:
                return
            await self.grown.wait()
