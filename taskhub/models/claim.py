"""Claims: an agent's hold on a task under a lease, and the agents themselves."""

from __future__ import annotations

from typing import Final

from django.db import models

from taskhub.models.task import Task

ACCOUNT_LENGTH: Final = 150
AGENT_LENGTH: Final = 100


def agent_title(account: str, name: str) -> str:
    """How an agent is called where it is shown, and in `Task.holder`."""
    return f"{account}/{name}"


class Agent(models.Model):
    """Who works with an account's tokens. Several agents of one account are told apart by `name`."""

    account = models.CharField(max_length=ACCOUNT_LENGTH, help_text="Name of the account.")
    name = models.CharField(max_length=AGENT_LENGTH, help_text="As it calls itself, else the name of its token.")
    token_id = models.UUIDField(null=True, help_text="Public id of the token that it used last.")
    last_seen_at = models.DateTimeField(help_text="Written at most once a minute.")

    class Meta:
        indexes = [
            models.Index(fields=["-last_seen_at", "-id"], name="agent_newest"),
            models.Index(fields=["token_id"], name="agent_of_token"),
        ]
        constraints = [models.UniqueConstraint(fields=["account", "name"], name="agent_once")]

    def __str__(self) -> str:
        return agent_title(self.account, self.name)


class ClaimEnd(models.TextChoices):
    """How a claim ended."""

    LOST = "lost", "Lost: its lease ran out"
    RELEASED = "released", "Released"
    FAILED = "failed", "Released after a run that failed"
    HANDED_OVER = "handed_over", "Handed over: review or done"
    TAKEN = "taken", "Ended by a person"


class Claim(models.Model):
    """
    held → lost | released | failed | handed_over | taken

    One attempt of an agent at a task. `token` is the lease: the agent that shows it holds the task, and a claim
    that is repeated by its holder gets a new one. It runs out at `expires_at`, `lease_s` seconds after the last renewal
    (`services/claims.py`); the clock that judges this is monotonic (`lib/leases.py`).
    """

    task = models.ForeignKey(Task, on_delete=models.CASCADE, related_name="claims")
    agent = models.ForeignKey(Agent, on_delete=models.CASCADE, related_name="claims")
    token = models.CharField(max_length=64, unique=True)
    lease_s = models.PositiveIntegerField(help_text="Length of the lease in seconds.")
    expires_at = models.DateTimeField()
    attempt = models.PositiveIntegerField(help_text="From 1; counted anew after review, done, and a person's release.")
    begun_at = models.DateTimeField(auto_now_add=True)
    ended_at = models.DateTimeField(null=True)
    end = models.CharField(max_length=11, choices=ClaimEnd.choices, blank=True, default="")
    ended_by = models.CharField(max_length=ACCOUNT_LENGTH, blank=True, default="", help_text="Person who ended it.")

    class Meta:
        indexes = [
            models.Index(fields=["task", "agent", "-id"], name="claim_of_agent"),
            models.Index(fields=["begun_at"], name="claim_newest"),
            models.Index(fields=["expires_at"], name="claim_held", condition=models.Q(ended_at__isnull=True)),
            models.Index(
                fields=["agent", "begun_at"], name="claim_of_holder", condition=models.Q(ended_at__isnull=True)
            ),
        ]
        constraints = [
            models.UniqueConstraint(fields=["task"], name="claim_one_holder", condition=models.Q(ended_at__isnull=True))
        ]

    def __str__(self) -> str:
        return f"attempt {self.attempt} of {self.agent}"
