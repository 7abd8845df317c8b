"""`/api/sandboxes/`: Daytona's sandboxes, sessions and commands."""

from __future__ import annotations

from functools import partial
from typing import Any
from urllib.parse import urlencode

from drf_spectacular.utils import extend_schema
from rest_framework import status
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.views import APIView

from sandboxes.api.facts import with_facts
from sandboxes.api.serializers import (
    CommandRunSerializer,
    CommandSerializer,
    CommandStartedSerializer,
    FactsQuerySerializer,
    LogSnapshotSerializer,
    PageQuerySerializer,
    SandboxCreateSerializer,
    SandboxPageSerializer,
    SandboxSerializer,
    SessionCreatedSerializer,
    SessionCreateSerializer,
    SessionSerializer,
)
from sandboxes.gateway import LIFECYCLE_S, REQUEST_S
from sandboxes.models import Watching
from sandboxes.selectors import sandboxes as selectors
from sandboxes.services import sandboxes as services
from sandboxes.watch.shared_list import shared_page
from taskhub.api.actors import actor_of
from taskhub.api.awaited import awaited
from taskhub.api.idempotency import IDEMPOTENCY_KEY, idempotent_elsewhere
from taskhub.api.query import KnownQuery
from taskhub.web.thread_pool import with_database

TAKES_S = LIFECYCLE_S + REQUEST_S
"""The longest a request may be under way at Daytona."""


async def _find_sandbox(view: APIView, request: Request, *, label: str, **_: Any) -> Response | None:  # noqa: ARG001 - its interface
    made = await services.sandbox_find_made(actor=actor_of(request), label=label)
    return Response(made, status=status.HTTP_201_CREATED) if made is not None else None


def _session_id(body: dict[str, Any], label: str) -> str | None:
    """The one that was asked for, or with a label one that a repeat finds again."""
    asked: str | None = body.get("sessionId")
    return asked or (f"taskhub-{label}" if label else None)


async def _find_session(
    view: APIView,  # noqa: ARG001 - its interface
    request: Request,
    *,
    sandbox_id: str,
    body: dict[str, Any],
    label: str,
) -> Response | None:
    session_id = str(_session_id(body, label))
    found = await services.session_find_made(actor=actor_of(request), sandbox_id=sandbox_id, session_id=session_id)
    if found is None:
        return None
    return Response({"sandboxId": sandbox_id, "sessionId": found}, status=status.HTTP_201_CREATED)


async def _find_no_command(view: APIView, request: Request, **_: Any) -> Response | None:  # noqa: ARG001 - its interface
    """Daytona has no labels for commands, and two may be equal: the outcome stays unknown."""
    return None


class SandboxesView(KnownQuery, APIView):
    queries = {"get": PageQuerySerializer}

    @extend_schema(operation_id="sandboxes_list", parameters=[PageQuerySerializer], responses=SandboxPageSerializer)
    @awaited()
    async def get(self, request: Request) -> Response:
        """A page of all sandboxes, the most recently active first; it may be a little behind.

        With `facts` all callers share one request to Daytona: it may be up to 14 s behind what happens there alone.
        """
        query = self.read_query(request)
        cursor, limit = query.get("cursor"), query["limit"]
        read = {"read": shared_page} if query["facts"] else {}
        page = await selectors.sandbox_page_for(user=request.user, cursor=cursor, limit=limit, **read)
        items = page.items
        if query["facts"]:
            items = await with_database(partial(with_facts, request.user, items))
        return Response({"items": items, "nextCursor": page.next_cursor})

    @extend_schema(request=SandboxCreateSerializer, responses={201: SandboxSerializer}, parameters=[IDEMPOTENCY_KEY])
    @awaited(body=SandboxCreateSerializer)
    @idempotent_elsewhere(takes_s=TAKES_S, find=_find_sandbox)
    async def post(self, request: Request, body: dict[str, Any], label: str) -> Response:
        """Make a sandbox.

        It may still be starting; watch it over `/sse`.
        """
        made = await services.sandbox_create(actor=actor_of(request), fields=body, label=label)
        return Response(made, status=status.HTTP_201_CREATED)


class SandboxView(KnownQuery, APIView):
    queries = {"get": FactsQuerySerializer}

    @extend_schema(parameters=[FactsQuerySerializer], responses=SandboxSerializer)
    @awaited()
    async def get(self, request: Request, sandbox_id: str) -> Response:
        """The sandbox's current state."""
        found = await selectors.sandbox_get_for(user=request.user, sandbox_id=sandbox_id)
        if self.read_query(request)["facts"]:
            (found,) = await with_database(partial(with_facts, request.user, [found]))
        return Response(found)

    @extend_schema(responses={202: SandboxSerializer})
    @awaited()
    async def delete(self, request: Request, sandbox_id: str) -> Response:
        """Delete the sandbox."""
        deleted = await services.sandbox_delete(actor=actor_of(request), sandbox_id=sandbox_id)
        return Response(deleted, status=status.HTTP_202_ACCEPTED)


