"""Evidence: who may set what is checked, what `done` needs, and what makes a verdict void.

`task_apply` and `task_create` call these on a locked task, whatever interface the change came through: no status is
written elsewhere, so there is no way round them.
"""

from __future__ import annotations

from typing import Any, Final

from taskhub.auth.actor import Actor
from taskhub.errors import Conflict, Forbidden, Invalid
from taskhub.events.publish import publish
from taskhub.events.types import TaskVerified
from taskhub.executions.script import normalised
from taskhub.models import Task, TaskStatus, VerifyPolicy
from taskhub.models.evidence import strictness
from taskhub.roles import Role, role_of
from taskhub.selectors.environments import environment_with_id
from taskhub.selectors.evidence import CHECKED, Evidence, evidence_of, is_done, is_proven, stands

SET: Final = frozenset({"verify", "verify_policy", "environment"})
"""Fields that decide how a task is checked."""
_CONCERNED: Final = CHECKED | {"status", "closed_as", "override_reason"}
Changes = dict[str, list[Any]]
"""Fields of a task, to what they were and are."""


class Unverified(Conflict):
    """Under `required` a task is done only with a passed verification of the work as it is now."""

    default_code = "unverified"


def evidence_clean(fields: dict[str, Any]) -> dict[str, Any]:
    """The fields of a request with its script as it runs; one without a word is none."""
    script = fields.get("verify")
    return fields if script is None else {**fields, "verify": normalised(script) if script.strip() else ""}


def evidence_guard_set(actor: Actor, task: Task, fields: dict[str, Any]) -> None:
    """Before a locked task gets these fields.

    Raises Forbidden for an agent that would make the check laxer or another one; NotFound for the script of a task in
    an environment that the actor may not use; Invalid for a policy without a script.
    """
    if not SET & fields.keys():
        return
    before = evidence_of(task)
    if is_bound(actor):
        _guard_agent(before, task, fields)
    moves = fields.get("environment", task.environment) != task.environment
    is_new_script = fields.get("verify", task.verify) != task.verify
    if is_new_script and not moves and before.version is not None:
        environment_with_id(user=actor.user, environment_id=before.version.environment_id)
    if fields.get("verify_policy", VerifyPolicy.OFF) == VerifyPolicy.REQUIRED:
        _guard_script(task, fields)


def is_bound(actor: Actor) -> bool:
    """Whether it may not change how work is checked: agents, but neither people nor operators' tokens."""
    return actor.is_agent and actor.user is not None and role_of(actor.user) < Role.OPERATOR


def _guard_agent(before: Evidence, task: Task, fields: dict[str, Any]) -> None:
    if fields.get("verify", task.verify) != task.verify:
        raise _locked("An agent sets verify only when it creates a task; ask a person, or an operator.")
    policy = fields.get("verify_policy", task.verify_policy)
    if strictness(policy) < strictness(task.verify_policy):
        raise _locked("An agent may only make verify_policy stricter; ask a person, or an operator.")
    if fields.get("environment", task.environment) == task.environment or before.version is None:
        return
    spec = before.version.spec
    if before.policy != VerifyPolicy.OFF and (spec.verify or spec.verify_policy != VerifyPolicy.OFF):
        raise _locked("The task is checked by its environment; an agent may not move it to another one.")


def _locked(words: str) -> Forbidden:
    return Forbidden(words, code="evidence_locked")


def _guard_script(task: Task, fields: dict[str, Any]) -> None:
    """Of the task as it will be."""
    planned = Task(pk=task.pk, verify=fields.get("verify", task.verify), verify_policy=VerifyPolicy.REQUIRED)
    planned.environment = fields.get("environment", task.environment)
    if not evidence_of(planned).scripts:
        words = "Give verify, or an environment that has it: without a script the task could not be done."
        raise Invalid(words, details={"verify_policy": [words]})


