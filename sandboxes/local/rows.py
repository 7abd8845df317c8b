"""Sandbox row: the fields of Daytona's Sandbox, their types, and the row's file on disk."""

import json
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, Final
from uuid import uuid4

from sandboxes.local.disk import read_text, write_atomically
from sandboxes.local.errors import ControlError, timestamp

# The one organization that a local server has.
ORGANIZATION_ID: Final = "00000000-0000-4000-8000-000000000001"

STATES: Final = frozenset(
    {
        "creating",
        "restoring",
        "destroyed",
        "destroying",
        "started",
        "stopped",
        "starting",
        *("stopping", "error", "build_failed", "pending_build", "building_snapshot", "unknown", "pulling_snapshot"),
        *("archived", "archiving", "resizing", "snapshotting", "forking", "pausing", "paused", "resuming"),
    }
)
_SETTLED: Final = frozenset({"started", "stopped", "error", "build_failed"})

_STRINGS: Final = (
    *("name", "snapshot", "user", "target", "networkAllowList", "domainAllowList"),
    *("outboundProxyUrl", "otelEndpointOverride"),
)
_INTEGERS: Final = (
    *("cpu", "gpu", "memory", "disk", "autoStopInterval", "autoPauseInterval", "autoArchiveInterval"),
    *("autoDeleteInterval", "ttlMinutes", "queueTimeout"),
)
_SIZES: Final = ("cpu", "memory", "disk")
_BOOLEANS: Final = ("public", "networkBlockAll", "kvm", "spot")
_MAPS: Final = ("env", "labels")
# Empty when they come here (`not_held`), or kept by their stores (`volumes`, `vault`).
_IGNORED: Final = ("buildInfo", "volumes", "gpuType", "linkedSandbox", "secrets")
_DEFAULTS: Final[dict[str, Any]] = {
    "user": "daytona",
    "target": "us",
    "env": {},
    "labels": {},
    "public": False,
    "networkBlockAll": False,
    "kvm": False,
    "cpu": 1,
    "gpu": 0,
    "memory": 1,
    "disk": 3,
    "autoStopInterval": 15,
    "autoArchiveInterval": 10080,
    "autoDeleteInterval": -1,
}
# A list item has none of these.
_DETAILS: Final = ("env", "kvm", "volumes", "buildInfo")
# Daytona's document has no such fields.
_UNSEEN: Final = frozenset({"secrets", "held"})