class SandboxStartView(KnownQuery, APIView):
    @extend_schema(request=None, responses={202: SandboxSerializer})
    @awaited()
    async def post(self, request: Request, sandbox_id: str) -> Response:
        """Start the sandbox."""
        started = await services.sandbox_start(actor=actor_of(request), sandbox_id=sandbox_id)
        return Response(started, status=status.HTTP_202_ACCEPTED)


class SandboxStopView(KnownQuery, APIView):
    @extend_schema(request=None, responses={202: SandboxSerializer})
    @awaited()
    async def post(self, request: Request, sandbox_id: str) -> Response:
        """Stop the sandbox; its processes end."""
        stopped = await services.sandbox_stop(actor=actor_of(request), sandbox_id=sandbox_id)
        return Response(stopped, status=status.HTTP_202_ACCEPTED)


class SessionsView(KnownQuery, APIView):
    @extend_schema(responses=SessionSerializer(many=True))
    @awaited()
    async def get(self, request: Request, sandbox_id: str) -> Response:
        """All sessions with their commands."""
        return Response(await selectors.session_list_for(user=request.user, sandbox_id=sandbox_id))

    @extend_schema(
        request=SessionCreateSerializer, responses={201: SessionCreatedSerializer}, parameters=[IDEMPOTENCY_KEY]
    )
    @awaited(body=SessionCreateSerializer)
    @idempotent_elsewhere(takes_s=TAKES_S, find=_find_session)
    async def post(self, request: Request, sandbox_id: str, body: dict[str, Any], label: str) -> Response:
        """Make a session: a shell in which commands run one after another."""
        session_id = await services.session_create(
            actor=actor_of(request), sandbox_id=sandbox_id, session_id=_session_id(body, label)
        )
        return Response({"sandboxId": sandbox_id, "sessionId": session_id}, status=status.HTTP_201_CREATED)


class SessionView(KnownQuery, APIView):
    @extend_schema(responses=SessionSerializer)
    @awaited()
    async def get(self, request: Request, sandbox_id: str, session_id: str) -> Response:
        """A session with its commands."""
        session = await selectors.session_get_for(user=request.user, sandbox_id=sandbox_id, session_id=session_id)
        return Response(session)

    @extend_schema(responses={204: None})
    @awaited()
    async def delete(self, request: Request, sandbox_id: str, session_id: str) -> Response:
        """Delete the session with its processes and logs."""
        await services.session_delete(actor=actor_of(request), sandbox_id=sandbox_id, session_id=session_id)
        return Response(status=status.HTTP_204_NO_CONTENT)


class CommandsView(KnownQuery, APIView):
    @extend_schema(
        request=CommandRunSerializer, responses={202: CommandStartedSerializer}, parameters=[IDEMPOTENCY_KEY]
    )
    @awaited(body=CommandRunSerializer)
    @idempotent_elsewhere(takes_s=TAKES_S, find=_find_no_command)
    async def post(
        self, request: Request, sandbox_id: str, session_id: str, *, body: dict[str, Any], **_: Any
    ) -> Response:
        """Start a command; `logs` is where its output can be followed."""
        command_id = await services.command_run(
            actor=actor_of(request),
            sandbox_id=sandbox_id,
            session_id=session_id,
            command=body["command"],
        )
        named = {"sandboxId": sandbox_id, "sessionId": session_id, "commandId": command_id}
        logs = f"/sse?{urlencode({'eventType': Watching.LOGS.value, **named})}"
        return Response({**named, "logs": logs}, status=status.HTTP_202_ACCEPTED)


class CommandView(KnownQuery, APIView):
    @extend_schema(responses=CommandSerializer)
    @awaited()
    async def get(self, request: Request, sandbox_id: str, session_id: str, command_id: str) -> Response:
        """State of a command."""
        command = await selectors.command_get_for(
            user=request.user, sandbox_id=sandbox_id, session_id=session_id, command_id=command_id
        )
        return Response(command)


class CommandLogsView(KnownQuery, APIView):
    @extend_schema(responses=LogSnapshotSerializer)
    @awaited()
    async def get(self, request: Request, sandbox_id: str, session_id: str, command_id: str) -> Response:
        """The output so far, in one piece."""
        snapshot = await selectors.log_snapshot_for(
            user=request.user, sandbox_id=sandbox_id, session_id=session_id, command_id=command_id
        )
        return Response(snapshot)
