"""Refusals by Daytona: what it says, and what we say. A 400 and a 403 mean several things, which the text tells apart.

Its words can hold hosts, addresses and names, so they go into an error's `detail`, for operators alone.
"""

from __future__ import annotations

import json
import re
from http import HTTPStatus
from typing import Final

from sandboxes.errors import SandboxError, SandboxesFull, SandboxRefused, SandboxTooLarge
from taskhub.models import RESOURCES, Lack

_SAID_LENGTH: Final = 1000
_COLOURS: Final = re.compile(r"\x1b\[[0-9;?]*[A-Za-z]")
# A full account is told by words alone, with 403 or 400 (reference: daytona, sandbox.service.ts).
_ANY_CASE: Final = re.IGNORECASE
_FULL: Final = re.compile(
    r"\btotal (?P<what>\w+) (?:limit|quota) exceeded\b(?:\. Maximum allowed: (?P<most>\d{1,7})(?!\d))?", _ANY_CASE
)
_TOO_LARGE: Final = re.compile(r"\bexceeds maximum allowed per (?:non-ephemeral )?sandbox\b", _ANY_CASE)
_NOT_HELD: Final = (
    *("images and Dockerfiles", "GPUs", "lists of addresses and domains", "linked sandboxes"),
    *("network to close without bubblewrap", "network to close later", "volumes without bubblewrap"),
    *(r"\d+ CPUs, only \d+", "limits of memory without a writable cgroup"),
)
"""What the local sandbox server says that it has not; its sentences, and no other text, are passed on."""
_REFUSALS: Final[dict[str, tuple[re.Pattern[str], str]]] = {
    "snapshot_not_found": (
        re.compile(r"\bsnapshot\b.*\bnot found\b", _ANY_CASE),
        "The sandbox service has no snapshot of the name that the environment gives.",
    ),
    "snapshot_not_active": (
        re.compile(
            r"\bsnapshot\b.*\bis (?:not active|inactive|building|pending|pulling|snapshotting|removing)\b"
            r"|\bsnapshot\b.*\bis (?:error|build_failed)\b",
            _ANY_CASE,
        ),
        "The environment's snapshot is not active at the sandbox service; activate it there, and execute again.",
    ),
    "snapshot_elsewhere": (
        re.compile(r"\bsnapshot\b.*\bis not available in region\b", _ANY_CASE),
        "The environment's snapshot is not in the region where sandboxes are made (DAYTONA_TARGET); make it there.",
    ),
    "snapshot_quota": (
        re.compile(r"\bsnapshot quota exceeded\b", _ANY_CASE),
        "The sandbox service lets this hub's account have no further snapshot; delete one there.",
    ),
    "region_refused": (
        re.compile(r"\bregion\b.*\bnot (?:found|available to the organization)\b", _ANY_CASE),
        "The sandbox service has no region of the name in DAYTONA_TARGET for this hub's account.",
    ),
    "account_suspended": (
        re.compile(r"\borganization is suspended\b", _ANY_CASE),
        "The hub's account at the sandbox service is suspended; its owner can read why there.",
    ),
    "gpus_refused": (
        re.compile(r"\bGPU (?:limit|quota) exceeded\. Maximum allowed: 0(?!\d)", _ANY_CASE),
        "The sandbox service lets this hub's account have no GPUs.",
    ),
    "sandbox_build_failed": (
        re.compile(r"\bbuild failed\b", _ANY_CASE),
        "The environment's image could not be built or fetched; operators read the sandbox service's reason.",
    ),
    "network_refused": (
        re.compile(r"\bnetwork access is restricted\b", _ANY_CASE),
        "The sandbox service does not let this hub's account say what a single sandbox may reach.",
    ),
    "sizes_refused": (
        re.compile(r"\bcannot specify sandbox resources\b", _ANY_CASE),
        "The sandbox service takes no sizes for this sandbox; those of a snapshot are the snapshot's own.",
    ),
    "secret_not_found": (
        re.compile(r"\bsecret\b.*\bnot found\b", _ANY_CASE),
        "The vault of the sandbox service has no entry of a name that the environment gives.",
    ),
    "secret_unreadable": (
        re.compile(r"\bsecret\b.*\bcannot be decrypted\b", _ANY_CASE),
        "The local sandbox server cannot decrypt a secret: its key file was replaced. Give the value anew.",
    ),
    "secret_too_short": (
        re.compile(r"\bcannot mask shorter ones\b"),
        "The local sandbox server takes only values with a line of at least 4 bytes: it cannot mask shorter ones.",
    ),
    "volume_not_found": (
        re.compile(r"\bvolume\b.*\b(?:not found|could not be resolved)\b", _ANY_CASE),
        "The sandbox service has no volume of a name that the environment gives.",
    ),
    "volume_not_ready": (
        re.compile(r"\bvolume\b.*\bnot (?:in a )?ready\b", _ANY_CASE),
        "A volume of the environment cannot be used at the sandbox service yet; execute again.",
    ),
    "sandbox_not_held": (
        re.compile(rf"\blocal sandbox server has no (?P<what>{'|'.join(_NOT_HELD)})\b"),
        "The local sandbox server has no {what}; use another environment, or connect a Daytona account.",
    ),
}
"""Codes of refusals with a reason of their own: what Daytona says, and what we say."""
_MISSING: Final = ("volume_not_found", "secret_not_found", "snapshot_not_found", "region_refused")


