"""Operations on Daytona's sandboxes, sessions and commands; each is audited when it is done.

They are awaited on the event loop, since Daytona may hold a request that creates or starts for up to 30 s. A caller
must not cancel them: what Daytona has done would lack its audit entry (`taskhub/web/awaited_response.py` cancels none).
"""

from __future__ import annotations

import shlex
import uuid
from collections.abc import Awaitable, Callable
from functools import partial
from typing import TYPE_CHECKING, Any, Final, TypeVar

from django.db import transaction

from sandboxes.errors import SandboxMissing
from sandboxes.gateway import Document, open_gateway
from sandboxes.services.sandbox_state import shown
from sandboxes.services.state_changes import state_note_action
from taskhub.auth.actor import Actor
from taskhub.models import AuditEntry
from taskhub.services.audit import audit_write
from taskhub.web.thread_pool import with_database_writing

if TYPE_CHECKING:
    from sandboxes.gateway import Toolbox

STARTABLE: Final = frozenset({"stopped", "archived", "error"})
"""States from which a start is offered."""
AT_REST: Final = frozenset({"stopped", "archived", "destroyed"})
"""States that hold no CPU and no memory."""
STOPPABLE: Final = frozenset({"started", "starting", "error"})
REQUEST_LABEL: Final = "taskhub.request"
"""Of a sandbox that was asked for with an Idempotency-Key: the label of its reservation."""

_T = TypeVar("_T")
_Changes = dict[str, list[Any]]


async def sandbox_create(*, actor: Actor, fields: Document, label: str = "") -> Document:
    """Make a sandbox from Daytona's own creation fields. Raises SandboxError.

    With `label` it carries one by which `sandbox_find_made` finds it.
    """
    if label:
        fields = {**fields, "labels": {**fields.get("labels", {}), REQUEST_LABEL: label}}
    async with open_gateway() as gateway:
        made = await gateway.create(fields)
    await _audit_action(actor, "create", str(made["id"]), made)
    return shown(made)


async def sandbox_find_made(*, actor: Actor, label: str) -> Document | None:
    """What an earlier `sandbox_create` with this label made, now in the audit too. Raises SandboxError."""
    async with open_gateway() as gateway:
        made = await gateway.labelled({REQUEST_LABEL: label})
    if made is None:
        return None
    await with_database_writing(_write_creation_once, actor, made)
    return shown(made)


async def sandbox_start(*, actor: Actor, sandbox_id: str) -> Document:
    """Raises SandboxError."""
    async with open_gateway() as gateway:
        started = await gateway.start(sandbox_id)
    await _audit_action(actor, "start", sandbox_id, started)
    return shown(started)


async def sandbox_stop(*, actor: Actor, sandbox_id: str) -> Document:
    """Raises SandboxError."""
    async with open_gateway() as gateway:
        stopped = await gateway.stop(sandbox_id)
    await _audit_action(actor, "stop", sandbox_id, stopped)
    return shown(stopped)


async def sandbox_delete(*, actor: Actor, sandbox_id: str) -> Document:
    """Raises SandboxMissing if it is already deleted, other SandboxErrors."""
    async with open_gateway() as gateway:
        deleted = await gateway.delete(sandbox_id)
    await _audit_action(actor, "delete", sandbox_id, deleted)
    return shown(deleted)


async def session_create(*, actor: Actor, sandbox_id: str, session_id: str | None = None) -> str:
    """Create a session; returns its id. Raises SandboxError."""
    name = session_id or f"taskhub-{uuid.uuid4()}"
    await _ask_inside(sandbox_id, lambda toolbox: toolbox.session_create(name))
    await _audit(actor, "session:create", sandbox_id, {"session": [None, name]})
    return name


async def session_find_made(*, actor: Actor, sandbox_id: str, session_id: str) -> str | None:
    """The session's id if it is there, now in the audit too; for a request whose outcome is not known."""
    try:
        await _ask_inside(sandbox_id, lambda toolbox: toolbox.session_document(session_id))
    except SandboxMissing:
        return None
    changes = {"session": [None, session_id]}
    await with_database_writing(_audit_once, actor, "session:create", sandbox_id, changes)
    return session_id


async def session_delete(*, actor: Actor, sandbox_id: str, session_id: str) -> None:
    """Delete a session with its processes and logs. Raises SandboxError."""
    await _ask_inside(sandbox_id, lambda toolbox: toolbox.session_delete(session_id))
    await _audit(actor, "session:delete", sandbox_id, {"session": [session_id, None]})


async def command_run(*, actor: Actor, sandbox_id: str, session_id: str, command: str) -> str:
    """Start a command in its own shell and return its id at once. Raises SandboxError.

    In its own shell, because a command that ended the session's shell would never get an exit code.
    """
    text = f"bash -c {shlex.quote(command)}"
    command_id = await _ask_inside(sandbox_id, lambda toolbox: toolbox.command_run(session_id, text))
    await _audit(actor, "command:run", sandbox_id, {"session": [None, session_id], "command": [None, command_id]})
    return command_id


async def _audit_action(actor: Actor, action: str, sandbox_id: str, document: Document) -> None:
    """`sandbox_id` may be a name; the state change is of the id."""
    await with_database_writing(_write_action, actor, action, sandbox_id, document)


@transaction.atomic
def _write_action(actor: Actor, action: str, sandbox_id: str, document: Document) -> None:
    audit_write(actor=actor, action=f"sandbox:{action}", sandbox_id=sandbox_id)
    state = str(document.get("state", "unknown"))
    state_note_action(actor=actor, action=action, sandbox_id=str(document["id"]), state=state)


async def _audit(actor: Actor, action: str, sandbox_id: str, changes: _Changes | None = None) -> None:
    write = partial(audit_write, actor=actor, action=action, sandbox_id=sandbox_id, changes=changes)
    await with_database_writing(write)


def _audit_once(actor: Actor, action: str, sandbox_id: str, changes: _Changes) -> None:
    """For what an earlier request has made: it may have come as far as the audit."""
    if not AuditEntry.objects.filter(action=action, sandbox_id=sandbox_id, changes=changes).exists():
        audit_write(actor=actor, action=action, sandbox_id=sandbox_id, changes=changes)


def _write_creation_once(actor: Actor, made: Document) -> None:
    if not AuditEntry.objects.filter(action="sandbox:create", sandbox_id=str(made["id"])).exists():
        _write_action(actor, "create", str(made["id"]), made)


async def _ask_inside(sandbox_id: str, request: Callable[[Toolbox], Awaitable[_T]]) -> _T:
    async with open_gateway() as gateway:
        return await request(gateway.toolbox_of(await gateway.document(sandbox_id)))
