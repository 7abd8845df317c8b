"""Polling of watched sandboxes.

The cost grows with the watched sandboxes, not with their viewers: a tick reads each sandbox once. If more than a few
are watched, it reads whole pages of Daytona's list, and single sandboxes only if the pages do not suffice: a sandbox
that is not on them, or one that they show older than it is known to be (the list lags behind). How often there is a
tick is in `config/settings/jobs.py`.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable, Coroutine, Iterable, Mapping
from dataclasses import dataclass, field
from itertools import islice
from typing import TYPE_CHECKING, Any, Final, TypeVar

from sandboxes.errors import InsideRefused, KeyRefused, SandboxError, SandboxMissing, SandboxRefused, SandboxUnavailable
from sandboxes.gateway import Document
from sandboxes.models import Sandbox
from sandboxes.services.sandbox_state import is_older

if TYPE_CHECKING:
    from sandboxes.gateway import Gateway, Toolbox

log = logging.getLogger(__name__)

FEW: Final = 3
PAGES: Final = 10
PARALLEL: Final = 32
SINGLES: Final = 50

_T = TypeVar("_T")


@dataclass
class Findings:
    """Findings of a tick: sandboxes as Daytona describes them, unknown ids, and errors.

    `names` are requested ids that turned out to be names: their viewers came while Daytona did not answer.
    """

    documents: list[Document] = field(default_factory=list)
    sessions: dict[str, list[Document]] = field(default_factory=dict)
    missing: list[str] = field(default_factory=list)
    names: list[str] = field(default_factory=list)
    troubles: dict[str, SandboxError] = field(default_factory=dict)
    requests: int = 0


async def look_at_sandboxes(gateway: Gateway, known: Mapping[str, Document], *, within_s: float) -> Findings:
    """Read each sandbox once; `known` has its last known document ({} if there is none)."""
    findings = Findings()
    waiting = set(known)
    try:
        async with asyncio.timeout(within_s):
            if len(known) > FEW:
                await _turn_pages(gateway, known, waiting, findings)
            await _each(waiting, lambda sandbox_id: _look_at(gateway, sandbox_id, findings))
    except (SandboxError, TimeoutError) as error:
        trouble = error if isinstance(error, SandboxError) else SandboxUnavailable()
        seen = {str(document["id"]) for document in findings.documents}
        done = {*seen, *findings.missing, *findings.names, *findings.troubles}
        findings.troubles |= dict.fromkeys(known.keys() - done, trouble)
    return findings


async def look_at_list(gateway: Gateway, known: Mapping[str, Document], *, within_s: float) -> Findings:
    """All sandboxes, from `PAGES` pages of Daytona's list; of the `known` ones that are not on them, `SINGLES`."""
    findings = Findings()
    missed = dict(known)
    try:
        async with asyncio.timeout(within_s / 2):
            cursor: str | None = None
            for _ in range(PAGES):
                findings.requests += 1
                page = await gateway.page(cursor)
                findings.documents += page.items
                cursor = page.next_cursor
                if cursor is None:
                    break
    except (SandboxError, TimeoutError) as error:
        trouble = error if isinstance(error, SandboxError) else SandboxUnavailable()
        findings.troubles = dict.fromkeys(known, trouble)
        return findings
    for document in findings.documents:
        missed.pop(str(document["id"]), None)
    first = dict(islice(missed.items(), SINGLES))
    single = await look_at_sandboxes(gateway, first, within_s=within_s / 2)
    findings.documents += single.documents
    findings.missing, findings.troubles = single.missing, single.troubles
    findings.requests += single.requests
    return findings


