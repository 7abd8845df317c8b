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

REFUSED: Final = -32_000
"""The code of a refusal before the protocol, as servers define it (JSON-RPC 2.0, section 5.1)."""
_NEXT: Final = {
    "token_expired": "Ask the person who runs you for a new token: `make token` makes one.",
    "token_revoked": "Ask the person who runs you for another token.",
    "account_disabled": "Ask an operator; do not retry.",
    "throttled": "Wait for the seconds in details, then repeat the call.",
    "not_authenticated": "Connect with the header `Authorization: Bearer <API token>`.",
    "forbidden": "Ask an operator for the role; do not retry.",
    "invalid": "Correct the arguments that details names, and call again.",
    "not_found": "Take ids from list_tasks or get_sandbox.",
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
    "sandbox_not_found": "get_sandbox without an id lists sandboxes.",
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


def rpc_error(message_id: str | int | None, error: Exception, retry_after: str | None) -> dict[str, Any]:
    """A refusal as a JSON-RPC error: its message says what is wrong and what to do; the data is the tools' body."""
    body = failure_body(error)
    if retry_after is not None:
        details = body["error"].get("details") or {}
        body["error"]["details"] = {**details, "retry_after_s": int(retry_after)}
    told = body["error"]
    words = " ".join(filter(None, [told["message"], told.get("next")]))
    return {"jsonrpc": "2.0", "id": message_id, "error": {"code": REFUSED, "message": words, "data": body}}
