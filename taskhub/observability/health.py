"""Health checks: `/healthz` (liveness) and `/readyz` (readiness, by part)."""

from __future__ import annotations

import threading
import time
from typing import Final, TypedDict

from django.conf import settings
from django.db import DatabaseError
from django.http import HttpRequest, JsonResponse
from django.views.decorators.http import require_safe

from taskhub.observability import parts
from taskhub.observability.heartbeat import LATE_S, heartbeat_ages
from taskhub.observability.parts import OK

GOOD_FOR_S: Final = 1.0


class Health(TypedDict):
    """`failing`: the hub cannot work. `degraded`: it works without a part. Each part is `ok` or has a description of
    the failure."""

    status: str
    parts: dict[str, str]


@require_safe
def healthz(request: HttpRequest) -> JsonResponse:  # noqa: ARG001 - Django's interface
    return JsonResponse({"status": OK})


@require_safe
def readyz(request: HttpRequest) -> JsonResponse:  # noqa: ARG001 - Django's interface
    """503 if the hub cannot work; a process that is only `degraded` should still receive requests."""
    health = remembered.read()
    return JsonResponse(health, status=503 if health["status"] == "failing" else 200)


class _Remembered:
    """Unauthenticated; results are cached for 1 s, and one thread at a time checks the parts."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._health: Health | None = None
        self._until = 0.0

    def read(self) -> Health:
        # While one thread checks, the others return the last result.
        is_mine = self._lock.acquire(blocking=self._health is None)
        try:
            if self._health is None or (is_mine and time.monotonic() >= self._until):
                self._health = read_health()
                self._until = time.monotonic() + GOOD_FOR_S
            return self._health
        finally:
            if is_mine:
                self._lock.release()

    def forget(self) -> None:
        self._until = 0.0


remembered: Final = _Remembered()


def read_health() -> Health:
    """Without Redis events take up to 2 s; without broker, beat or workers nothing starts and nothing is polled."""
    database = parts.database()
    if database == parts.AWAY:
        return {"status": "failing", "parts": {"database": database}}
    try:
        ages = heartbeat_ages()
    except DatabaseError:
        return {"status": "failing", "parts": {"database": parts.AWAY}}
    found = {
        "database": database,
        "redis": parts.notifications(),
        "broker": parts.broker(),
        "beat": _say_age(ages.get("beat")),
        "worker": _say_age(ages.get("worker")),
        "data": parts.data_folder(settings.DATA_DIR, settings.TASKHUB_DATA_FREE_LEAST_BYTES),
    }
    return {"status": OK if set(found.values()) == {OK} else "degraded", "parts": found}


def _say_age(age_s: float | None) -> str:
    if age_s is None:
        return "never seen"
    return OK if age_s <= LATE_S else f"silent for {age_s:,.0f} s"
