"""Evidence of a task: scripts and policy in force, what they check, and its fingerprint.

A verdict belongs to what was checked. The fingerprint is SHA-256 over the description, the scripts and the policy in
force, the environment and its version, and, of the last run that has ended, the commit, the digest of its files and
how many were not kept that should have been. Status, notes, leases, tags, assignee, title and priority do not enter it.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime
from typing import Final, NamedTuple
from uuid import UUID

from django.conf import settings

from taskhub.auth.private_text import unreadable
from taskhub.models import (
    ACTIVE_STATUSES,
    NOT_SUPERSEDED,
    Environment,
    EnvironmentVersion,
    Execution,
    ExecutionKind,
    Task,
    TaskStatus,
    Verdict,
    VerifyPolicy,
)
from taskhub.models.evidence import stricter
from taskhub.roles import Caller
from taskhub.selectors.environments import environment_list_for

CHECKED: Final = frozenset({"description", "verify", "verify_policy", "environment"})
"""Fields of a task that enter its fingerprint."""


@dataclass(frozen=True, slots=True)
class Evidence:
    """What would be checked now. `version` is that of the environment, `run` the last run that has ended, if any."""

    description: str
    policy: str
    environment_script: str
    task_script: str
    version: EnvironmentVersion | None
    run: Execution | None

    @property
    def scripts(self) -> list[str]:
        """In the order in which they run."""
        return [each for each in (self.environment_script, self.task_script) if each]

    @property
    def is_checked(self) -> bool:
        """Whether a verification says something about the task: there is a script, and a policy."""
        return bool(self.scripts) and self.policy != VerifyPolicy.OFF

    @property
    def is_required(self) -> bool:
        return self.policy == VerifyPolicy.REQUIRED

    def fingerprint(self) -> str:
        environment = self.version and [str(self.version.environment_id), self.version.number]
        told = {
            "description": self.description,
            "scripts": [self.environment_script, self.task_script],
            "policy": self.policy,
            "environment": environment,
            "commit": self.run.commit if self.run else "",
            "files": self.run.files_digest if self.run else "",
            "left_out": self.run.evidence_left_out if self.run else 0,
        }
        return hashlib.sha256(json.dumps(told, sort_keys=True).encode()).hexdigest()


def files_digest(files: Iterable[tuple[str, str]]) -> str:
    """SHA-256 over the sorted (path, SHA-256) of files; empty without any."""
    rows = sorted(files)
    return hashlib.sha256(json.dumps(rows).encode()).hexdigest() if rows else ""


def evidence_of(task: Task) -> Evidence:
    """Of the task as it is in memory: its row may be about to change."""
    run = _last_run(task)
    version = _version(task, run)
    spec = version.spec if version is not None else None
    return Evidence(
        description=task.description,
        policy=stricter(task.verify_policy, spec.verify_policy) if spec else task.verify_policy,
        environment_script=spec.verify if spec else "",
        task_script=task.verify,
        version=version,
        run=run,
    )


def _last_run(task: Task) -> Execution | None:
    """The last one whose script has begun and that has ended."""
    runs = task.executions.filter(kind=ExecutionKind.RUN, started_at__isnull=False)
    runs = runs.exclude(status__in=ACTIVE_STATUSES).order_by("-queued_at", "-id")
    return runs.select_related("environment").defer("script", "env", "secret_env", "environment__document").first()


def _version(task: Task, run: Execution | None) -> EnvironmentVersion | None:
    """The present version of the task's environment, else of the hub's, else of that of the last run.

    That of a deleted environment counts as well: deleting one makes no task easier to be done.
    """
    environment_id = task.environment_id or _default_id()
    if environment_id is None and run is not None and run.environment is not None:
        environment_id = run.environment.environment_id
    if environment_id is None:
        return None
    return EnvironmentVersion.objects.filter(environment=environment_id).order_by("-number").first()


def _default_id() -> UUID | None:
    name = settings.TASKHUB_DEFAULT_ENVIRONMENT
    if not name:
        return None
    return Environment.objects.filter(name=name, deleted_at=None).values_list("pk", flat=True).first()


def stands(task: Task, evidence: Evidence) -> bool:
    """Whether the task's verdict is on what would be checked now."""
    return (
        bool(task.verified) and task.verified_by is not None and task.verified_by.fingerprint == evidence.fingerprint()
    )


def is_proven(task: Task, evidence: Evidence) -> bool:
    """Whether the verification has passed. Not while a run is active: its end may change what was checked."""
    if task.verified != Verdict.PASSED or not stands(task, evidence):
        return False
    runs = task.executions.filter(kind=ExecutionKind.RUN, status__in=ACTIVE_STATUSES)
    return not runs.exists()


def is_done(task: Task) -> bool:
    """Done as work is, and not closed without a result."""
    return task.status == TaskStatus.DONE and not task.closed_as


def is_checked(task: Task) -> bool:
    """Whether a done task is shown with its verdict."""
    return task.status == TaskStatus.DONE and evidence_of(task).policy != VerifyPolicy.OFF


def active_execution(task: Task) -> Execution | None:
    """The task's one active execution."""
    active = task.executions.filter(NOT_SUPERSEDED, status__in=ACTIVE_STATUSES)
    return active.defer("script", "env").first()


def last_verification(*, user: Caller | None, task: Task) -> Execution | None:
    """The newest that this reader may see, whether it has ended or not."""
    found = task.executions.filter(kind=ExecutionKind.VERIFY).exclude(unreadable(user)).order_by("-queued_at", "-id")
    return found.defer("script", "env").first()


class Check(NamedTuple):
    """What a reader of a task sees about its check. `last` is the newest verification, whether it has ended or not; one
    that was private is left out for those who could not read it then."""

    policy: str
    has_script: bool
    environment_verify: str | None
    verified_at: datetime | None
    last: Execution | None
    stands: bool


def check_of(*, user: Caller | None, task: Task) -> Check | None:
    """None where nothing is checked. `environment_verify` is null for readers who may not use the environment."""
    evidence = evidence_of(task)
    if evidence.policy == VerifyPolicy.OFF and not evidence.scripts:
        return None
    verification = task.verified_by if task.verified else None
    last = last_verification(user=user, task=task)
    return Check(
        policy=evidence.policy,
        has_script=bool(evidence.scripts),
        environment_verify=_shown_to(user, evidence),
        verified_at=verification.finished_at if verification else None,
        last=last,
        stands=last is not None and verification is not None and verification.pk == last.pk,
    )


def _shown_to(user: Caller | None, evidence: Evidence) -> str | None:
    if not evidence.environment_script or evidence.version is None:
        return ""
    usable = environment_list_for(user=user).filter(pk=evidence.version.environment_id)
    return evidence.environment_script if usable.exists() else None
