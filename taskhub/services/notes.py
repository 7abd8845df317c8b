"""Notes: add one, ask a question, answer it; at its deadline a question gets the answer that it assumes."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import timedelta
from typing import Any, Final
from uuid import UUID

from django.db import transaction
from django.db.models import QuerySet
from django.utils import timezone

from taskhub.auth.actor import SYSTEM, Actor
from taskhub.errors import Conflict, Invalid
from taskhub.events.publish import publish
from taskhub.events.types import NoteAdded
from taskhub.lib.leases import watch
from taskhub.models import AuditEntry, Note, NoteKind, Task, TaskStatus
from taskhub.models.claim import agent_title
from taskhub.models.note import TEXT_LIMIT_BYTES
from taskhub.services.audit import audit_write
from taskhub.services.leases import claim_of, holds, lease_begin_anew, lease_guard, named_by_lease
from taskhub.services.privacy import last_entry
from taskhub.services.tasks import task_lock, task_update

log = logging.getLogger(__name__)

DEADLINE_MOST_S: Final = 30 * 86_400
OPTIONS_MOST: Final = 10
_OF_WHO_MAY_CHANGE: Final = frozenset({NoteKind.RESULT, NoteKind.QUESTION, NoteKind.ANSWER})


class AnswerLate(Conflict):
    """The deadline has passed; what was assumed is the answer."""

    default_code = "answer_late"


@dataclass(frozen=True, slots=True)
class Question:
    """What a question has beside its text. `deadline_s`: seconds from now, after which `assumes` is the answer."""

    options: Sequence[str] = ()
    deadline_s: int | None = None
    assumes: str = ""


NO_QUESTION: Final = Question()


def note_add(
    *,
    actor: Actor,
    task_id: UUID,
    kind: str,
    text: str,
    question_id: int | None = None,
    question: Question = NO_QUESTION,
) -> Note:
    """Add a note to a task; it changes neither the task's version nor its claim.

    A question is the task's only open one. An answer is to that one, or to `question_id`. Raises NotFound; Invalid;
    LeaseLost and Held for results, questions and answers; Conflict (`question_open`, `question_answered`); AnswerLate,
    which leaves the assumed answer written.
    """
    _guard_fields(kind, text, question)
    with transaction.atomic():
        task = task_lock(actor, task_id)
        if kind in _OF_WHO_MAY_CHANGE or actor.lease or (actor.is_agent and holds(actor, task)):
            lease_guard(actor, task)
        if kind == NoteKind.ANSWER:
            note = _answer(actor, task, text, question_id)
        elif kind == NoteKind.QUESTION:
            note = _ask(actor, task, text, question)
        else:
            note = _write(actor, task, Note(kind=kind, text=text))
    if note.assumed:
        raise _late(note)
    return note


def hub_note_add(*, task: Task, kind: NoteKind, text: str) -> Note:
    """A note of the hub itself, in the transaction of a service that has locked the task.

    A question is only for a task without an open one.
    """
    return _write(SYSTEM, task, Note(kind=kind, text=text))


def _ask(actor: Actor, task: Task, text: str, question: Question) -> Note:
    if task.open_question_id is not None:
        raise Conflict(
            "The task has an open question; wait for its answer.",
            code="question_open",
            details={"question": task.open_question_id},
        )
    asked = Note(kind=NoteKind.QUESTION, text=text, options=list(question.options), assumes=question.assumes)
    if question.deadline_s is not None:
        asked.deadline_s = question.deadline_s
        asked.deadline = timezone.now() + timedelta(seconds=question.deadline_s)
    return _write(actor, task, asked)


def _answer(actor: Actor, task: Task, text: str, question_id: int | None) -> Note:
    """The note; the assumed answer in place of one that comes late."""
    asked = task.open_question
    if asked is None or question_id not in {None, asked.pk}:
        raise _no_such_question(task, question_id)
    if asked.deadline is not None and asked.deadline <= timezone.now():
        return _assume(task, asked)
    return _write(actor, task, Note(kind=NoteKind.ANSWER, text=text, question=asked))


def _no_such_question(task: Task, question_id: int | None) -> Conflict:
    answers = task.notes.filter(kind=NoteKind.ANSWER)
    given = (answers.filter(question=question_id) if question_id is not None else answers).first()
    if given is None:
        return Conflict("The task has no open question.", code="question_not_open")
    if given.assumed:
        return _late(given)
    by = agent_title(given.author, given.agent) if given.agent else given.author
    return Conflict("The question was answered already.", code="question_answered", details={"answered_by": by})


def _late(given: Note) -> AnswerLate:
    words = "The deadline has passed; the answer that the question assumes holds."
    return AnswerLate(words, details={"assumed": given.text})


def _assume(task: Task, asked: Note) -> Note:
    return _write(SYSTEM, task, Note(kind=NoteKind.ANSWER, text=asked.assumes, question=asked, assumed=True))


def _write(actor: Actor, task: Task, note: Note) -> Note:
    """Audit, event, and the locked task's open question."""
    note.task, note.author, note.agent = task, actor.name, named_by_lease(actor).agent
    audit_write(actor=actor, action="note:add", task_id=task.pk, changes={"kind": [None, str(note.kind)]})
    if task.private:
        note.private_entry = last_entry(AuditEntry.objects.filter(task_id=task.pk, action="note:add"))
    note.save()
    if note.kind in {NoteKind.QUESTION, NoteKind.ANSWER}:
        task.open_question = note if note.kind == NoteKind.QUESTION else None
        task.save(update_fields=["open_question"])
    if note.kind == NoteKind.ANSWER and (claim := claim_of(task)) is not None:
        lease_begin_anew(claim)  # it did not run out while its holder waited
    publish(
        NoteAdded(
            task_id=task.pk,
            note_id=note.pk,
            kind=note.kind,
            text=note.text,
            author=note.author,
            agent=note.agent,
            at=note.at,
            waiting_for=task.waiting_for,
            assignee=task.assignee,
            question=note.question_id,
            options=note.options or None,
            deadline=note.deadline,
            assumes=note.assumes or None,
            assumed=note.assumed or None,
        )
    )
    return note


