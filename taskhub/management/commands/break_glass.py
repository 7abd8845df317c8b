"""`manage.py break_glass NAME`: an operator's account whose password works also where passwords are switched off."""

from __future__ import annotations

from argparse import ArgumentParser
from typing import Any

from django.core.management.base import BaseCommand, CommandError

from taskhub.auth.actor import Actor
from taskhub.errors import HubError
from taskhub.services.sign_on import break_glass_account


class Command(BaseCommand):
    help = "Make an operator's account for the day on which the OpenID provider does not answer; print its password."

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument("username")

    def handle(self, *args: Any, **options: Any) -> None:  # noqa: ARG002 - Django's interface
        try:
            password = break_glass_account(actor=Actor(door="command"), username=options["username"])
        except HubError as error:
            raise CommandError(error.message) from None
        self.stdout.write(f"Account: {options['username']}, password: {password} (shown this once)")
