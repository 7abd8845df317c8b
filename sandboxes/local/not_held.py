"""Refusals of what a sandbox of this server cannot hold, each in a sentence: nothing is dropped silently."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from sandboxes.local.errors import ControlError
from sandboxes.local.options import Options

_SIZES = ("cpu", "memory", "disk")
_NOT_HERE = {
    "buildInfo": "images and Dockerfiles",
    "gpu": "GPUs",
    "gpuType": "GPUs",
    "networkAllowList": "lists of addresses and domains",
    "domainAllowList": "lists of addresses and domains",
    "volumes": "volumes",
    "secrets": "secrets",
    "linkedSandbox": "linked sandboxes",
}


def refuse_what_is_not_held(options: Options, body: object, *, closes_network: bool) -> None:
    """`closes_network`: whether a sandbox can be cut off the network here. Raises ControlError 400."""
    if not isinstance(body, dict):
        return  # what reads the body says so
    for field, words in _NOT_HERE.items():
        # An empty list, or 0, asks for nothing: the SDK sends such ones.
        if body.get(field):
            raise _not_held(words)
    if any(body.get(field) is not None for field in _SIZES) and not options.sizes_not_held:
        raise _not_held("sizes of its own")
    if body.get("networkBlockAll") is True and not closes_network:
        raise _not_held("network to close without bubblewrap")


def snapshot_folder(options: Options, body: Mapping[str, Any]) -> Path | None:
    """The folder that the new sandbox's home is copied from. Raises ControlError 400 where there is none."""
    name = body.get("snapshot")
    if not isinstance(name, str) or not name:
        return None
    folder = options.snapshots / name
    if Path(name).name != name or name in {".", ".."} or not folder.is_dir():
        raise ControlError(400, f"Snapshot {name} not found. Make the folder snapshots/{name} in the data folder.")
    return folder


def _not_held(words: str) -> ControlError:
    return ControlError(400, f"The local sandbox server has no {words}")
