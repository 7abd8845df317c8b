"""Sizes of sandboxes: what admission sums up."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any, Final, Literal, NamedTuple, Self, get_args

Resource = Literal["cpu", "memory", "disk"]
RESOURCES: Final[tuple[Resource, ...]] = get_args(Resource)
_MOST: Final = 1_000_000
"""Of any of them: what a service says above it is taken for no answer."""


class SandboxSize(NamedTuple):
    """CPUs, GiB of memory and GiB of disk."""

    cpu: int
    memory: int
    disk: int

    @classmethod
    def read(cls, document: Mapping[str, Any]) -> Self | None:
        """From Daytona's document of a sandbox; parts of a CPU or GiB count as whole ones. None: it does not say."""
        found = [document.get(name) for name in RESOURCES]
        if not all(isinstance(each, int | float) and 0 < each <= _MOST for each in found):
            return None
        return cls(*(math.ceil(float(each or 0)) for each in found))


USUAL_SIZE: Final = SandboxSize(cpu=1, memory=1, disk=3)
"""What Daytona, and the local sandbox server, give a sandbox for which no size is asked."""


class Lack(NamedTuple):
    """What a full service has too little of, and the most of it (CPUs, GiB) that it lets the hub's account have.

    None: it does not say.
    """

    resource: Resource
    most: int | None = None
