"""`manage.py create_token alice --name laptop --days 30`: an API token for an account, shown once."""

from __future__ import annotations

from argparse import ArgumentParser
from datetime import timedelta
from typing import Any

from django.contrib.auth.models import User
from django.core.management.base import BaseCommand, CommandError
from django.utils import timezone

from taskhub.auth.actor import Actor
from taskhub.errors import HubError
from taskhub.roles import ROLES, Role
from taskhub.services.accounts import account_create
from taskhub.services.tokens import token_create

ACTOR = Actor(door="command")


class Command(BaseCommand):
    help = "Create an API token for an account and print it, once."

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument("username")
        parser.add_argument("--name", default="", help="a name by which its owner recognises it")
        lives = parser.add_mutually_exclusive_group()
        lives.add_argument("--days", type=int, default=90, help="days until it expires (90)")
        lives.add_argument("--never-expires", action="store_true", help="valid until it is revoked")
        parser.add_argument(
            "--role",
            choices=list(ROLES),
            help="the most that the token may do (agent); an account that does not exist is created with this role",
        )

    def handle(self, *args: Any, **options: Any) -> None:  # noqa: ARG002 - Django's interface
        user = User.objects.filter(username=options["username"]).first()
        if user is None and not options["role"]:
            raise CommandError(f"Account {options['username']} does not exist; --role creates it.")
        expiry = None if options["never_expires"] else timezone.now() + timedelta(days=options["days"])
        try:
            user = user or account_create(actor=ACTOR, username=options["username"], role=ROLES[options["role"]])
            role = ROLES[options["role"] or Role.AGENT.group]
            _, text = token_create(actor=ACTOR, user=user, name=options["name"][:100], expiry=expiry, role=role)
        except HubError as error:
            raise CommandError(error.message) from None
        self.stdout.write(text)
