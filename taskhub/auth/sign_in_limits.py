"""Brute-force protection of passwords: rate limits by account and address, by account, and by trusted device.

1. Each attempt is counted before the password is looked at, in the database, so that many at once and several web
   processes are counted together; a right password takes its count back.
2. From a browser without a device cookie of the account it is counted for the account from this address, and for the
   account over all addresses. The address as a whole has the limit of wrong credentials (`rate_limits.py`) as well.
3. A browser that has signed in to the account carries a signed device cookie. It has a counter of its own, and none of
   the others holds for it: strangers who try passwords cannot lock the account's owner out.
4. At a limit the attempt raises `TooManyAttempts`, whatever the password. The counter is forgotten `WINDOW` after its
   first failure; `account_unlock` forgets all of an account.

Names of accounts that do not exist are counted in the same way: a refusal does not tell which names exist.
"""

from __future__ import annotations

import secrets
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import timedelta
from math import ceil
from typing import Any, Final

from django.conf import settings
from django.contrib.auth.models import User
from django.core import signing
from django.db import transaction
from django.db.models import F, Q
from django.http import HttpRequest
from django.http.response import HttpResponseBase
from django.utils import timezone
from django.utils.crypto import salted_hmac

from taskhub.auth.rate_limits import failures, network_of
from taskhub.models import PasswordFailures

WINDOW: Final = timedelta(minutes=5)
_CLOCK_AHEAD: Final = timedelta(minutes=1)
DEVICE_COOKIE: Final = "taskhub_device"
_DEVICE_FOR: Final = timedelta(days=365)
_ACCOUNTS_OF_A_BROWSER: Final = 5
_SALT: Final = "taskhub.auth.device"


class TooManyAttempts(Exception):
    """Wait `wait_s` seconds. It says nothing of the password, which was not looked at."""

    def __init__(self, wait_s: float) -> None:
        self.wait_s = max(1, ceil(wait_s))
        super().__init__(f"Too many attempts, try again in {self.wait_s} s.")


@dataclass(frozen=True, slots=True)
class Attempt:
    """`own`: the counters that a right password forgets; `shared`: the one that it takes its count back from."""

    own: str
    shared: str = field(default="")


def attempt_begin(request: HttpRequest, username: str) -> Attempt:
    """Count an attempt to sign in. Raises TooManyAttempts."""
    account = _digest(username)
    device = _devices(request).get(account)
    if device is not None:
        attempt = Attempt(own=_digest(f"device {device} {username}"))
        limits: list[tuple[str, Callable[[], int]]] = [(attempt.own, _per_address)]
    else:
        wait_s = failures.wait_s(network_of(request))
        if wait_s > 0:
            raise TooManyAttempts(wait_s)
        attempt = Attempt(own=_digest(f"address {network_of(request)} {username}"), shared=account)
        # An address at its limit does not use up that of the account: it alone could lock all others out.
        limits = [(attempt.own, _per_address), (attempt.shared, _per_account)]
    for key, most in limits:
        wait_s = _count(key, account, most())
        if wait_s > 0:
            raise TooManyAttempts(wait_s)
    return attempt


def attempt_succeeded(attempt: Attempt) -> None:
    PasswordFailures.objects.filter(pk=attempt.own).delete()
    if attempt.shared:
        PasswordFailures.objects.filter(pk=attempt.shared, failures__gt=0).update(failures=F("failures") - 1)


def _per_address() -> int:
    return int(settings.TASKHUB_FAILED_PASSWORDS)


def _per_account() -> int:
    return int(settings.TASKHUB_FAILED_PASSWORDS_PER_ACCOUNT)


@transaction.atomic
def _count(key: str, account: str, most: int) -> float:
    """Seconds to wait: 0 up to `most` attempts. Further ones do not prolong it."""
    if not most:
        return 0.0
    now = timezone.now()
    counter = PasswordFailures.objects.filter(pk=key)
    # A row from far beyond the window is of a clock that was ahead; from just beyond it, of another attempt that was
    # counted since `now`.
    counter.filter(Q(until__lte=now) | Q(until__gt=now + WINDOW + _CLOCK_AHEAD)).delete()
    PasswordFailures.objects.bulk_create(
        [PasswordFailures(key=key, account=account, until=now + WINDOW)], ignore_conflicts=True
    )
    counter.update(failures=F("failures") + 1)
    row = counter.get()
    return (row.until - now).total_seconds() if row.failures > most else 0.0


def failures_of(username: str) -> list[PasswordFailures]:
    """The counters of an account that still count."""
    return list(PasswordFailures.objects.filter(account=_digest(username), until__gt=timezone.now()))


def locked_for_s(username: str) -> int:
    """Seconds for which browsers that the account does not know cannot sign in to it; 0 if they can."""
    most, key = _per_account(), _digest(username)
    row = (
        PasswordFailures.objects.filter(pk=key, failures__gte=most, until__gt=timezone.now()).first() if most else None
    )
    return ceil((row.until - timezone.now()).total_seconds()) if row else 0


def failures_forget(username: str) -> int:
    """Forget all counters of the account; returns how many there were."""
    return PasswordFailures.objects.filter(account=_digest(username)).delete()[0]


def failures_trim() -> None:
    """Delete counters that have ended."""
    PasswordFailures.objects.filter(until__lte=timezone.now()).delete()


def device_remember(request: HttpRequest, response: HttpResponseBase, user: User) -> None:
    """Give the browser a device cookie for this account; those of other accounts, the latest few, stay."""
    known = _devices(request)
    account = _digest(user.get_username())
    nonce = known.pop(account, None) or secrets.token_urlsafe(12)
    kept = dict([*known.items(), (account, nonce)][-_ACCOUNTS_OF_A_BROWSER:])
    response.set_cookie(
        DEVICE_COOKIE,
        signing.dumps(kept, salt=_SALT),
        max_age=_DEVICE_FOR,
        secure=bool(settings.SESSION_COOKIE_SECURE),
        httponly=True,
        samesite="Lax",
    )


def _devices(request: HttpRequest) -> dict[str, str]:
    """Of the browser: a secret of each account that it has signed in to. Empty where the cookie is not one of ours."""
    try:
        found: Any = signing.loads(request.COOKIES.get(DEVICE_COOKIE, ""), salt=_SALT, max_age=_DEVICE_FOR)
    except signing.BadSignature:
        return {}
    return dict(found)


def _digest(text: str) -> str:
    return salted_hmac("taskhub.auth.sign_in_limits", text, algorithm="sha256").hexdigest()
