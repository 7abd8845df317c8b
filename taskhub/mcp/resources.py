"""MCP resources: tasks and execution logs; `subscriptions.py` notifies of their changes."""

from __future__ import annotations

import json
import re
from functools import partial
from typing import Final
from uuid import UUID

from rest_framework.renderers import JSONRenderer

from taskhub.api.routes import UUID_PATTERN
from taskhub.api.task_detail import task_detail
from taskhub.errors import NotFound
from taskhub.executions.log_reading import log_tail
from taskhub.mcp.budget import ANSWER_BYTES, fit
from taskhub.mcp.principal import Requester
from taskhub.mcp.task_tools import fitting_rows
from taskhub.models import Task
from taskhub.selectors.executions import execution_find_for
from taskhub.selectors.tasks import task_get_for
from taskhub.web.thread_pool import with_database

TEMPLATES: Final = (
    ("taskhub://tasks/{id}", "task", "A task, as returned by get_task.", "application/json"),
    ("taskhub://executions/{id}/log", "execution-log", "The end of an execution's log, at most 16 KiB.", "text/plain"),
)
"""URI template, name, description, media type."""
_ADDRESS: Final = re.compile(rf"taskhub://(?:tasks/({UUID_PATTERN})|executions/({UUID_PATTERN})/log)")
_LINES: Final = 1000
_LISTED: Final = 50
_REST_OF_TASK: Final = "The tool read_file with path /description, /notes or /task reads the whole."
_CUT_LOG: Final = "[TaskHub: the end of the log; the tool read_file with path /log reads the whole]\n"


def task_uri(task_id: str) -> str:
    return f"taskhub://tasks/{task_id}"


def log_uri(execution_id: str) -> str:
    return f"taskhub://executions/{execution_id}/log"


async def read_resource(requester: Requester, uri: str) -> tuple[str, str]:
    """Text and media type of a resource. Raises NotFound, ExecutorError."""
    found = _ADDRESS.fullmatch(uri)
    if found is None:
        raise NotFound("Resource not found; resources/templates/list has the known templates.")
    if found[1]:
        return await with_database(_task, requester, UUID(found[1])), "application/json"
    return await _log(requester, UUID(found[2])), "text/plain"


def _task(requester: Requester, task_id: UUID) -> str:
    task = task_get_for(user=requester.user, task_id=task_id)
    detail = json.loads(JSONRenderer().render(task_detail(requester.user, task)))
    return json.dumps(fit(detail, rest=_REST_OF_TASK), ensure_ascii=False, separators=(",", ":"))


async def _log(requester: Requester, execution_id: UUID) -> str:
    find = partial(execution_find_for, user=requester.user, execution_id=execution_id)
    lines = (await log_tail(await with_database(find), _LINES)).lines
    text = "".join(f"{line.line}\n" for line in lines)
    raw = text.encode("utf-8", "replace")
    if len(raw) <= ANSWER_BYTES:
        return text
    return _CUT_LOG + raw[len(_CUT_LOG) - ANSWER_BYTES :].decode("utf-8", "ignore")


def list_resources(requester: Requester, cursor: str | None) -> tuple[list[dict[str, str]], str | None]:
    """A page of tasks, newest first, and the next page's cursor; the answer keeps its budget. Raises NotFound."""
    return fitting_rows(requester, _listed, cursor=cursor or "", limit=_LISTED)


def _listed(task: Task) -> dict[str, str]:
    """The protocol's Resource."""
    return {"uri": task_uri(str(task.pk)), "name": task.title, "mimeType": "application/json"}
