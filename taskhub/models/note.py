"""Notes: append-only words of people and agents on a task, and its questions with their answers."""

from __future__ import annotations

from typing import Final

from django.db import models

from taskhub.models.claim import ACCOUNT_LENGTH, AGENT_LENGTH
from taskhub.models.task import Task

TEXT_LIMIT_BYTES: Final = 8 * 1024


class NoteKind(models.TextChoices):
    NOTE = "note", "Note"
    RESULT = "result", "Result"
    REVIEW = "review", "Review"
    QUESTION = "question", "Question"
    ANSWER = "answer", "Answer"


class Note(models.Model):
    """
    A question is open until it has an answer: `Task.open_question` names the one that is.

    Written once and never changed. `assumes` is what a question's answer is taken to be after its deadline; that answer
    is written by the service itself, with `assumed`.
    """

    task = models.ForeignKey(Task, on_delete=models.CASCADE, related_name="notes")
    kind = models.CharField(max_length=8, choices=NoteKind.choices)
    text = models.TextField(help_text="Markdown.")
    author = models.CharField(max_length=ACCOUNT_LENGTH, blank=True, default="", help_text="Account; empty: the hub.")
    agent = models.CharField(max_length=AGENT_LENGTH, blank=True, default="", help_text="Empty: a person.")
    at = models.DateTimeField(auto_now_add=True)
    private_entry = models.BigIntegerField(
        null=True, editable=False, help_text="Id of its audit entry, if its task was private then."
    )
    question = models.ForeignKey(
        "self", null=True, on_delete=models.CASCADE, related_name="answers", help_text="Of an answer."
    )
    options = models.JSONField(default=list, blank=True, help_text="Of a question: answers to choose from.")
    deadline = models.DateTimeField(null=True, help_text="Of a question.")
    deadline_s = models.PositiveIntegerField(null=True, help_text="How long it was open at most, in seconds.")
    assumes = models.TextField(blank=True, default="", help_text="Of a question: its answer after the deadline.")
    assumed = models.BooleanField(default=False, help_text="Of an answer: written at the deadline.")

    class Meta:
        ordering = ["-id"]
        indexes = [models.Index(fields=["task", "-id"], name="note_newest")]
        constraints = [
            models.UniqueConstraint(
                fields=["question"], name="note_one_answer", condition=models.Q(question__isnull=False)
            )
        ]

    def __str__(self) -> str:
        return f"{self.kind} {self.pk}"
