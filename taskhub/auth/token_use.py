"""Last use of API tokens: written at most once a minute, and never in the way of a request."""

from __future__ import annotations

import logging
from collections.abc import Iterable
from datetime import timedelta
from typing import Final

from django.db import DatabaseError, connection, transaction
from django.db.models import Q
from django.utils import timezone

from taskhub.models import ApiToken

log = logging.getLogger(__name__)

EVERY: Final = timedelta(minutes=1)


def tokens_note_use(tokens: Iterable[ApiToken]) -> None:
    """Write `last_used_at` where it is not less than a minute old. The tokens have the value that was read.

    Of several processes one writes. A database that cannot write does not fail a request that only reads.
    """
    now = timezone.now()
    due = [token.pk for token in tokens if token.last_used_at is None or not now - EVERY < token.last_used_at <= now]
    if not due:
        return
    is_due = Q(last_used_at__isnull=True) | Q(last_used_at__lte=now - EVERY) | Q(last_used_at__gt=now)
    try:
        if connection.in_atomic_block:
            with transaction.atomic():  # a savepoint: an error must not end the caller's transaction
                ApiToken.objects.filter(is_due, pk__in=due).update(last_used_at=now)
        else:
            ApiToken.objects.filter(is_due, pk__in=due).update(last_used_at=now)
    except DatabaseError as error:
        log.info("the last use of a token was not written: %s", error)
