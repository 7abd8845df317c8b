"""`manage.py prepare`: migrate, join the pages' scripts, create operator account and API token at the first start."""

from __future__ import annotations

import os
import secrets
from argparse import ArgumentParser
from pathlib import Path
from typing import Any

from django.conf import settings
from django.contrib.auth.models import User
from django.core.management import call_command
from django.core.management.base import BaseCommand
from django.db import transaction
from knox.crypto import hash_token

from taskhub.auth.actor import Actor
from taskhub.auth.sign_in_link import link_make
from taskhub.management.first_schema import first_schema_build
from taskhub.models import ApiToken
from taskhub.services.tokens import token_create
from taskhub.web.static_storage import static_files_prepare

OPERATOR = "operator"


class Command(BaseCommand):
    help = (
        "Migrate the database; create the operator account and the token file in the data folder if they are missing; "
        "in the local profile, join and compress the files of the pages."
    )

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument("--sign-in-link", type=Path, metavar="FILE", help="write the path of a sign-in link there")

    def get_check_kwargs(self, options: dict[str, Any]) -> Any:
        """The checks of `migrate`, which makes none when it is called from here."""
        usual: Any = super().get_check_kwargs(options)
        return {**usual, "databases": ["default"]}

    def handle(self, *args: Any, **options: Any) -> None:  # noqa: ARG002 - Django's interface
        first_schema_build()
        call_command("migrate", verbosity=0, interactive=False)
        if settings.TASKHUB_PREPARED_STATIC is not None:
            static_files_prepare()
        path = Path(settings.DATA_DIR) / "token"
        with transaction.atomic():
            operator, password = self._operator()
            token = None if self._is_known(path) else self._make(operator)
        if password:
            self.stdout.write(f"Operator account: {OPERATOR}, password: {password} (shown this once)")
        if token:
            self._keep(path, token)
            self.stdout.write(f"API token: {token} (shown this once; kept in {path})")
        if options["sign_in_link"]:
            _write_private(options["sign_in_link"], link_make(operator))

    def _operator(self) -> tuple[User, str | None]:
        found = User.objects.filter(username=OPERATOR).first()
        if found is not None:
            return found, None
        password = secrets.token_urlsafe(12)
        return User.objects.create_superuser(OPERATOR, password=password), password

    @staticmethod
    def _make(operator: User) -> str:
        _, token = token_create(actor=Actor(door="command"), user=operator, name="make run", expiry=None)
        return token

    @staticmethod
    def _is_known(path: Path) -> bool:
        """Whether the file holds a token of this database; the database may have been replaced since it was written."""
        if not path.exists():
            return False
        digest = hash_token(path.read_text(encoding="utf-8").strip())
        return bool(ApiToken.objects.filter(digest=digest).exists())

    @staticmethod
    def _keep(path: Path, token: str) -> None:
        new = path.with_suffix(".new")
        new.unlink(missing_ok=True)
        _write_private(new, f"{token}\n")
        new.replace(path)


def _write_private(path: Path, text: str) -> None:
    with os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w", encoding="ascii") as file:
        file.write(text)
