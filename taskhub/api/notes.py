"""`/api/tasks/{task_id}/notes`: notes, questions and answers."""

from __future__ import annotations

from typing import Any, ClassVar
from uuid import UUID

from django.db.models import QuerySet
from drf_spectacular.utils import extend_schema
from rest_framework import serializers, status
from rest_framework.generics import ListAPIView
from rest_framework.request import Request
from rest_framework.response import Response

from taskhub.api.actors import LEASE, AgentQuerySerializer, actor_of
from taskhub.api.fields import OneOfField, ShortListField, StrictSerializer, TextField
from taskhub.api.idempotency import IDEMPOTENCY_KEY, idempotent
from taskhub.api.pagination import NewestEntryFirst
from taskhub.api.permissions import AGENTS_WRITE
from taskhub.api.query import KnownQuery
from taskhub.api.rendered import HTML_HELP, HtmlQuerySerializer
from taskhub.lib.markdown import render_markdown
from taskhub.models import Note, NoteKind
from taskhub.models.note import TEXT_LIMIT_BYTES
from taskhub.selectors.notes import notes_for
from taskhub.services.notes import DEADLINE_MOST_S, OPTIONS_MOST, AnswerLate, Question, note_add

_OPTION_LENGTH = 200


class NoteSerializer(serializers.ModelSerializer[Note]):
    """Words on a task. `agent` is empty for a person, `author` for the hub itself.

    A question may have `options`, and a `deadline` after which it is answered by what it `assumes`; an answer has the
    id of its `question`, and `assumed` where it was written at the deadline.
    """

    question = serializers.IntegerField(source="question_id", allow_null=True)
    options = serializers.ListField(child=serializers.CharField())

    class Meta:
        model = Note
        fields = [
            *("id", "kind", "text", "author", "agent", "at"),
            *("question", "options", "deadline", "assumes", "assumed"),
        ]


class RenderedNoteSerializer(NoteSerializer):
    """As Note, with `html=true` also its text as HTML."""

    text_html = serializers.CharField(required=False, allow_null=True, help_text=HTML_HELP)

    class Meta(NoteSerializer.Meta):
        fields = [*NoteSerializer.Meta.fields, "text_html"]

    def to_representation(self, instance: Note) -> dict[str, Any]:
        shown: dict[str, Any] = super().to_representation(instance)
        if not self.context.get("html"):
            del shown["text_html"]
            return shown
        return shown | {"text_html": render_markdown(instance.text)}


class NoteCreateSerializer(StrictSerializer):
    """`text` is Markdown. `options`, `deadline_s` and `assumes` are for questions, `question` for answers: the open
    one unless given."""

    example: ClassVar[dict[str, Any]] = {
        "kind": "question",
        "text": "Which region?",
        "options": ["eu", "us"],
        "deadline_s": 3600,
        "assumes": "eu",
    }

    kind = OneOfField(choices=NoteKind.choices, default=NoteKind.NOTE)
    text = TextField(max_length=TEXT_LIMIT_BYTES, trim_whitespace=False, visible=True)
    question = serializers.IntegerField(required=False, min_value=1, max_value=2**53)
    options = ShortListField(
        child=TextField(max_length=_OPTION_LENGTH, visible=True), max_length=OPTIONS_MOST, required=False
    )
    deadline_s = serializers.IntegerField(required=False, min_value=1, max_value=DEADLINE_MOST_S)
    assumes = TextField(required=False, max_length=TEXT_LIMIT_BYTES, help_text="Answer after the deadline.")


def note_fields(given: dict[str, Any]) -> dict[str, Any]:
    """The arguments of `note_add` in a validated body."""
    question = Question(
        options=tuple(given.get("options", ())),
        deadline_s=given.get("deadline_s"),
        assumes=given.get("assumes", ""),
    )
    return {
        "kind": given["kind"],
        "text": given["text"],
        "question_id": given.get("question"),
        "question": question,
    }


class TaskNotesView(KnownQuery, ListAPIView[Note]):
    """The notes on a task, newest first."""

    roles = AGENTS_WRITE
    queries: ClassVar[dict[str, Any]] = {"get": HtmlQuerySerializer, "post": AgentQuerySerializer}
    queryset = Note.objects.none()
    serializer_class = RenderedNoteSerializer
    pagination_class = NewestEntryFirst
    filter_backends = []

    @extend_schema(parameters=[HtmlQuerySerializer])
    def get(self, request: Request, *args: Any, **kwargs: Any) -> Response:
        """List the notes on a task, the newest first."""
        return self.list(request, *args, **kwargs)

    def get_serializer_context(self) -> dict[str, Any]:
        return {**super().get_serializer_context(), "html": self.read_query(self.request).get("html", False)}

    def get_queryset(self) -> QuerySet[Note]:
        return notes_for(user=self.request.user, task_id=self.kwargs["task_id"])

    @extend_schema(
        request=NoteCreateSerializer,
        responses={201: NoteSerializer},
        parameters=[IDEMPOTENCY_KEY, LEASE, AgentQuerySerializer],
    )
    @idempotent(stores=lambda response: response.status_code == status.HTTP_201_CREATED)
    def post(self, request: Request, task_id: UUID) -> Response:
        """Add a note, ask a question, or answer one. What is written is never changed."""
        body = NoteCreateSerializer(data=request.data)
        body.is_valid(raise_exception=True)
        try:
            note = note_add(actor=actor_of(request), task_id=task_id, **note_fields(body.validated_data))
        except AnswerLate as late:
            # Not raised: what was assumed is written, and must not be rolled back.
            return Response(late.body(), status=late.status)
        return Response(NoteSerializer(note).data, status=status.HTTP_201_CREATED)
