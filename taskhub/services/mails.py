"""Mail to people about tasks of their own: written from the outbox, sent by a job with retries.

1. `mails_write` reads the events after its cursor and writes a row for each mail, in the transaction that moves the
   cursor. No request waits for mail, and an event is written once.
2. `mails_send` sends what is due over one connection. A row is deleted once the mail server has taken it: a server that
   is down delays mail, up to `KEPT`, and loses none.
3. A worker that dies in between sends one again, with the same Message-ID.

A task is an account's own if it is assigned to it or was created by it. Without `EMAIL_HOST` nothing is written.
"""

from __future__ import annotations

import json
import logging
import smtplib
import time
from collections.abc import Iterator
from contextlib import suppress
from datetime import timedelta
from email.errors import MessageError
from typing import Any, Final

from django.conf import settings
from django.contrib.auth.models import User
from django.core.mail import EmailMessage, get_connection
from django.db import transaction
from django.db.models import Q
from django.utils import timezone

from taskhub.events import outbox
from taskhub.events.channels import TASKS
from taskhub.events.types import NoteAdded, TaskUpdated
from taskhub.models import Mail, MailCursor, MailKind, NoteKind, Task, TaskStatus
from taskhub.models.mail import ONLY
from taskhub.roles import Role, role_of, sees_task
from taskhub.selectors.notes import notes_of

log = logging.getLogger(__name__)

PAGE: Final = 200
ROUND_S: Final = 30.0
"""How long a round sends; the next one continues."""
KEPT: Final = timedelta(days=3)
"""How long a mail is tried."""
RETRIES_S: Final = (30, 60, 300, 900, 1800)
_PERMANENT: Final = 500
_TEXT_SHOWN: Final = 4000


def mails_write() -> bool:
    """Write the mail of one page of new events. Returns whether there may be more."""
    head = outbox.read_heads([TASKS])[TASKS]
    with transaction.atomic():
        state, is_new = MailCursor.objects.select_for_update().get_or_create(pk=ONLY, defaults={"cursor": head})
        if is_new or state.cursor >= head:
            return False
        rows = outbox.read_after(TASKS, state.cursor, PAGE)
        for row in rows:
            Mail.objects.bulk_create(_mails_of(row.data))
        state.cursor = rows[-1].seq if rows else head
        state.save(update_fields=["cursor"])
    return len(rows) == PAGE


def _mails_of(text: str) -> Iterator[Mail]:
    try:
        said = json.loads(text)
        name, data = said["event"], said["data"]
    except (ValueError, TypeError, KeyError):
        return  # another program's message
    kind = _kind_of(name, data)
    task = Task.objects.filter(pk=data["task_id"]).first() if kind else None
    if kind is None or task is None:
        return
    for user in _recipients(kind, task):
        if kind is MailKind.QUESTION and not _is_asked(user, task, data):
            continue
        subject, body = _words(kind, task, data)
        yield Mail(user=user, task_id=task.pk, kind=kind, subject=subject, body=body, next_attempt_at=timezone.now())


def _kind_of(name: str, data: dict[str, Any]) -> MailKind | None:
    """What the event says that people have to do, if anything."""
    if name == NoteAdded.name:
        return MailKind.QUESTION if data["kind"] == NoteKind.QUESTION else None
    if name != TaskUpdated.name:
        return None
    if "held_back" in data["changed"] and data["held_back"]:
        return MailKind.HELD_BACK
    return MailKind.REVIEW if "status" in data["changed"] and data["status"] == TaskStatus.REVIEW else None


def _recipients(kind: MailKind, task: Task) -> Iterator[User]:
    wanting = User.objects.filter(
        Q(username=task.assignee) | Q(username=task.created_by), **{f"mail_preference__{kind.value}": True}
    )
    for user in wanting.order_by("pk"):
        if _may_receive(user, task):
            yield user


def _may_receive(user: User, task: Task) -> bool:
    is_reader = user.is_active and bool(user.email) and role_of(user) >= Role.VIEWER
    return is_reader and sees_task(user, private=task.private, assignee=task.assignee)


