"""Evidence: policies of verification, verdicts, and how they compare."""

from __future__ import annotations

from typing import Final

from django.db import models


class ExecutionKind(models.TextChoices):
    """`verify`: it checks what the task's last run left, and changes nothing of the task but its verdict."""

    RUN = "run", "Run"
    VERIFY = "verify", "Verification"


class VerifyPolicy(models.TextChoices):
    """From the laxest to the strictest. `required`: the task is done only when its verification has passed."""

    OFF = "off", "Off"
    WARN = "warn", "Warn"
    REQUIRED = "required", "Required"


class Verdict(models.TextChoices):
    """What a verification says; `unavailable`: it could not be carried out, so it says nothing of the work."""

    PASSED = "passed", "Passed"
    FAILED = "failed", "Failed"
    UNAVAILABLE = "unavailable", "Unavailable"


def strictness(policy: str) -> int:
    """0 for `off`, 2 for `required`."""
    return VerifyPolicy.values.index(policy)


def stricter(*policies: str) -> str:
    """The strictest of these."""
    return max(policies, key=strictness)


NOT_SUPERSEDED: Final = models.Q(superseded=False)
"""Condition on executions that are the task's one active execution, of those that are active."""
