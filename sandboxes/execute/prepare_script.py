"""An environment's prepare as it goes into a sandbox: into one of the hub's own, or before a script that needs it.

A sandbox that is prepared has a mark of what was done, and so has each one that is made from its snapshot. So prepare
runs once in a sandbox, whatever that was made from, and whichever try made it.
"""

from __future__ import annotations

import json
import shlex
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from hashlib import sha256
from pathlib import Path
from typing import Self

from taskhub.models import EnvironmentSpec

MARKS = ".taskhub/prepared"
"""The file with the marks, relative to the sandbox's working directory."""


@dataclass(frozen=True, slots=True)
class PrepareScript:
    """A bash script, its variables, and the names of those that it must not see: what is a secret's."""

    script: str
    env: Mapping[str, str] = field(repr=False)
    withheld: Sequence[str] = ()

    @classmethod
    def of(cls, spec: EnvironmentSpec) -> Self:
        return cls(spec.prepare, spec.env, sorted(spec.secrets))

    @property
    def mark(self) -> str:
        """The same for the same script with the same variables."""
        return sha256(json.dumps([self.script, dict(self.env)], sort_keys=True).encode()).hexdigest()

    def files(self, **also: str) -> Iterator[tuple[str, bytes]]:
        """What `prepare.sh` needs in its folder, by name; `also`: further variables."""
        exports = "".join(f"export {name}={shlex.quote(value)}\n" for name, value in {**self.env, **also}.items())
        hidden = f"unset {shlex.join(self.withheld)}\n" if self.withheld else ""
        yield "prepare", self.script.encode()
        yield "prepare.env", f"{hidden}{exports}".encode()
        yield "prepare.sh", (Path(__file__).parent / "prepare.sh").read_bytes()
