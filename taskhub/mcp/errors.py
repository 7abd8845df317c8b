"""What a tool says when it fails: REST's error body, and what the agent can do next."""

from __future__ import annotations

import logging
from typing import Any, Final

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
    "transition_refused": "Choose a status of details.allowed.",
    "precondition_failed": "get_task, and repeat the change with its present version.",
    "execution_active": "Poll get_execution, or stop_execution first.",
    "execution_not_active": "get_execution tells how it ended.",
    "execution_not_found": "execute_task starts one.",
    "script_missing": "Give script_content.",
    "script_too_large": "Put data into the sandbox in another way; keep the script short.",
    "sandbox_not_found": "list_sandboxes shows what is there.",
    "sandbox_unavailable": "Try again in 30 seconds.",
    "sandbox_key_refused": "Tell an operator; do not retry.",
    "internal_error": "Try once more; then tell an operator.",
}
"""By error code; what is not here says it in its message."""


def failure_body(error: Exception) -> dict[str, Any]:
    """`{"error": {"code", "message", "details"?, "next"?}}`; of an exception of our own fault, nothing."""
    response = answer(error, {}) if isinstance(error, HubError | ExecutorError | APIException) else None
    if response is None:
        log.error("a tool failed", exc_info=error)
        body = error_body("internal_error", "Something went wrong on our side; it has been logged.")
    else:
        body = dict(response.data)
    following = _NEXT.get(body["error"]["code"])
    return {"error": {**body["error"], **({"next": following} if following else {})}}
