"""`manage.py unlock_account <account>`: forget the failed sign-ins of an account, so that its owner can sign in now."""

from __future__ import annotations

from argparse import ArgumentParser
from typing import Any

from django.contrib.auth.models import User
from django.core.management.base import BaseCommand, CommandError

from taskhub.auth.actor import Actor
from taskhub.services.accounts import account_unlock


class Command(BaseCommand):
    help = "Forget the failed sign-ins of an account, over all addresses and browsers."

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument("username")

    def handle(self, *args: Any, **options: Any) -> None:  # noqa: ARG002 - Django's interface
        user = User.objects.filter(username=options["username"]).first()
        if user is None:
            raise CommandError(f"There is no account {options['username']}.")
        count = account_unlock(actor=Actor(door="command"), user=user)
        self.stdout.write(f"Account {user.get_username()}: {count} counters of failed sign-ins are reset.")
