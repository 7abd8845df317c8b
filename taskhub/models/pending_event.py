"""Pending events: committed with their change, without a number yet."""

from __future__ import annotations

from django.db import models


class PendingEvent(models.Model):
    """An event on PostgreSQL between its commit and its number (`taskhub/events/numbering.py`); none stays here.

    Its id is taken from the sequence of django-eventstream's table, and its row there keeps it. On SQLite an event has
    its number at once, and this table is empty.
    """

    id = models.BigIntegerField(primary_key=True)
    channel = models.CharField(max_length=255)
    type = models.CharField(max_length=255)
    data = models.TextField()
    created = models.DateTimeField()

    def __str__(self) -> str:
        return f"{self.channel}: {self.pk}"