def refusal_in_words(status: int | None, text: str) -> SandboxError:
    """Of a 403 or a 400 with this body, or this text; `detail` has Daytona's own words."""
    said = plain_message(text)
    return _refusal(status, said).saying(said)


def missing_in_words(text: str) -> SandboxRefused | None:
    """What a creation says that is not there; None where the text names nothing that is known."""
    return next((refused(code).saying(text) for code in _MISSING if _REFUSALS[code][0].search(text)), None)


def _refusal(status: int | None, said: str) -> SandboxError:
    has_no_gpus = _REFUSALS["gpus_refused"][0].search(said) is not None
    if not has_no_gpus and (full := _FULL.search(said)):
        return SandboxesFull(_lack(full["what"].lower(), full["most"]))
    if _TOO_LARGE.search(said):
        return SandboxTooLarge()
    for code, (words, _) in _REFUSALS.items():
        if found := words.search(said):
            return refused(code, **found.groupdict())
    if status == HTTPStatus.FORBIDDEN:
        return SandboxRefused("sandbox_forbidden", "The sandbox service does not allow this to the hub's account.")
    return SandboxRefused("sandbox_refused", "The sandbox service refused this; is the sandbox started?")


def plain_message(text: str) -> str:
    """The message of an error's body, also where it is a list; any other text as it is. At most `_SAID_LENGTH`."""
    try:
        found = json.loads(text)
    except (ValueError, RecursionError):
        found = {"message": text}
    message = found.get("message") if isinstance(found, dict) else None
    if isinstance(message, list):
        message = " ".join(map(str, message))
    said = message if isinstance(message, str) else text if found else ""
    return plain(said[: 4 * _SAID_LENGTH])[:_SAID_LENGTH]


def _lack(what: str, most: str | None) -> Lack | None:
    resource = next((name for name in RESOURCES if name == what), None)
    return None if resource is None else Lack(resource, None if most is None else int(most))


def refused(code: str, **words: str) -> SandboxRefused:
    """The refusal with this code."""
    return SandboxRefused(code, _REFUSALS[code][1].format(**words))


def plain(text: str) -> str:
    """Without colours, and without what moves a cursor or ends a text in a database."""
    text = _COLOURS.sub("", text.replace("\r\n", "\n").replace("\r", "\n"))
    return "".join(each for each in text if each.isprintable() or each in "\n\t")