def _guard_fields(kind: str, text: str, question: Question) -> None:
    if len(text.encode()) > TEXT_LIMIT_BYTES or len(question.assumes.encode()) > TEXT_LIMIT_BYTES:
        raise Invalid(f"A note may have at most {TEXT_LIMIT_BYTES} bytes.", details={"text": ["Too long."]})
    if kind != NoteKind.QUESTION and question != NO_QUESTION:
        raise Invalid("Only questions have these.", details={"kind": ["Must be question for options and a deadline."]})
    if (question.deadline_s is None) != (not question.assumes):
        raise Invalid(
            "A deadline and what is assumed after it belong together.",
            details={"assumes": ["Give both deadline_s and assumes, or neither."]},
        )


@transaction.atomic
def task_set_status(*, actor: Actor, task_id: UUID, status: str, note: str = "", **fields: Any) -> Task:
    """Change the status, as `task_update` does, and say why in a note: a result, or a review where work is sent back.

    Raises what `task_update` raises, and Invalid for a note that is too long.
    """
    if not note:
        return task_update(actor=actor, task_id=task_id, status=status, **fields)
    _guard_fields(NoteKind.NOTE, note, NO_QUESTION)
    # Not locked: the order's lock comes first (`task_update`). It only says which kind of note this is.
    before = Task.objects.filter(pk=task_id).values_list("status", flat=True).first()
    task = task_update(actor=actor, task_id=task_id, status=status, **fields)
    _write(actor, task, Note(kind=_kind_of_move(before, status), text=note))
    return task


def _kind_of_move(before: str | None, after: str) -> NoteKind:
    if before == TaskStatus.REVIEW:
        return NoteKind.REVIEW
    return NoteKind.RESULT if after in {TaskStatus.REVIEW, TaskStatus.DONE} else NoteKind.NOTE


def _awaited() -> QuerySet[Note]:
    """Open questions that have a deadline."""
    return Note.objects.filter(asked_by__isnull=False, deadline__isnull=False)


def questions_have_deadlines() -> bool:
    """Whether any open question is answered by a deadline."""
    return _awaited().exists()


def questions_expire() -> list[int]:
    """Answer the questions whose deadlines have passed with what they assume; their ids."""
    expired: list[int] = []
    for pk, deadline, length_s in _awaited().values_list("pk", "deadline", "deadline_s"):
        length = timedelta(seconds=length_s or 0)
        if deadline and watch.moment_is_past(("question", pk), deadline, length) and _answer_expired(pk):
            log.info("question %s was answered by its deadline", pk)
            expired.append(pk)
    return expired


@transaction.atomic
def _answer_expired(question_id: int) -> bool:
    """False where it has been answered meanwhile."""
    task = Task.objects.select_for_update().defer("folded_text").filter(open_question=question_id).first()
    if task is None or task.open_question is None:
        return False
    _assume(task, task.open_question)
    return True
