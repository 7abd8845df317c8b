"""MCP tool for notes: add one, ask, answer."""

from __future__ import annotations

from typing import Any

from taskhub.api.notes import NoteCreateSerializer, note_fields
from taskhub.mcp.fields import HolderSerializer, TaskIdField
from taskhub.mcp.principal import Requester
from taskhub.mcp.tools import Arguments, Tool
from taskhub.roles import Role
from taskhub.services.notes import note_add


class AddNoteSerializer(HolderSerializer, NoteCreateSerializer):
    task_id = TaskIdField()


def _add(requester: Requester, arguments: Arguments) -> Any:
    actor = requester.acting(arguments)
    task_id = arguments.pop("task_id")
    note = note_add(actor=actor, task_id=task_id, **note_fields(arguments))
    deadline = {} if note.deadline is None else {"deadline": note.deadline}
    return {"id": note.pk, "kind": note.kind, **deadline}


NOTE_TOOLS = (
    Tool(
        name="add_note",
        title="Add a note",
        description="Add a note, result or review to a task; ask people (get_task waits for the answer), or answer the "
        "open question.",
        takes=AddNoteSerializer,
        run=_add,
        role=Role.AGENT,
    ),
)