def _is_asked(user: User, task: Task, data: dict[str, Any]) -> bool:
    """Not by themselves; and what was asked while the task was private stays with who could read it then."""
    if (data["author"], data["agent"]) == (user.get_username(), ""):
        return False
    return notes_of(user=user, task=task).filter(pk=data["note_id"]).exists()


def _words(kind: MailKind, task: Task, data: dict[str, Any]) -> tuple[str, str]:
    """Subject and body."""
    title = " ".join(task.title.split())
    if kind is MailKind.QUESTION:
        by = f"{data['author']}/{data['agent']}" if data["agent"] else data["author"]
        options = "".join(f"\n* {option}" for option in data.get("options") or ())
        about = f"{by} asks:\n\n{data['text'][:_TEXT_SHOWN]}{options}"
    elif kind is MailKind.HELD_BACK:
        about = "Agents have failed at this task too often. None gets it until a person releases it."
    else:
        about = "The task waits for a review."
    address = settings.TASKHUB_ADDRESS
    links = f"{address}/tasks/{task.pk}/\n\nWhich mail you get: {address}/settings/\n"
    return f"{kind.label}: {title}"[:300], f"{title}\n\n{about}\n\n{links}"


def mails_send() -> int:
    """Send what is due; returns how many were dealt with. A server that cannot be reached ends the round.

    What never failed comes first, then the oldest. After one that fails the next has a connection of its own: a mail
    that the server chokes on, or that cannot be written, does not hold up the others.
    """
    until = time.monotonic() + ROUND_S
    due = (
        Mail.objects.filter(next_attempt_at__lte=timezone.now())
        .select_related("user")
        .order_by("failures", "created_at", "pk")
    )
    done = 0
    mails = list(due[:PAGE])
    if not mails:
        return 0
    connection = get_connection()
    try:
        for mail in mails:
            if time.monotonic() > until:
                break
            connection.open()
            if not _send(connection, mail):
                _close(connection)
            done += 1
    except OSError as error:  # SMTPException is one
        log.warning("the mail server %s does not work: %s", settings.EMAIL_HOST, error)
        for mail in mails[done:]:
            _note_failure(mail)
    finally:
        _close(connection)
    return done


def _close(connection: Any) -> None:
    with suppress(OSError):
        connection.close()


def _send(connection: Any, mail: Mail) -> bool:
    """Returns whether the connection is good for another one."""
    task = Task.objects.filter(pk=mail.task_id).first()
    if task is None or not _may_receive(mail.user, task):
        mail.delete()
        return True
    headers = {"Message-ID": f"<{mail.pk}@taskhub>", "Auto-Submitted": "auto-generated"}
    message = EmailMessage(mail.subject, mail.body, to=[mail.user.email], headers=headers, connection=connection)
    try:
        message.send()
    except smtplib.SMTPRecipientsRefused as error:
        _note_refusal(mail, error)
        return False
    except (OSError, MessageError, ValueError) as error:  # MessageError, ValueError: of an address that is none
        log.warning("mail %s was not taken: %s", mail.pk, getattr(error, "smtp_code", error))
        _note_failure(mail)
        return False
    mail.delete()
    return True


def _note_refusal(mail: Mail, error: smtplib.SMTPRecipientsRefused) -> None:
    """The server refuses this recipient: a permanent refusal deletes the mail, a temporary one counts as a failure."""
    codes = [code for code, _ in error.recipients.values()]
    if all(code >= _PERMANENT for code in codes):
        log.warning("the mail server refuses the address of account %s", mail.user.get_username())
        mail.delete()
    else:
        _note_failure(mail)


def _note_failure(mail: Mail) -> None:
    if timezone.now() - mail.created_at > KEPT:
        log.warning("mail %s to account %s was not sent within %s", mail.pk, mail.user.get_username(), KEPT)
        mail.delete()
        return
    wait_s = RETRIES_S[min(mail.failures, len(RETRIES_S) - 1)]
    due_at = timezone.now() + timedelta(seconds=wait_s)
    # Not `save`, which fails where the account was deleted meanwhile, and its mail with it.
    Mail.objects.filter(pk=mail.pk).update(failures=mail.failures + 1, next_attempt_at=due_at)
