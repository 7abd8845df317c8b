"""Vault: secret values that a sandbox's shells get as variables, kept encrypted under a key file of their own."""

import json
import re
from contextlib import suppress
from pathlib import Path
from typing import Any
from uuid import uuid4

from cryptography.fernet import Fernet, InvalidToken

from sandboxes.local.disk import read_text, write_atomically
from sandboxes.local.errors import ControlError, timestamp
from sandboxes.local.masking import SHORTEST, secret_lines

_NAME = re.compile(r"[A-Za-z0-9_-]{1,255}\Z")
_LONGEST_VALUE = 64 * 1024
_SHOWN = ("id", "name", "description", "hosts", "placeholder", "createdAt", "updatedAt")


class Vault:
    """Entries by id, in `secrets.json`; the key that their values are encrypted under is in `secrets.key`, mode 0600.

    Daytona gives a sandbox a placeholder and puts the value into requests to the entry's hosts. There is no such proxy
    here: the shells of a sandbox have the value itself, and `hosts` is only kept and shown.
    """

    def __init__(self, data_dir: Path) -> None:
        self._key_file = data_dir / "secrets.key"
        self._file = data_dir / "secrets.json"
        self._entries: dict[str, dict[str, Any]] = {}
        self._fernet: Fernet | None = None

    def load(self) -> None:
        """Raises OSError, ValueError if there are entries that cannot be read."""
        with suppress(FileNotFoundError):
            self._entries = {entry["id"]: entry for entry in json.loads(read_text(self._file))}

    def entries(self, name: str = "") -> list[dict[str, Any]]:
        """As they are shown, the newest first; those whose names hold `name`."""
        found = [entry for entry in self._entries.values() if name.lower() in entry["name"].lower()]
        return [
            _shown(entry) for entry in sorted(found, key=lambda each: (each["createdAt"], each["id"]), reverse=True)
        ]

    def get(self, entry_id: str) -> dict[str, Any]:
        """Raises ControlError 404."""
        return _shown(self._entry(entry_id))

    def create(self, body: object) -> dict[str, Any]:
        """Raises ControlError: 400 that names the field, 409 for a name that is taken."""
        given = _checked(body, needed=("name", "value"))
        if self._named(given["name"]) is not None:
            raise ControlError(409, f"Secret with name {given['name']} already exists")
        now = timestamp()
        entry: dict[str, Any] = {
            "id": str(uuid4()),
            "name": given["name"],
            "description": given.get("description", ""),
            "hosts": given.get("hosts", []),
            "placeholder": f"dtn_secret_{uuid4().hex[:16]}",
            "createdAt": now,
            "updatedAt": now,
            "sealed": self._sealed(given["value"]),
        }
        self._keep({**self._entries, str(entry["id"]): entry})
        return _shown(entry)

    def update(self, entry_id: str, body: object) -> dict[str, Any]:
        """Raises ControlError 404, 400."""
        given = _checked(body)
        value = given.pop("value", None)
        entry: dict[str, Any] = {**self._entry(entry_id), "updatedAt": timestamp()}
        entry |= {name: given[name] for name in ("description", "hosts") if name in given}
        if value is not None:
            entry["sealed"] = self._sealed(value)
        self._keep({**self._entries, entry_id: entry})
        return _shown(entry)

    def delete(self, entry_id: str) -> None:
        """Raises ControlError 404."""
        self._entry(entry_id)
        self._keep({key: entry for key, entry in self._entries.items() if key != entry_id})

    def guard_names(self, wanted: dict[str, str]) -> None:
        """Raises ControlError 400 for a name that is not there."""
        for name in wanted.values():
            if self._named(name) is None:
                raise ControlError(400, f"Secret {name} not found")

    def values(self, wanted: dict[str, str]) -> dict[str, str]:
        """Variables and their values. Raises ControlError 400 for an entry that is gone, or cannot be decrypted."""
        self.guard_names(wanted)
        return {variable: self._value(name) for variable, name in wanted.items()}

    def _value(self, name: str) -> str:
        entry = self._named(name)
        try:
            return self._key().decrypt(entry["sealed"]).decode() if entry is not None else ""
        except (InvalidToken, ValueError):
            words = f"Secret {name} cannot be decrypted: {self._key_file.name} is not the key that it was written with"
            raise ControlError(400, words) from None

    def _sealed(self, value: str) -> str:
        return self._key().encrypt(value.encode()).decode()

    def _key(self) -> Fernet:
        """Raises ValueError for a file that holds no key."""
        if self._fernet is None:
            try:
                key = read_text(self._key_file)
            except FileNotFoundError:
                key = Fernet.generate_key().decode()
                write_atomically(self._key_file, key)
            self._fernet = Fernet(key)
        return self._fernet

    def _keep(self, entries: dict[str, dict[str, Any]]) -> None:
        """Raises ControlError 500; nothing is changed then."""
        try:
            write_atomically(self._file, json.dumps(list(entries.values())))
        except OSError as error:
            raise ControlError(500, f"The secret could not be stored: {error.strerror or error}") from error
        self._entries = entries

    def _entry(self, entry_id: str) -> dict[str, Any]:
        try:
            return self._entries[entry_id]
        except KeyError:
            raise ControlError(404, f"Secret with ID {entry_id} not found") from None

    def _named(self, name: str) -> dict[str, Any] | None:
        return next((entry for entry in self._entries.values() if entry["name"] == name), None)


def checked_mounts(body: object) -> dict[str, str]:
    """The variables and names of a creation request's `secrets`, a list of objects. Raises ControlError 400."""
    if body is None:
        return {}
    if not isinstance(body, list) or not all(isinstance(each, dict) for each in body):
        raise ControlError(400, "secrets must be a list of objects")
    found = {variable: name for each in body for variable, name in each.items()}
    for variable, name in found.items():
        if not variable or "=" in variable or "\0" in variable or not isinstance(name, str):
            raise ControlError(400, f"secrets: {variable!r} must be a variable that is given a name")
    return found


def _shown(entry: dict[str, Any]) -> dict[str, Any]:
    return {name: entry[name] for name in _SHOWN}


def _checked(body: object, needed: tuple[str, ...] = ()) -> dict[str, Any]:
    if not isinstance(body, dict):
        raise ControlError(400, "The body must be a JSON object")
    given = {name: value for name, value in body.items() if value is not None}
    for name in ("name", "value", "description"):
        if not isinstance(given.get(name, ""), str) or (name in needed and not given.get(name)):
            raise ControlError(400, f"{name} must be a string")
    if "name" in given and not _NAME.match(given["name"]):
        raise ControlError(400, "name must be alphanumeric, with hyphens and underscores")
    hosts = given.get("hosts", [])
    if not isinstance(hosts, list) or not all(isinstance(host, str) for host in hosts):
        raise ControlError(400, "hosts must be a list of strings")
    if "value" in given:
        _check_value(given["value"])
    return given


def _check_value(value: str) -> None:
    """The text of a refusal must not have the value."""
    if "\0" in value or len(value) > _LONGEST_VALUE:
        raise ControlError(400, f"value must have no NUL and at most {_LONGEST_VALUE} characters")
    try:
        value.encode()
    except UnicodeEncodeError:
        raise ControlError(400, "value must be UTF-8") from None
    if not secret_lines([value]):
        words = (
            f"value must have a line of at least {SHORTEST} bytes: the local sandbox server cannot mask shorter ones"
        )
        raise ControlError(400, words)
