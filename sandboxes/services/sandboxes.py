"""Operations on Daytona's sandboxes, sessions and commands; each is audited when it is done.

Daytona may hold a request that creates or starts for up to 30 s. So that such requests cannot occupy all threads of a
web process, only a few run at once; further ones are refused with a retry.
"""

from __future__ import annotations

import shlex
import threading
import uuid
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from typing import Any, Final, TypeVar

from asgiref.sync import async_to_sync

from sandboxes.errors import SandboxMissing
from sandboxes.gateway import Document, Gateway, Toolbox, open_gateway
from sandboxes.services.sandbox_state import shown
from taskhub.auth.actor import Actor
from taskhub.errors import Unavailable
from taskhub.models import AuditEntry
from taskhub.services.audit import audit_write

AT_ONCE: Final = 4
REQUEST_LABEL: Final = "taskhub.request"
"""Of a sandbox that was asked for with an Idempotency-Key: the label of its reservation."""

_T = TypeVar("_T")
_places = threading.BoundedSemaphore(AT_ONCE)


def sandbox_create(*, actor: Actor, fields: Document, label: str = "") -> Document:
    """Make a sandbox from Daytona's own creation fields. Raises SandboxError, Unavailable.

    With `label` it carries one by which `sandbox_find_made` finds it.
    """
    if label:
        fields = {**fields, "labels": {**fields.get("labels", {}), REQUEST_LABEL: label}}
    with _place():
        made = _ask(lambda gateway: gateway.create(fields))
    audit_write(actor=actor, action="sandbox:create", sandbox_id=str(made["id"]))
    return shown(made)


def sandbox_find_made(*, actor: Actor, label: str) -> Document | None:
    """What an earlier `sandbox_create` with this label made, now in the audit too. Raises SandboxError."""
    made = _ask(lambda gateway: gateway.labelled({REQUEST_LABEL: label}))
    if made is None:
        return None
    sandbox_id = str(made["id"])
    if not AuditEntry.objects.filter(action="sandbox:create", sandbox_id=sandbox_id).exists():
        audit_write(actor=actor, action="sandbox:create", sandbox_id=sandbox_id)
    return shown(made)


def sandbox_start(*, actor: Actor, sandbox_id: str) -> Document:
    """Raises SandboxError, Unavailable."""
    with _place():
        started = _ask(lambda gateway: gateway.start(sandbox_id))
    audit_write(actor=actor, action="sandbox:start", sandbox_id=sandbox_id)
    return shown(started)


def sandbox_stop(*, actor: Actor, sandbox_id: str) -> Document:
    """Raises SandboxError, Unavailable."""
    with _place():
        stopped = _ask(lambda gateway: gateway.stop(sandbox_id))
    audit_write(actor=actor, action="sandbox:stop", sandbox_id=sandbox_id)
    return shown(stopped)


def sandbox_delete(*, actor: Actor, sandbox_id: str) -> Document:
    """Raises SandboxMissing if it is already deleted, other SandboxErrors, Unavailable."""
    with _place():
        deleted = _ask(lambda gateway: gateway.delete(sandbox_id))
    audit_write(actor=actor, action="sandbox:delete", sandbox_id=sandbox_id)
    return shown(deleted)


def session_create(*, actor: Actor, sandbox_id: str, session_id: str | None = None) -> str:
    """Create a session; returns its id. Raises SandboxError."""
    name = session_id or f"taskhub-{uuid.uuid4()}"
    _ask_inside(sandbox_id, lambda toolbox: toolbox.session_create(name))
    audit_write(actor=actor, action="session:create", sandbox_id=sandbox_id, changes={"session": [None, name]})
    return name


def session_find_made(*, actor: Actor, sandbox_id: str, session_id: str) -> str | None:
    """The session's id if it is there, now in the audit too; for a request whose outcome is not known."""
    try:
        _ask_inside(sandbox_id, lambda toolbox: toolbox.session_document(session_id))
    except SandboxMissing:
        return None
    changes = {"session": [None, session_id]}
    if not AuditEntry.objects.filter(action="session:create", sandbox_id=sandbox_id, changes=changes).exists():
        audit_write(actor=actor, action="session:create", sandbox_id=sandbox_id, changes=changes)
    return session_id


def session_delete(*, actor: Actor, sandbox_id: str, session_id: str) -> None:
    """Delete a session with its processes and logs. Raises SandboxError."""
    _ask_inside(sandbox_id, lambda toolbox: toolbox.session_delete(session_id))
    audit_write(actor=actor, action="session:delete", sandbox_id=sandbox_id, changes={"session": [session_id, None]})


def command_run(*, actor: Actor, sandbox_id: str, session_id: str, command: str) -> str:
    """Start a command in its own shell and return its id at once. Raises SandboxError.

    In its own shell, because a command that ended the session's shell would never get an exit code.
    """
    text = f"bash -c {shlex.quote(command)}"
    command_id = _ask_inside(sandbox_id, lambda toolbox: toolbox.command_run(session_id, text))
    audit_write(
        actor=actor,
        action="command:run",
        sandbox_id=sandbox_id,
        changes={"session": [None, session_id], "command": [None, command_id]},
    )
    return command_id


@contextmanager
def _place() -> Iterator[None]:
    if not _places.acquire(blocking=False):
        raise Unavailable("Too many sandboxes are being changed now; try again in a moment.", code="sandboxes_busy")
    try:
        yield
    finally:
        _places.release()


def _ask(request: Callable[[Gateway], Awaitable[_T]]) -> _T:
    async def ask() -> _T:
        async with open_gateway() as gateway:
            return await request(gateway)

    return async_to_sync(ask)()


def _ask_inside(sandbox_id: str, request: Callable[[Toolbox], Awaitable[_T]]) -> _T:
    async def ask(gateway: Gateway) -> _T:
        document: dict[str, Any] = await gateway.document(sandbox_id)
        return await request(gateway.toolbox(str(document["id"]), str(document.get("toolboxProxyUrl", ""))))

    return _ask(ask)
