"""`manage.py after_restore`: run once after restoring a backup, before the service is started."""

from __future__ import annotations

from typing import Any

from django.core.management.base import BaseCommand

from taskhub.auth.actor import Actor
from taskhub.services.event_numbers import LEAP, event_numbers_leap


class Command(BaseCommand):
    help = "Skip the event numbers that were assigned since the backup, so that no client resumes at a wrong position."

    def handle(self, *args: Any, **options: Any) -> None:  # noqa: ARG002 - Django's interface
        channels = event_numbers_leap(actor=Actor(door="command"))
        self.stdout.write(f"Event numbers of {channels} channels increased by {LEAP}.")
