"""Refusals of what a sandbox of this server cannot hold, each in a sentence: nothing is dropped silently."""

from dataclasses import dataclass
from typing import Any

from sandboxes.local.errors import ControlError
from sandboxes.local.options import Options

_NOT_HERE = {
    "buildInfo": "images and Dockerfiles",
    "gpu": "GPUs",
    "gpuType": "GPUs",
    "networkAllowList": "lists of addresses and domains",
    "domainAllowList": "lists of addresses and domains",
    "linkedSandbox": "linked sandboxes",
}


@dataclass(frozen=True, kw_only=True)
class Held:
    """What a sandbox can be held to on this machine: no network, volumes, so many CPUs, a limit of memory."""

    closes_network: bool
    mounts: bool
    cpus: int
    memory: bool


def refuse_what_is_not_held(options: Options, body: object, held: Held) -> None:
    """Raises ControlError 400."""
    if not isinstance(body, dict):
        return  # what reads the body says so
    for field, words in _NOT_HERE.items():
        # An empty list, or 0, asks for nothing: the SDK sends such ones.
        if body.get(field) and not (field == "buildInfo" and options.fake_builds):
            raise _not_held(words)
    if not options.sizes_not_held:
        _refuse_sizes(body, held)
    if body.get("networkBlockAll") is True and not held.closes_network:
        raise _not_held("network to close without bubblewrap")
    if body.get("volumes") and not held.mounts:
        raise _not_held("volumes without bubblewrap")


def _refuse_sizes(body: dict[str, Any], held: Held) -> None:
    """Disk is counted everywhere."""
    cpus = body.get("cpu")
    if isinstance(cpus, int) and cpus > held.cpus:
        raise _not_held(f"{cpus} CPUs, only {held.cpus}")
    if body.get("memory") is not None and not held.memory:
        raise _not_held("limits of memory without a writable cgroup")


def _not_held(words: str) -> ControlError:
    return ControlError(400, f"The local sandbox server has no {words}")
