"""`/api/events/status`: how broadcasting stands (spec 003). The stream itself is in `streams`."""

from __future__ import annotations

from functools import partial
from typing import Any, Final

from asgiref.sync import async_to_sync
from django.http import HttpRequest, JsonResponse
from drf_spectacular.utils import extend_schema
from rest_framework import serializers
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.views import APIView

from taskhub.api.callers import readers_only
from taskhub.api.query import KnownQuery, guard_query
from taskhub.events import asyncapi, outbox
from taskhub.events.channels import TASKS
from taskhub.events.hub import get_hub
from taskhub.events.process_status import Report, add_up, read_others
from taskhub.lib.recent import Recent
from taskhub.observability.parts import redis_answers


class EventStatusSerializer(serializers.Serializer[Any]):
    """All web processes together, as of at most 2 s ago; the one that answers, as of now."""

    status = serializers.ChoiceField(
        choices=["ok", "degraded"], help_text="degraded: Redis is away, and events take up to 2 s."
    )
    redis = serializers.BooleanField()
    database = serializers.BooleanField()
    processes = serializers.IntegerField(help_text="Web processes that hold streams, or held some lately.")
    connected_clients = serializers.IntegerField()
    clients_per_channel = serializers.DictField(child=serializers.IntegerField())
    last_event_ids = serializers.DictField(child=serializers.CharField(), help_text="The newest event per channel.")
    events_per_second = serializers.FloatField(help_text="Over the last 60 s.")
    slowest_lag_events = serializers.IntegerField(help_text="How far the slowest stream is behind.")
    slowest_lag_s = serializers.FloatField(help_text="Seconds since it last had everything.")
    counters = serializers.DictField(
        child=serializers.IntegerField(),
        help_text="Of the last day: resumes, resets, table_reads (a stream fell behind the memory), and streams "
        "closed, by how they ended (closed_by_client, completed, stalled, recycled, shutdown, error).",
    )


_FIELDS: Final = tuple(EventStatusSerializer().fields)


@readers_only
def asyncapi_document(request: HttpRequest) -> JsonResponse:
    """`/api/asyncapi.json`: the event stream for programs that read AsyncAPI 3."""
    guard_query(request.GET, ())
    return JsonResponse(asyncapi.build(request.get_host(), secure=request.is_secure()))


async def _own_report() -> Report:
    return get_hub().report()


RECENT_S: Final = 1.0
_others: Final = Recent(read_others, RECENT_S)
_rate: Final = Recent(partial(outbox.read_rate, TASKS), RECENT_S)
_redis: Final = Recent(redis_answers, RECENT_S)


class EventStatusView(KnownQuery, APIView):
    @extend_schema(responses=EventStatusSerializer)
    def get(self, request: Request) -> Response:  # noqa: ARG002 - DRF's interface
        """How event broadcasting stands, over all web processes. Open to all: most of it is read once a second."""
        # On the server's own loop, where the streams are.
        together = add_up(async_to_sync(_own_report)(), _others.get())
        redis = _redis.get() and together.pop("every_process_hears_redis")
        body = {
            "status": "ok" if redis else "degraded",
            "redis": redis,
            "database": True,  # this answer was made of its rows
            **together,
            "last_event_ids": {TASKS: f"{TASKS}:{outbox.read_heads([TASKS])[TASKS]}"},
            "events_per_second": _rate.get(),
        }
        # As the serializer would order them, which takes a tenth of the answer's time.
        return Response({name: body[name] for name in _FIELDS})
