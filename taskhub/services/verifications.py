"""Verifications: request one, repeat one, begin those of tasks in review.

A verification is an execution of kind `verify`, in a sandbox of its own: environment, checkout of the commit that the
last run recorded, its changes and kept files, setup, script. It changes neither status, assignee nor lease of its task.
"""

from __future__ import annotations

import hashlib
import logging
from dataclasses import dataclass
from typing import Final
from uuid import UUID

from django.conf import settings
from django.db import transaction
from django.db.models import Exists, F, OuterRef, Q, QuerySet

from taskhub.auth.actor import SYSTEM, Actor
from taskhub.auth.private_text import unreadable, was_reader
from taskhub.errors import Conflict, Forbidden, HubError, Invalid
from taskhub.lib.leases import watch
from taskhub.models import EnvironmentVersion, Execution, ExecutionKind, Task, TaskStatus, Verdict, VerifyPolicy
from taskhub.roles import viewer_of
from taskhub.selectors.environments import environment_with_id
from taskhub.selectors.evidence import Evidence, active_execution, evidence_of, stands
from taskhub.services import tasks
from taskhub.services.evidence import is_bound
from taskhub.services.execution_environment import time_limit_of
from taskhub.services.execution_rows import execution_create
from taskhub.services.executions import execution_active
from taskhub.services.verdicts import RETRY, task_locked

log = logging.getLogger(__name__)

AT_ONCE: Final = 20
"""Verifications of tasks in review that one look begins."""
_TOGETHER: Final = """\
# The environment's verification, then the task's.
checks=$(mktemp -d) || exit 75
cat >"$checks/environment" <<'{first_end}' || exit 75
{first}{first_end}
cat >"$checks/task" <<'{second_end}' || exit 75
{second}{second_end}
chmod 700 "$checks"/* || exit 75
{first_run} || exit
{second_run}
"""


@dataclass(frozen=True, slots=True)
class Requested:
    """The verification that answers a request: a new one, one that is under way, or that of a standing verdict.

    `is_hidden`: it was private, and who asks could not read it then; its log and its error are not for them.
    """

    execution: Execution
    is_new: bool = False
    is_cached: bool = False
    is_hidden: bool = False


@transaction.atomic
def verification_request(*, actor: Actor, task_id: UUID, again: bool = False) -> Requested:
    """Verify the task's work as it is now. `again`: also where a verdict on it stands; agents may not ask for that.

    Raises NotFound, also for an environment that the actor may not use; Invalid (`nothing_to_verify`) without a script;
    ExecutionActive, -Ending while a run is active; Conflict (`evidence_private`); Forbidden.
    """
    task = tasks.task_lock(actor, task_id)
    if again and is_bound(actor):
        raise Forbidden("Only people and operators verify again what has a verdict.", code="evidence_locked")
    evidence = evidence_of(task)
    _guard(actor, evidence)
    active = active_execution(task)
    if active is not None:
        return _found(actor, _under_way(active))
    has_verdict = task.verified in {Verdict.PASSED, Verdict.FAILED} and stands(task, evidence)
    if has_verdict and not again and task.verified_by is not None:
        return _found(actor, task.verified_by, is_cached=True)
    _guard_private(actor, task, evidence.run)
    return Requested(_queue(actor, task, evidence, account=actor.name), is_new=True)


def _found(actor: Actor, execution: Execution, *, is_cached: bool = False) -> Requested:
    is_hidden = Execution.objects.filter(unreadable(actor.user), pk=execution.pk).exists()
    return Requested(execution, is_cached=is_cached, is_hidden=is_hidden)


def _guard(actor: Actor, evidence: Evidence) -> None:
    """What runs in an environment is for those who may use it: what the task's runs left is a part of it."""
    if evidence.version is not None:
        environment_with_id(user=actor.user, environment_id=evidence.version.environment_id)
    if not evidence.scripts:
        raise Invalid(
            "Neither the task nor its environment has a verify script.",
            code="nothing_to_verify",
            details={"verify": ["Give a script here, or in the environment."]},
        )


def _guard_writer(task: Task, evidence: Evidence) -> None:
    """Of a verification that no account asks for: the author of the task's script need not be an account that may use
    an environment that only the last run named. Raises Conflict.
    """
    version = evidence.version
    if version is None or not evidence.task_script or task.environment_id == version.environment_id:
        return
    if not version.environment.open_to_all:
        words = "The task does not name the environment of its last run; an account that may use it must ask."
        raise Conflict(words, code="environment_not_named")


def _guard_private(actor: Actor, task: Task, run: Execution | None) -> None:
    """The log of a verification may show what the run has left: who reads it must be one who may read the run.

    Raises Conflict.
    """
    readers = {viewer_of(actor.user), task.assignee if task.private else None} - {None}
    if run is not None and not all(was_reader(str(name), run) for name in readers):
        raise Conflict(
            "The last run was private, and its files are not for all who could read this verification; execute the "
            "task again.",
            code="evidence_private",
        )


