"""MCP tool claim_task: a task for the caller, at once or when there is one."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from taskhub.api.claim_lines import claim_signals, patient_look
from taskhub.api.claims import ClaimSerializer, LeaseSerializer
from taskhub.api.task_detail import task_detail
from taskhub.api.waiting import Look, Seen, waiting
from taskhub.errors import Conflict
from taskhub.mcp.fields import NamedSerializer
from taskhub.mcp.principal import Requester
from taskhub.mcp.tools import Arguments
from taskhub.mcp.waits import WaitSerializer, ended
from taskhub.roles import Caller
from taskhub.services.claims import Claimed, task_claim
from taskhub.web.thread_pool import with_database_writing


class ClaimTaskSerializer(NamedSerializer, WaitSerializer, ClaimSerializer):
    pass


def claim_now(requester: Requester, arguments: Arguments) -> Any:
    arguments.pop("wait_s", 0)
    return _claim_look(requester, arguments)(requester.user).data


async def claim(requester: Requester, arguments: Arguments) -> Any:
    """With `wait_s`, and without a `task_id`, when there is a task: in turn with all that would take the same one."""
    wait_s = arguments.pop("wait_s", 0)
    look = _claim_look(requester, arguments)
    if "task_id" in arguments:  # there is nothing to wait for
        return (await with_database_writing(look, requester.user)).data
    joined = claim_signals(requester.account, arguments)
    patient = patient_look(look)
    async with waiting(requester.waiter, wait_s, joined, gone=requester.gone, writes=True) as wait:
        first = await with_database_writing(patient, requester.user)
        seen, timed_out = (first, False) if first.mark else await wait.until(patient, bool)
    if isinstance(seen.about, Conflict):
        raise seen.about
    return ended(seen, timed_out).data


def _claim_look(requester: Requester, arguments: Arguments) -> Look:
    """A look is a claim; its mark says whether there was a task."""

    def look(caller: Caller) -> Seen:
        given = dict(arguments)
        actor = replace(requester, user=caller).acting(given)
        claimed = task_claim(actor=actor, **given)
        return Seen(_claimed(caller, claimed), claimed is not None)

    return look


def _claimed(caller: Caller, claimed: Claimed | None) -> dict[str, Any]:
    """The task with its notes and blockers: it spares the agent a call of get_task."""
    if claimed is None:
        return {"task": None, "lease": None}
    lease = None if claimed.claim is None else LeaseSerializer(claimed.claim).data
    return {"task": task_detail(caller, claimed.task), "lease": lease}
