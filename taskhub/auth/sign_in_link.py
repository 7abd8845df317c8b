"""One-time sign-in links: the address that `make run` prints for the operator's browser.

A link is signed with `SECRET_KEY` and valid for 10 minutes. It names its account, and the account's last sign-in and
password at that time: using the link is a sign-in, which ends it, as any other sign-in or a new password does. Only the
local profile has links (`TASKHUB_SIGN_IN_LINKS`), and only clients on this machine can use them; in a container, where
every client comes from the bridge, the `Host` has to be a loopback name.
"""

from __future__ import annotations

import re
from datetime import timedelta
from ipaddress import ip_address
from typing import Final

from django.conf import settings
from django.contrib.auth.models import User
from django.core import signing
from django.http import HttpRequest
from django.urls import reverse
from django.utils import timezone

from taskhub.auth.rate_limits import address_of, failures, network_of

VALID_FOR: Final = timedelta(minutes=10)
_SALT: Final = "taskhub.auth.sign_in_link"
_SEPARATOR: Final = "."
_ACCOUNT: Final = re.compile(r"[0-9]{1,18}")


class LinkRefused(Exception):
    """It is forged, too old, or was used; or this client may not use links."""


def link_make(user: User) -> str:
    """The path and query of a link for this account."""
    return f"{reverse('sign-in-link')}?token={_signer(user).sign(str(user.pk))}"


def another_link() -> str:
    """The command that prints another link."""
    return (
        "docker compose exec taskhub python -m config.launcher link" if settings.TASKHUB_IN_CONTAINER else "make link"
    )


def link_use(request: HttpRequest, token: str) -> User:
    """The account of the link, which then cannot be used again. Raises LinkRefused.

    A link that is refused counts as a failed credential of the client's address; a right one always passes.
    """
    if not _is_here(request):
        raise LinkRefused
    account = token.partition(_SEPARATOR)[0]
    user = User.objects.filter(pk=account, is_active=True).first() if _ACCOUNT.fullmatch(account) else None
    if user is None or not _is_valid(user, token):
        failures.count(network_of(request))
        raise LinkRefused
    # Of two requests at once, one changes the row.
    if not User.objects.filter(pk=user.pk, last_login=user.last_login).update(last_login=timezone.now()):
        raise LinkRefused
    return user


def _signer(user: User) -> signing.TimestampSigner:
    """Signs for the account as it is now: with its password (a digest of it) and its last sign-in."""
    last_login = user.last_login.isoformat() if user.last_login else ""
    return signing.TimestampSigner(salt=f"{_SALT}:{user.get_session_auth_hash()}:{last_login}", sep=_SEPARATOR)


def _is_valid(user: User, token: str) -> bool:
    try:
        _signer(user).unsign(token, max_age=VALID_FOR)
    except signing.BadSignature:
        return False
    return True


def _is_here(request: HttpRequest) -> bool:
    """`ALLOWED_HOSTS` of the local profile are loopback names: Django has refused other hosts."""
    if settings.TASKHUB_IN_CONTAINER:
        return True
    try:
        return ip_address(address_of(request)).is_loopback
    except ValueError:
        return False
