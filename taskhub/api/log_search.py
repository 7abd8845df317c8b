"""`/api/exec/logs/{task_id}/search`: how many lines of the whole log match, and their numbers."""

from __future__ import annotations

from dataclasses import asdict
from functools import partial
from typing import Any
from uuid import UUID

from drf_spectacular.utils import extend_schema
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.views import APIView

from taskhub.api.awaited import awaited
from taskhub.api.log_serializers import LogFoundSerializer, LogSearchQuerySerializer
from taskhub.api.query import KnownQuery
from taskhub.executions.log_search import log_search
from taskhub.selectors.executions import execution_get_for
from taskhub.web.thread_pool import with_database


class LogSearchView(KnownQuery, APIView):
    queries = {"get": LogSearchQuerySerializer}

    @extend_schema(parameters=[LogSearchQuerySerializer], responses=LogFoundSerializer)
    @awaited()
    async def get(self, request: Request, task_id: UUID) -> Response:
        """Search the whole log of an execution: how many lines match, and the numbers of the first ones."""
        query: dict[str, Any] = self.read_query(request)
        wanted = {"kind": query.pop("kind"), "first": query.pop("from"), "limit": query.pop("limit")}
        q = query.pop("q", "")
        execution = await with_database(partial(execution_get_for, user=request.user, task_id=task_id, **query))
        found = await log_search(execution, q=q, **wanted)
        shown = {"execution_id": execution.pk, "status": execution.status, **asdict(found)}
        return Response(LogFoundSerializer(shown).data)
