"""`manage.py new_password [account]`: a random password, shown once; what `make password` calls."""

from __future__ import annotations

from argparse import ArgumentParser
from typing import Any

from django.contrib.auth.models import User
from django.core.management.base import BaseCommand, CommandError

from taskhub.auth.actor import Actor
from taskhub.management.commands.prepare import OPERATOR
from taskhub.services.accounts import account_new_password


class Command(BaseCommand):
    help = "Give an account a new random password and print it, once. Its open sessions end."

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument("username", nargs="?", default=OPERATOR)

    def handle(self, *args: Any, **options: Any) -> None:  # noqa: ARG002 - Django's interface
        user = User.objects.filter(username=options["username"]).first()
        if user is None:
            raise CommandError(f"There is no account {options['username']}.")
        password = account_new_password(actor=Actor(door="command"), user=user)
        self.stdout.write(f"Account: {user.get_username()}, password: {password} (shown this once)")