def evidence_guard_new(actor: Actor, task: Task) -> None:
    """After a task was created, in its transaction. Raises Invalid; Unverified; Forbidden."""
    if task.verify_policy == VerifyPolicy.REQUIRED:
        _guard_script(task, {})
    if not is_done(task):
        if task.override_reason:
            raise _nothing_overridden()
        return
    evidence = evidence_of(task)
    if _needs_override(task, evidence):
        _guard_override(actor, task, evidence)
    elif task.override_reason:
        task.override_reason = ""  # nothing is overridden
        task.save(update_fields=["override_reason"])


def evidence_follow(actor: Actor, task: Task, changes: Changes) -> Changes:
    """The changes of a locked task that has its new values already, with those that they bring about.

    Raises Unverified where the task must not be done; Forbidden, Invalid for an `override_reason`.
    """
    if not _CONCERNED & changes.keys():
        return changes
    was_done = _was(task, changes, "status") == TaskStatus.DONE and not _was(task, changes, "closed_as")
    is_concerned = bool(task.verified and CHECKED & changes.keys())
    evidence = evidence_of(task) if is_concerned or (is_done(task) and not was_done) else None
    changes = _follow_done(actor, task, changes, evidence, was_done=was_done)
    if is_concerned and evidence is not None and not stands(task, evidence):
        changes = {**changes, "verified": [task.verified, ""]}
        task.verified = ""
    return changes


def _was(task: Task, changes: Changes, name: str) -> Any:
    return changes[name][0] if name in changes else getattr(task, name)


def _follow_done(actor: Actor, task: Task, changes: Changes, evidence: Evidence | None, *, was_done: bool) -> Changes:
    if is_done(task) and not was_done and evidence is not None:
        if _needs_override(task, evidence):
            _guard_override(actor, task, evidence)
            return changes
        return _without_reason(task, changes)
    if task.override_reason and "override_reason" in changes:
        raise _nothing_overridden()
    return changes if is_done(task) else _without_reason(task, changes)


def _without_reason(task: Task, changes: Changes) -> Changes:
    """Nothing is overridden: what was said before, or was given now without need, is not kept."""
    before = _was(task, changes, "override_reason")
    task.override_reason = ""
    rest = {name: change for name, change in changes.items() if name != "override_reason"}
    return {**rest, "override_reason": [before, ""]} if before else rest


def _needs_override(task: Task, evidence: Evidence) -> bool:
    return evidence.is_required and not is_proven(task, evidence)


def _guard_override(actor: Actor, task: Task, evidence: Evidence) -> None:
    if not task.override_reason.strip():
        raise _unverified(task, evidence)
    if actor.user is None or role_of(actor.user) < Role.OPERATOR:
        raise Forbidden("Only operators override a verification.", code="override_forbidden")


def _nothing_overridden() -> Invalid:
    words = "Only a change to done has override_reason."
    return Invalid(words, details={"override_reason": [words]})


def _unverified(task: Task, evidence: Evidence) -> Unverified:
    how = f"POST /api/tasks/{task.pk}/verify"
    words = f"The task is done only when its verification has passed: {how}, or execute_task with verify=true."
    if not evidence.scripts:
        words = "The task is done only when its verification has passed, and it has no script: a person may set verify."
    verified = task.verified if stands(task, evidence) else None
    details = {"policy": evidence.policy, "verified": verified, "rest": how, "mcp": "execute_task(verify=true)"}
    return Unverified(words, details=details)


def evidence_tell(task: Task) -> None:
    """Publish the locked task's verdict, or that it has none any more."""
    verification = task.verified_by if task.verified else None
    publish(
        TaskVerified(
            task_id=task.pk,
            verified=task.verified or None,
            version=task.version,
            updated_at=task.updated_at,
            assignee=task.assignee,
            execution_id=verification.pk if verification else None,
            checked_execution_id=verification.checks_id if verification else None,
        )
    )