async def _turn_pages(gateway: Gateway, known: Mapping[str, Document], waiting: set[str], findings: Findings) -> None:
    """Remove from `waiting` the sandboxes on the pages. Reads at most a quarter as many pages as single gets."""
    cursor: str | None = None
    for _ in range(min(PAGES, max(1, len(known) // 4))):
        findings.requests += 1
        page = await gateway.page(cursor)
        for document in page.items:
            sandbox_id = str(document.get("id"))
            if sandbox_id in waiting and not is_older(document, known[sandbox_id]):
                findings.documents.append(document)
                waiting.discard(sandbox_id)
        cursor = page.next_cursor
        if cursor is None or not waiting:
            return


async def _look_at(gateway: Gateway, sandbox_id: str, findings: Findings) -> None:
    findings.requests += 1
    try:
        document = await gateway.document(sandbox_id)
        findings.documents.append(document)
        if document["id"] != sandbox_id:
            findings.names.append(sandbox_id)
    except SandboxMissing:
        findings.missing.append(sandbox_id)
    except SandboxError as error:
        findings.troubles[sandbox_id] = error


async def look_at_sessions(gateway: Gateway, sandboxes: Iterable[Sandbox], *, within_s: float) -> Findings:
    """List the sessions of each sandbox; one that is not started has none."""
    findings = Findings()
    known = {sandbox.pk: sandbox for sandbox in sandboxes}
    try:
        async with asyncio.timeout(within_s):
            await _each(known, lambda sandbox_id: _look_into(gateway, known[sandbox_id], findings))
    except TimeoutError:
        done = {*findings.sessions, *findings.missing, *findings.troubles}
        findings.troubles |= {sandbox_id: SandboxUnavailable() for sandbox_id in known.keys() - done}
    return findings


async def _look_into(gateway: Gateway, sandbox: Sandbox, findings: Findings) -> None:
    findings.requests += 1
    try:
        findings.sessions[sandbox.pk] = await sessions_of(gateway, sandbox)
    except SandboxMissing:
        findings.missing.append(sandbox.pk)
    except SandboxError as error:
        findings.troubles[sandbox.pk] = error


async def sessions_of(gateway: Gateway, sandbox: Sandbox) -> list[Document]:
    """The sandbox's sessions. Raises SandboxError."""
    try:
        return await gateway.toolbox(sandbox.pk, sandbox.toolbox_url).session_documents()
    except InsideRefused:
        raise  # its script has broken something
    except SandboxRefused:
        return []  # it is not started, so its toolbox does not answer
    except (KeyRefused, SandboxMissing) as error:
        raise await cause(gateway, sandbox.pk, error) from error


async def cause(gateway: Gateway, sandbox_id: str, error: SandboxError) -> SandboxError:
    """The meaning of a refusal by a sandbox's toolbox, which is the same for a bad key and for a deleted sandbox."""
    if not isinstance(error, KeyRefused | SandboxMissing):
        return error
    try:
        await gateway.document(sandbox_id)
    except SandboxError as found:
        return found
    # Daytona accepts the key and knows the sandbox; the proxy in front of the toolbox does not, for the moment.
    return error if isinstance(error, SandboxMissing) and error.what != "sandbox" else SandboxUnavailable()


async def _each(ids: Iterable[str], look: Callable[[str], Awaitable[None]]) -> None:
    limit = asyncio.Semaphore(PARALLEL)

    async def one(sandbox_id: str) -> None:
        async with limit:
            await look(sandbox_id)

    async with asyncio.TaskGroup() as group:
        for sandbox_id in sorted(ids):
            group.create_task(one(sandbox_id))


class SingleFlight:
    """Single flight: concurrent callers with the same key share one call. For one event loop."""

    def __init__(self) -> None:
        self._flying: dict[Any, asyncio.Task[Any]] = {}

    async def run(self, key: Any, ask: Callable[[], Coroutine[Any, Any, _T]]) -> _T:
        """The result of `ask`; a cancelled caller does not cancel the others."""
        task = self._flying.get(key)
        if task is None:
            task = self._flying[key] = asyncio.create_task(ask())
            task.add_done_callback(lambda done: self._land(key, done))
        answer: _T = await asyncio.shield(task)
        return answer

    def _land(self, key: Any, task: asyncio.Task[Any]) -> None:
        del self._flying[key]
        if not task.cancelled():
            task.exception()  # retrieved, in case all callers were cancelled


def inside(gateway: Gateway, sandbox: Sandbox) -> Toolbox:
    """The sandbox's sessions, commands and logs."""
    return gateway.toolbox(sandbox.pk, sandbox.toolbox_url)
