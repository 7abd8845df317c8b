"""Errors of tools: REST's error body, and a hint what the agent can do next."""

from __future__ import annotations

import logging
from typing import Any, Final

from django.db import Error as DatabaseTrouble
from rest_framework.exceptions import APIException

from taskhub.api.errors import answer
from taskhub.errors import HubError, error_body
from taskhub.executions.executor import ExecutorError

log = logging.getLogger(__name__)

_NEXT: Final = {
    "not_authenticated": "Connect with the header `Authorization: Bearer <API token>`.",
    "forbidden": "Ask an operator for the role; do not retry.",
    "invalid": "Correct the arguments that details names, and call again.",
    "not_found": "Take ids from list_tasks or list_sandboxes.",
    "task_not_found": "list_tasks shows the tasks you may see.",
    "task_not_claimable": "Call claim_task without task_id for the next free task.",
    "held": "Call claim_task for another task.",
    "lease_lost": "Stop working on it; claim_task with this task_id takes it anew, if it is free.",
    "blocked": "Call claim_task for another task.",
    "dependency_cycle": "Leave out the blocker that waits for this task.",
    "question_open": "Wait for its answer: get_task with wait_s.",
    "paused": "Finish what you hold; then wait: claim_task with wait_s.",
    "held_back": "Claim another task; a person looks after this one.",
    "transition_refused": "Choose a status of details.allowed.",
    "execution_ending": "Try again after the seconds in details.",
    "precondition_failed": "Call get_task, and repeat the change with its current version.",
    "execution_active": "Wait for its end: get_execution with wait_s; or stop_execution first.",
    "execution_not_active": "Call get_execution for its outcome.",
    "execution_not_found": "Start one with execute_task.",
    "script_missing": "Give script_content.",
    "script_too_large": "Shorten the script; fetch data from within the sandbox.",
    "sandbox_not_found": "Take ids from list_sandboxes.",
    "sandbox_unavailable": "Try again in 30 seconds.",
    "sandbox_key_refused": "Tell an operator; do not retry.",
    "database_unavailable": "Try again after the seconds in details.",
    "internal_error": "Try once more; then tell an operator.",
}
"""By error code; other errors say it in their message."""


def failure_body(error: Exception) -> dict[str, Any]:
    """`{"error": {"code", "message", "details"?, "next"?}}`; an internal error reveals nothing."""
    known = HubError | ExecutorError | APIException | DatabaseTrouble
    response = answer(error, {}) if isinstance(error, known) else None
    if response is None:
        log.error("a tool failed", exc_info=error)
        body = error_body("internal_error", "Internal error; it has been logged.")
    else:
        body = dict(response.data)
    following = _NEXT.get(body["error"]["code"])
    return {"error": {**body["error"], **({"next": following} if following else {})}}