def _under_way(active: Execution) -> Execution:
    if active.is_verification:
        return active
    tasks.guard_ending(active)
    raise execution_active(active)


def _queue(
    actor: Actor, task: Task, evidence: Evidence, *, account: str, retries: Execution | None = None
) -> Execution:
    return execution_create(
        actor=actor,
        task=task,
        kind=ExecutionKind.VERIFY,
        script=script_of(evidence.scripts),
        timeout_s=time_limit_of(evidence.version),
        environment=evidence.version,
        account=account,
        checks=evidence.run,
        # A public task's: to those who may read the run that is checked.
        private_entry=evidence.run.private_entry if evidence.run else None,
        fingerprint=evidence.fingerprint(),
        retries=retries,
    )


def script_of(scripts: list[str]) -> str:
    """One script that runs these, in order, until one fails: each by its own interpreter, in a process of its own."""
    if len(scripts) == 1:
        return scripts[0]
    first, second = (text if text.endswith("\n") else f"{text}\n" for text in scripts)
    return _TOGETHER.format(
        first=first,
        second=second,
        first_end=_end_word(first),
        second_end=_end_word(second),
        first_run=_run(first, "environment"),
        second_run=_run(second, "task"),
    )


def _end_word(script: str) -> str:
    """Ends a here-document; no line of the script is its own digest."""
    return f"end_{hashlib.sha256(script.encode('utf-8', 'replace')).hexdigest()}"


def _run(script: str, name: str) -> str:
    return f'"$checks/{name}"' if script.startswith("#!") else f'/bin/bash "$checks/{name}"'


def verifications_retry() -> list[UUID]:
    """Repeat, once, those that failed a minute ago because of the sandbox service, if nothing has happened since."""
    queued: list[UUID] = []
    for pk, retry_at in Execution.objects.filter(retry_at__isnull=False).values_list("pk", "retry_at"):
        if (
            retry_at is not None
            and watch.moment_is_past(("verification", pk), retry_at, RETRY)
            and (again := _retry(pk)) is not None
        ):
            queued.append(again.pk)
    return queued


@transaction.atomic
def _retry(execution_id: UUID) -> Execution | None:
    failed = Execution.objects.defer("script", "env").get(pk=execution_id)
    task = task_locked(failed.task_id)
    if not Execution.objects.filter(pk=execution_id, retry_at__isnull=False).update(retry_at=None):
        return None
    if task is None or task.verified_by_id != failed.pk or not task.verified or active_execution(task) is not None:
        return None
    evidence = evidence_of(task)
    if not evidence.scripts or not stands(task, evidence):
        return None
    return _queue(SYSTEM, task, evidence, account=failed.account, retries=failed)


def verifications_begin() -> list[UUID]:
    """With `TASKHUB_VERIFY_IN_REVIEW`: verify tasks in review that have no verdict; the verifications."""
    if not settings.TASKHUB_VERIFY_IN_REVIEW:
        return []
    begun: list[UUID] = []
    for task_id in _in_review().values_list("pk", flat=True):
        if len(begun) >= AT_ONCE:
            break
        execution = _begin(task_id)
        if execution is not None:
            begun.append(execution.pk)
    return begun


def _in_review() -> QuerySet[Task]:
    """Tasks in review without a verdict that may have something to check."""
    versions = EnvironmentVersion.objects.filter(number=F("environment__version"), environment__deleted_at=None)
    checking = {each.environment_id: each.name for each in versions if each.spec.verify_policy != VerifyPolicy.OFF}
    may_be = ~Q(verify_policy=VerifyPolicy.OFF) | Q(environment__in=checking)
    ran_there = Execution.objects.filter(task=OuterRef("pk"), environment__environment__in=checking)
    may_be |= Q(Exists(ran_there), environment=None)
    if settings.TASKHUB_DEFAULT_ENVIRONMENT in checking.values():
        may_be |= Q(environment=None)
    return Task.objects.filter(may_be, status=TaskStatus.REVIEW, verified="").order_by("updated_at", "pk")


@transaction.atomic
def _begin(task_id: UUID) -> Execution | None:
    """None where there is nothing to check, or it has a verdict, or something is under way.

    One that was void once is checked anew, also where the work is again as it was.
    """
    task = task_locked(task_id)
    if task is None:
        return None
    evidence = evidence_of(task)
    is_due = task.status == TaskStatus.REVIEW and not task.verified and evidence.is_checked
    if not is_due or active_execution(task) is not None:
        return None
    try:
        _guard(SYSTEM, evidence)
        _guard_writer(task, evidence)
        _guard_private(SYSTEM, task, evidence.run)
    except HubError as refusal:
        log.info("task %s in review is not verified: %s", task_id, refusal.code)
        return None
    return _queue(SYSTEM, task, evidence, account="")
