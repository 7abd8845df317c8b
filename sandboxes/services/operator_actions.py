"""Start, stop and delete from the admin: queued, so that no page waits for Daytona.

`sandboxes_request` writes what was asked for into the rows and sends one job, which calls `sandboxes_act`; that writes
what became of it. A job that was lost, or found no worker in time, leaves "sent" in the row, with its time: the
operator asks again.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine, Sequence
from contextlib import suppress
from functools import partial
from typing import Any, Final, Literal

import redis
from celery import current_app
from django.utils import timezone
from kombu.exceptions import OperationalError

from sandboxes.gateway import Document
from sandboxes.models import Sandbox
from sandboxes.services.sandbox_state import sandboxes_store
from sandboxes.services.sandboxes import sandbox_delete, sandbox_start, sandbox_stop
from taskhub.auth.actor import Actor
from taskhub.auth.backends import account_get, is_operator
from taskhub.errors import Forbidden, HubError, Unavailable
from taskhub.executions.executor import ExecutorError
from taskhub.web.thread_pool import with_database_writing

Action = Literal["start", "stop", "delete"]
SANDBOXES_ACT: Final = "sandboxes.jobs.sandboxes_act"
_AT_ONCE: Final = 8
"""Daytona holds each request for up to 30 s, and a job has one worker thread for all of them."""
_EXPIRES_S: Final = 600
"""No sandbox is deleted hours after it was asked for."""
_ACTIONS: Final[dict[Action, Callable[..., Coroutine[Any, Any, Document]]]] = {
    "start": sandbox_start,
    "stop": sandbox_stop,
    "delete": sandbox_delete,
}


def sandboxes_request(*, actor: Actor, action: Action, sandbox_ids: Sequence[str]) -> None:
    """Send the job. Raises Unavailable if the broker does not take it; nothing is done then."""
    if actor.user is None:
        raise ValueError("only an account asks for an action")
    if not sandbox_ids:
        return
    _note(sandbox_ids, action, "sent")
    try:
        current_app.send_task(SANDBOXES_ACT, args=[action, actor.user.pk, list(sandbox_ids)], expires=_EXPIRES_S)
    except (OperationalError, redis.RedisError):
        _note(sandbox_ids, action, "not sent")
        raise Unavailable("The broker does not answer, so no job was sent; try again.") from None


async def sandboxes_act(*, account_id: int, action: Action, sandbox_ids: Sequence[str]) -> None:
    """Do it, and note for each sandbox what became of it. One that fails holds up no other."""
    limit = asyncio.Semaphore(_AT_ONCE)

    async def one(sandbox_id: str) -> None:
        async with limit:
            try:
                outcome = await _act(account_id, action, sandbox_id)
            except (HubError, ExecutorError) as error:
                outcome = error.message
        await with_database_writing(_note, [sandbox_id], action, outcome)

    done = await asyncio.gather(*map(one, sandbox_ids), return_exceptions=True)
    for error in done:
        if isinstance(error, BaseException):
            raise error


async def _act(account_id: int, action: Action, sandbox_id: str) -> str:
    """Raises Forbidden if the account is no operator any more, SandboxError."""
    actor = await with_database_writing(_operator, account_id)
    document = await _ACTIONS[action](actor=actor, sandbox_id=sandbox_id)
    # What was done counts, not whether its viewers could be told.
    with suppress(redis.RedisError):
        await with_database_writing(partial(sandboxes_store, documents=[document]))
    return "accepted"


def _operator(account_id: int) -> Actor:
    account = account_get(account_id)
    if account is None or not is_operator(account):
        raise Forbidden("The account that asked for it is not an operator any more.")
    return Actor(door="admin", user=account)


def _note(sandbox_ids: Sequence[str], action: Action, outcome: str) -> None:
    text = f"{action}: {outcome}"[:300]
    Sandbox.objects.filter(pk__in=sandbox_ids).update(last_action=text, last_action_at=timezone.now())
