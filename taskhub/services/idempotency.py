"""Idempotency keys: at most one effect per key, and the same answer for each repeat, for 24 hours.

Two ways, by where the thing is made:

1. In our database (`idempotency_open`, in the transaction of the change): the answer is stored in that very
   transaction. A process that dies leaves neither; a second request at the same time is a 409 on PostgreSQL (an
   advisory lock says so at once), and on SQLite, which has one writer, it waits and gets the stored answer.
2. Elsewhere (`idempotency_reserve`, in a transaction of its own, before the request to Daytona): the reservation has a
   label that what is made carries. A repeat meets a 409 while the first may be under way; after that it looks for the
   label, and what it finds is the answer.
"""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from datetime import timedelta
from hashlib import sha256
from typing import Any, Final

from django.db import connection, transaction
from django.utils import timezone
from django.utils.crypto import salted_hmac

from taskhub.auth.actor import Actor
from taskhub.errors import Conflict, Unavailable
from taskhub.lib.encryption import SealBroken
from taskhub.lib.leases import watch
from taskhub.models import IdempotencyKey
from taskhub.models.idempotency import ANSWER_SEAL

KEPT_FOR: Final = timedelta(hours=24)


class KeyReused(Conflict):
    default_code = "idempotency_key_reused"


class InProgress(Conflict):
    default_code = "in_progress"


class OutcomeUnknown(Conflict):
    default_code = "outcome_unknown"


@dataclass(frozen=True, slots=True)
class Asked:
    """A request with a key: who asks for what."""

    account_id: int
    scope: str
    operation: str
    body: str

    @classmethod
    def of(cls, *, actor: Actor, operation: str, key: str, body: Any) -> Asked:
        """`operation` is the method and the route with its ids. The scope also has the account and the agent's name."""
        if actor.user is None or actor.user.pk is None:
            raise ValueError("only an account's requests have keys")
        agent = actor.agent_name or (actor.token.name if actor.token else "")
        scope = _digest([actor.user.pk, agent, operation, key])
        return cls(actor.user.pk, scope, operation[:200], _keyed_digest(body))


@dataclass(frozen=True, slots=True)
class Answer:
    """What was answered: a JSON value with its status and headers."""

    status: int
    data: Any
    headers: dict[str, str] = field(default_factory=dict)


def _digest(value: Any) -> str:
    return sha256(_text(value)).hexdigest()


def _keyed_digest(body: Any) -> str:
    """A body may hold a secret: without the hub's key, the digest does not tell whether a guess of it is right."""
    return salted_hmac("taskhub.idempotency.body", _text(body), algorithm="sha256").hexdigest()


def _text(value: Any) -> bytes:
    return json.dumps(value, sort_keys=True, separators=(",", ":"), default=str).encode()


def idempotency_open(asked: Asked) -> Answer | None:
    """The stored answer, or None: go on and call `idempotency_keep` in this same transaction.

    Raises KeyReused for another body, InProgress while another request holds the key, RuntimeError outside a
    transaction.
    """
    if not connection.in_atomic_block:
        raise RuntimeError("idempotency_open() must run in the transaction of what is made")
    _lock(asked)
    row = _find(asked)
    if row is None:
        return None
    _guard_body(row, asked)
    if row.status is None:
        raise InProgress("The first request with this Idempotency-Key is under way; repeat this one later.")
    return _read(row)


def idempotency_keep(asked: Asked, answer: Answer, *, secret: bool) -> None:
    """Store the answer, encrypted if it holds a secret. For the transaction that made what it is about."""
    text = json.dumps(answer.data, separators=(",", ":"))
    IdempotencyKey.objects.update_or_create(
        scope=asked.scope,
        defaults={
            "body": asked.body,
            "operation": asked.operation,
            "account_id": asked.account_id,
            "status": answer.status,
            "answer": ANSWER_SEAL.close(text) if secret else text,
            "headers": answer.headers,
            "encrypted": secret,
            "reserved_until": None,
        },
    )


@dataclass(frozen=True, slots=True)
class Reservation:
    """`label` goes to Daytona; `is_repeat`: an earlier request reserved it and its outcome is unknown here."""

    label: str
    is_repeat: bool


@transaction.atomic
def idempotency_reserve(asked: Asked, *, for_s: float) -> Answer | Reservation:
    """Reserve the key for a request elsewhere that takes at most `for_s` seconds, or answer what is stored.

    Raises KeyReused, InProgress.
    """
    _lock(asked)
    now = timezone.now()
    row = _find(asked)
    until = now + timedelta(seconds=for_s)
    if row is None:
        row = IdempotencyKey.objects.create(
            scope=asked.scope,
            body=asked.body,
            operation=asked.operation,
            account_id=asked.account_id,
            reserved_until=until,
        )
        return Reservation(row.label.hex, is_repeat=False)
    _guard_body(row, asked)
    if row.status is not None:
        return _read(row)
    if row.reserved_until is not None and not watch.lease_is_past(("key", row.pk), row.reserved_until, for_s):
        raise InProgress("The first request with this Idempotency-Key is under way; repeat this one later.")
    row.reserved_until = until
    row.save(update_fields=["reserved_until"])
    return Reservation(row.label.hex, is_repeat=True)


def idempotency_release(asked: Asked, *, outcome_known: bool) -> None:
    """The request elsewhere failed. If it surely made nothing, the key is free again; else a repeat looks for it."""
    rows = IdempotencyKey.objects.filter(scope=asked.scope, status__isnull=True)
    if outcome_known:
        rows.delete()
    else:
        rows.update(reserved_until=None)


def idempotency_trim() -> int:
    """Delete the answers that are no longer kept; returns how many."""
    deleted, _ = IdempotencyKey.objects.filter(created_at__lt=timezone.now() - KEPT_FOR).delete()
    return deleted


def _lock(asked: Asked) -> None:
    """One request per key at a time, until the transaction ends. SQLite's transactions write one at a time anyway."""
    if connection.vendor != "postgresql":
        return
    number = int.from_bytes(bytes.fromhex(asked.scope[:16]), signed=True)
    with connection.cursor() as cursor:
        cursor.execute("SELECT pg_try_advisory_xact_lock(%s)", [number])
        (taken,) = cursor.fetchone()
    if not taken:
        raise InProgress("The first request with this Idempotency-Key is under way; repeat this one later.")


def _find(asked: Asked) -> IdempotencyKey | None:
    """The row, if it is not too old; an old one is deleted."""
    row = IdempotencyKey.objects.filter(pk=asked.scope).first()
    if row is not None and row.created_at < timezone.now() - KEPT_FOR:
        row.delete()
        return None
    return row


def _guard_body(row: IdempotencyKey, asked: Asked) -> None:
    if row.body != asked.body:
        raise KeyReused("This Idempotency-Key was used with another body; use a new key.")


def _read(row: IdempotencyKey) -> Answer:
    try:
        text = ANSWER_SEAL.open(row.answer) if row.encrypted else row.answer
    except SealBroken:
        raise Unavailable("The stored answer cannot be decrypted: the hub's key was changed.") from None
    return Answer(int(row.status or 0), json.loads(text), dict(row.headers))
