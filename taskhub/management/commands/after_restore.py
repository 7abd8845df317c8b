"""`manage.py after_restore`: once, on a database that was restored from a backup, before the service is started."""

from __future__ import annotations

from typing import Any

from django.core.management.base import BaseCommand

from taskhub.auth.actor import Actor
from taskhub.services.event_numbers import LEAP, event_numbers_leap


class Command(BaseCommand):
    help = "Leave out the event numbers that were given since the backup, so that no client resumes in the wrong place."

    def handle(self, *args: Any, **options: Any) -> None:  # noqa: ARG002 - Django's interface
        channels = event_numbers_leap(actor=Actor(door="command"))
        self.stdout.write(f"The numbers of {channels} channels go on {LEAP} later.")
