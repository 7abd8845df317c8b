"""Reserved account names: filters by assignee give `me` and `nobody` a meaning of their own."""

from __future__ import annotations

from typing import Final

from django.contrib.auth.models import User
from django.core.exceptions import ValidationError

ME: Final = "me"
NOBODY: Final = "nobody"
RESERVED_NAMES: Final = frozenset({ME, NOBODY})


def guard_name(username: str) -> None:
    """Raises ValidationError for a reserved name, in any case."""
    if username.casefold() in RESERVED_NAMES:
        raise ValidationError(f"{username} is reserved; choose another name.", code="reserved_name")


def connect() -> None:
    """Have the admin's forms and `createsuperuser` refuse reserved names.

    `default_validators` of the one field, since Django writes `validators` into migrations of its own app.
    """
    field = User._meta.get_field("username")  # noqa: SLF001 - Django's documented name
    field.default_validators = [*field.default_validators, guard_name]
    vars(field).pop("validators", None)  # cached, if another app has looked at them
