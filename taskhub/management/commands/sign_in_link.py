"""`manage.py sign_in_link`: an address that signs a browser in once, as the operator; what `make link` prints."""

from __future__ import annotations

from argparse import ArgumentParser
from typing import Any

from django.conf import settings
from django.contrib.auth.models import User
from django.core.management.base import BaseCommand, CommandError

from taskhub.auth.sign_in_link import VALID_FOR, link_make
from taskhub.management.commands.prepare import OPERATOR


class Command(BaseCommand):
    help = "Print an address that signs a browser on this machine in, once; local profile only."

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument("username", nargs="?", default=OPERATOR)

    def handle(self, *args: Any, **options: Any) -> None:  # noqa: ARG002 - Django's interface
        if not settings.TASKHUB_SIGN_IN_LINKS:
            raise CommandError("Sign-in links exist in the local profile only; sign in at /login/.")
        user = User.objects.filter(username=options["username"], is_active=True).first()
        if user is None:
            raise CommandError(f"There is no account {options['username']}.")
        self.stdout.write(f"{settings.TASKHUB_ADDRESS}{link_make(user)}")
        minutes = VALID_FOR.seconds // 60
        self.stderr.write(f"It works once, within {minutes} minutes, from this machine.")
