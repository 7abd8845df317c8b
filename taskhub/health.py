"""`/healthz`: the process lives. `/readyz`: the parts it needs answer."""

from __future__ import annotations

import redis
from django.conf import settings
from django.db import DatabaseError, connection
from django.http import HttpRequest, JsonResponse
from django.views.decorators.http import require_safe


@require_safe
def healthz(request: HttpRequest) -> JsonResponse:  # noqa: ARG001 - Django's interface
    return JsonResponse({"status": "ok"})


@require_safe
def readyz(request: HttpRequest) -> JsonResponse:  # noqa: ARG001 - Django's interface
    """200 `ok`; 200 `degraded` without Redis (events then take up to 2 s); 503 `failing` without the database."""
    parts = {"database": database_answers(), "redis": redis_answers()}
    if not parts["database"]:
        return JsonResponse({"status": "failing", "parts": parts}, status=503)
    return JsonResponse({"status": "ok" if parts["redis"] else "degraded", "parts": parts})


def database_answers() -> bool:
    try:
        with connection.cursor() as cursor:
            cursor.execute("SELECT 1 FROM taskhub_task LIMIT 1")
    except DatabaseError:
        return False
    return True


def redis_answers() -> bool:
    try:
        with redis.Redis.from_url(settings.REDIS_URL, socket_connect_timeout=0.5, socket_timeout=0.5) as client:
            return bool(client.ping())
    except redis.RedisError:
        return False
