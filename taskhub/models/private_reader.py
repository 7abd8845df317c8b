"""Private readers: which account could read what was made while a task was private."""

from __future__ import annotations

from typing import Final

from django.db import models


class PrivateReader(models.Model):
    """An account that a task was assigned to while it was private, and from where to where it could read the task.

    Places are numbers, not times: clocks differ and are set. An audit entry is private where its id is between
    `since_entry` and `until_entry` of any row of its task, an event where its number is between `since_event` and
    `until_event`; None is open. It is readable for operators and for the account of a row that it lies in. A private
    task that is reassigned is handed over with all that was made since it became private: the next row begins where the
    former one did. Rows outlive the task, as its history does.
    """

    task_id = models.UUIDField()
    account = models.CharField(max_length=150, blank=True, help_text="Empty: it was assigned to no account.")
    since_entry = models.BigIntegerField(help_text="Id of the first private audit entry.")
    until_entry = models.BigIntegerField(null=True, help_text="Id of the last one that the account may read.")
    since_event = models.BigIntegerField(help_text="Number of the first private event.")
    until_event = models.BigIntegerField(null=True, help_text="Number of the last one that the account may read.")

    class Meta:
        indexes = [
            models.Index(fields=["task_id", "account"], name="private_reader_of_task"),
            models.Index(fields=["until_event"], name="private_reader_kept"),
        ]

    def __str__(self) -> str:
        return f"{self.account or 'no account'} of {self.task_id}"


NO_ENTRY: Final = 0
"""Below every id and number: a row whose beginning is unknown covers everything."""
