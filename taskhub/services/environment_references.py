"""Validation of what an environment names at the sandbox service: entries of its vault, and volumes."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from typing import Final

from taskhub.executions.file_paths import is_inside
from taskhub.models import EnvironmentSpec
from taskhub.models.environment import TASK_PLACE, Volume
from taskhub.services.execution_inputs import BASH_KEEPS, ENV_NAME

SECRETS_MOST: Final = 50
VOLUMES_MOST: Final = 10
MOUNT_LENGTH: Final = 500
ENTRY_NAME_PATTERN: Final = r"[A-Za-z0-9_\-]{1,100}"
"""Of an entry in the vault, as Daytona has it."""
_SECRET_NAME: Final = re.compile(rf"{ENTRY_NAME_PATTERN}\Z")
_VOLUME_NAME: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9._\-]{0,99}\Z")
_MOUNT_PATH: Final = re.compile(r"(?:/[A-Za-z0-9._\-]+)+\Z")
_SYSTEM: Final = frozenset(
    {"bin", "boot", "dev", "etc", "lib", "lib32", "lib64", "libx32", "proc", "run", "sbin", "sys", "tmp", "usr"}
)
"""Folders at the root in which Daytona mounts nothing, or a sandbox has its own."""


def wrong_names(names: Iterable[str]) -> str:
    """What is wrong with names of variables; "" for nothing, as everywhere here."""
    wrong = sorted(name for name in names if name in BASH_KEEPS or not ENV_NAME.match(name))
    return f"Not a name that a script may set: {', '.join(wrong)[:200]}" if wrong else ""


def wrong_references(spec: EnvironmentSpec) -> dict[str, str]:
    """By field."""
    wrong = {}
    if words := _wrong_volumes(spec.volumes):
        wrong["volumes"] = words
    if words := _wrong_secret_names(spec):
        wrong["secrets"] = words
    unknown = sorted(set(spec.any_host) - set(spec.secrets.values()))
    if unknown:
        wrong["any_host"] = f"Not among the names in secrets: {', '.join(unknown)[:200]}."
    return wrong


def _wrong_secret_names(spec: EnvironmentSpec) -> str:
    if len(spec.secrets) > SECRETS_MOST:
        return f"At most {SECRETS_MOST} secrets."
    if words := wrong_names(spec.secrets):
        return words
    for name in spec.secrets.values():
        if not _SECRET_NAME.match(name):
            return f"Not a name in the vault (letters, digits, - and _): {name[:100]}"
    both = sorted(set(spec.secrets) & set(spec.env))
    return f"Also in env: {', '.join(both)[:200]}. Give a variable one value." if both else ""


def _wrong_volumes(volumes: Sequence[Volume]) -> str:
    if len(volumes) > VOLUMES_MOST:
        return f"At most {VOLUMES_MOST} volumes."
    paths = [volume.mount_path.split("/") for volume in volumes]
    if any(a == b[: len(a)] for n, a in enumerate(paths) for m, b in enumerate(paths) if n != m):
        return "A mount_path is given twice, or is below another one."
    return next(filter(None, map(_wrong_volume, volumes)), "")


def _wrong_volume(volume: Volume) -> str:
    if not _VOLUME_NAME.match(volume.name):
        return f"Not a volume's name: {volume.name[:100]}"
    path, first = volume.mount_path, volume.mount_path.split("/")[1:2]
    if not _MOUNT_PATH.match(path) or {".", ".."} & set(path.split("/")):
        return f"A mount_path must be absolute, as /data: letters, digits, - . _ only, not {path[:100]}"
    if set(first) & _SYSTEM:
        return f"A mount_path must not be in a folder of the system: {path[:100]}"
    subpath = volume.subpath.replace(TASK_PLACE, "task")
    if subpath and not (is_inside(subpath) and _MOUNT_PATH.match(f"/{subpath}")):
        words = f"A subpath must be relative, as tasks/{TASK_PLACE}, without . and .., with the letters of a mount_path"
        return f"{words}, not {volume.subpath[:100]}"
    return ""


def warnings_of(spec: EnvironmentSpec) -> list[str]:
    """What is allowed, and may not be what was meant."""
    shared = [volume for volume in spec.volumes if TASK_PLACE not in volume.subpath]
    return [
        f"Every script in this environment reads and changes {_part(volume)} {volume.name}; a subpath as "
        f"tasks/{TASK_PLACE} gives each task a folder of its own."
        for volume in shared
    ]


def _part(volume: Volume) -> str:
    return f"the folder {volume.subpath} of the volume" if volume.subpath else "all of the volume"
