"""Whether the sandbox service has what an environment names: asked before the environment is saved, for at most 5 s.

A clear no refuses a save that gives the name. Without an answer, and for a name that was saved before, the environment
says so in `unchecked`: a start looks again, and fails in a sentence.
"""

from __future__ import annotations

import asyncio
import logging
from dataclasses import dataclass
from typing import Any, Final, NamedTuple, get_args

from taskhub.executions import get_executor
from taskhub.executions.executor import ExecutorError, Reference
from taskhub.models import EnvironmentSpec, SandboxSize

log = logging.getLogger(__name__)

LOOK_S: Final = 5.0
REFERENCES: Final[tuple[Reference, ...]] = get_args(Reference)
_NOT_ASKED: Final = "The sandbox service was not asked."
_SILENT: Final = "The sandbox service did not answer in time."
NO_CODES: Final = frozenset(
    {
        *("snapshot_not_found", "snapshot_failed", "secret_not_found", "secret_without_hosts"),
        *("volume_not_found", "volume_not_usable"),
    }
)
"""Codes of an executor's errors that are a clear no; any other (silence, a right that is missing) is no answer."""


class Doubt(NamedTuple):
    """A field that names what the service does not have (`is_no`), or what is not known; `words` is a sentence."""

    field: Reference
    words: str
    is_no: bool


@dataclass(frozen=True, slots=True)
class Look:
    """What was asked about, as `references_of` has it, what is wrong with it or not known, and the snapshot's size."""

    asked: dict[str, Any]
    doubts: tuple[Doubt, ...] = ()
    size: SandboxSize | None = None

    def size_of(self, spec: EnvironmentSpec) -> SandboxSize | None:
        """What a sandbox of its snapshot has; None where that is not known."""
        return self.size if spec.snapshot and self.asked.get("snapshot") == spec.snapshot else None

    def refusals(self, spec: EnvironmentSpec, before: EnvironmentSpec) -> dict[str, str]:
        """By field, of a save that changes `before` into `spec`."""
        return {each.field: each.words for each in self._doubts(spec) if each.is_no and _differs(each, spec, before)}

    def unchecked(self, spec: EnvironmentSpec) -> str:
        """What is not known of the environment, or not there; "" where all is."""
        return " ".join(dict.fromkeys(f"{each.field}: {each.words}" for each in self._doubts(spec)))

    def _doubts(self, spec: EnvironmentSpec) -> tuple[Doubt, ...]:
        """Where it says something else than when it was asked about, nothing is known."""
        named = references_of(spec)
        if named == self.asked:
            return self.doubts
        return tuple(Doubt(field, _NOT_ASKED, is_no=False) for field in REFERENCES if named.get(field))


NO_LOOK: Final = Look({})
"""The service was not asked."""


def references_of(spec: EnvironmentSpec) -> dict[str, Any]:
    """The fields that name something at the sandbox service; none of them is empty."""
    document = spec.document()
    found = {field: document[field] for field in (*REFERENCES, "any_host") if document[field]}
    return found if found.keys() & set(REFERENCES) else {}


def _differs(doubt: Doubt, spec: EnvironmentSpec, before: EnvironmentSpec) -> bool:
    new, old = references_of(spec), references_of(before)
    fields = (doubt.field, "any_host") if doubt.field == "secrets" else (doubt.field,)
    return any(new.get(field) != old.get(field) for field in fields)


async def environment_look(spec: EnvironmentSpec | None) -> Look:
    """Ask the sandbox service, for at most 5 s; an environment that names nothing there costs no request."""
    asked = references_of(spec) if spec is not None else {}
    if spec is None or not asked:
        return NO_LOOK
    looks = {field: asyncio.ensure_future(_ask(spec, field)) for field in REFERENCES if field in asked}
    _, silent = await asyncio.wait(looks.values(), timeout=LOOK_S)
    for look in silent:
        look.cancel()
    await asyncio.gather(*silent, return_exceptions=True)
    answers = [Doubt(field, _SILENT, is_no=False) if look in silent else look.result() for field, look in looks.items()]
    doubts = tuple(each for each in answers if isinstance(each, Doubt))
    return Look(asked, doubts, next((each for each in answers if isinstance(each, SandboxSize)), None))


async def _ask(spec: EnvironmentSpec, field: Reference) -> Doubt | SandboxSize | None:
    try:
        return await get_executor().look_up(spec, field)
    except ExecutorError as error:
        log.info("the sandbox service says of an environment's %s: %s", field, error.code)
        # Operators alone read it: they save environments. Of the log of a build, one line is enough.
        said = error.detail.partition("\n")[0]
        words = f"{error.message} It says: {said}" if said else error.message
        return Doubt(field, words, is_no=error.code in NO_CODES)