@dataclass
class SandboxRow:
    """`fields` are those that the creator gave, under Daytona's names, with defaults filled in.

    `state` is the state as shown. It moves so:
    creating -> started; with a build: pending_build -> building_snapshot -> creating | build_failed;
    started -> stopping -> stopped; stopped -> starting -> started; stopped -> snapshotting -> stopped;
    started | stopped | error | build_failed -> destroying -> (gone). Any of them -> error if the disk fails meanwhile.
    """

    id: str
    fields: dict[str, Any]
    state: str = "creating"
    desired_state: str = "started"
    error_reason: str | None = None
    auto_destroy_at: str | None = None
    created_at: str = field(default_factory=timestamp)
    updated_at: str = field(default_factory=timestamp)
    last_activity_at: str = field(default_factory=timestamp)
    # Since when it has been stopped without interruption.
    stopped_at: str | None = None

    @classmethod
    def create(cls, body: object, *, minute_s: float) -> "SandboxRow":
        """From the JSON body of POST /sandbox. Raises ControlError 400 that names the field."""
        sandbox_id = str(uuid4())
        given = checked_fields(body)
        ttl_minutes = given.pop("ttlMinutes", 0)
        held = {"held": sizes} if (sizes := {name: given[name] for name in _SIZES if name in given}) else {}
        fields = {"name": sandbox_id, **{key: _copy(value) for key, value in _DEFAULTS.items()}, **given, **held}
        row = cls(id=sandbox_id, fields=fields)
        row.set_ttl(ttl_minutes, minute_s=minute_s)
        return row

    @classmethod
    def load(cls, path: Path) -> "SandboxRow":
        """Raises OSError, ValueError, TypeError if it cannot be read."""
        row = cls(**json.loads(read_text(path)))
        if row.id != path.parent.name:
            raise ValueError(f"{path} is the row of another sandbox")
        return row

    def save(self, path: Path) -> None:
        """Raises OSError."""
        write_atomically(path, json.dumps(self.__dict__))

    @property
    def name(self) -> str:
        return str(self.fields["name"])

    @property
    def labels(self) -> dict[str, str]:
        return dict(self.fields["labels"])

    @property
    def env(self) -> dict[str, str]:
        return dict(self.fields["env"])

    @property
    def secrets(self) -> dict[str, str]:
        """Variables, and the names of their entries in the vault."""
        return dict(self.fields.get("secrets", {}))

    @property
    def held(self) -> dict[str, int]:
        """The sizes that its creator gave: CPUs, GiB of memory and disk."""
        return dict(self.fields.get("held", {}))

    @property
    def volumes(self) -> list[dict[str, str]]:
        """Each with `volumeId`, `mountPath` and, if it is a part, `subpath`."""
        return list(self.fields.get("volumes", []))

    @property
    def in_transition(self) -> bool:
        return self.state not in _SETTLED

    def set_ttl(self, minutes: int, *, minute_s: float) -> None:
        """Destroy it so many minutes from now, in whatever state it is. 0: never."""
        moment = datetime.now(UTC) + timedelta(seconds=minutes * minute_s)
        self.auto_destroy_at = timestamp(moment) if minutes > 0 else None

    def document(self, base_url: str, *, details: bool = True) -> dict[str, Any]:
        """Daytona's Sandbox, or with `details=False` its SandboxListItem. `base_url` is where the client reached us."""
        optional = {"errorReason": self.error_reason, "autoDestroyAt": self.auto_destroy_at}
        return {
            "id": self.id,
            "organizationId": ORGANIZATION_ID,
            **{key: value for key, value in self.fields.items() if self._is_shown(key, details=details)},
            "state": self.state,
            "desiredState": self.desired_state,
            "backupState": "None",
            "recoverable": False,
            "sandboxClass": "container",
            "createdAt": self.created_at,
            "updatedAt": self.updated_at,
            "lastActivityAt": self.last_activity_at,
            "daemonVersion": "0.190.0",
            "toolboxProxyUrl": f"{base_url}/toolbox",
            **{key: value for key, value in optional.items() if value is not None},
        }

    def _is_shown(self, key: str, *, details: bool) -> bool:
        return key not in _UNSEEN and (details or key not in _DETAILS)


def checked_fields(body: object) -> dict[str, Any]:
    """The known fields of a creation request that are not null. Raises ControlError 400."""
    if not isinstance(body, dict):
        raise ControlError(400, "The body must be a JSON object")
    known = {key: value for key, value in body.items() if value is not None and key not in _IGNORED}
    checked = {key: value for key, value in known.items() if key in (*_STRINGS, *_INTEGERS, *_BOOLEANS, *_MAPS)}
    for key, value in checked.items():
        _check(key, value)
    return checked


def checked_build(info: object) -> dict[str, Any]:
    """A creation request's `buildInfo`. Raises ControlError 400."""
    if not info:
        return {}
    if not isinstance(info, dict) or not isinstance(info.get("dockerfileContent"), str):
        raise ControlError(400, "buildInfo must have a dockerfileContent")
    now = timestamp()
    return {"dockerfileContent": info["dockerfileContent"], "createdAt": now, "updatedAt": now, "snapshotRef": ""}


def checked_map(key: str, value: object) -> dict[str, str]:
    """An object whose values are strings. Raises ControlError 400."""
    if not isinstance(value, dict) or not all(isinstance(each, str) for each in value.values()):
        raise ControlError(400, f"{key} must be an object whose values are strings")
    return value


def _check(key: str, value: object) -> None:
    if key in _MAPS:
        checked_map(key, value)
    elif key in _STRINGS and not isinstance(value, str):
        raise ControlError(400, f"{key} must be a string")
    elif key in _BOOLEANS and not isinstance(value, bool):
        raise ControlError(400, f"{key} must be a boolean value")
    elif key in _INTEGERS and (not isinstance(value, int) or isinstance(value, bool)):
        raise ControlError(400, f"{key} must be an integer number")
    if key in _SIZES and isinstance(value, int) and value < 1:
        raise ControlError(400, f"{key} must not be less than 1")
    if key == "name" and not value:
        raise ControlError(400, "name must not be empty")
    if key == "env":
        _check_environment(checked_map(key, value))


def _check_environment(env: dict[str, str]) -> None:
    for name, value in env.items():
        if not name or "=" in name or "\0" in name + value:
            raise ControlError(400, f"env: {name!r} can not be an environment variable")


def _copy(value: Any) -> Any:
    return dict(value) if isinstance(value, dict) else value
