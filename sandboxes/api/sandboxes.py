"""`/api/sandboxes/`: Daytona's sandboxes, sessions and commands."""

from __future__ import annotations

from urllib.parse import urlencode

from drf_spectacular.utils import extend_schema
from rest_framework import status
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.views import APIView

from sandboxes.api.serializers import (
    CommandRunSerializer,
    CommandSerializer,
    CommandStartedSerializer,
    LogSnapshotSerializer,
    PageQuerySerializer,
    SandboxCreateSerializer,
    SandboxPageSerializer,
    SandboxSerializer,
    SessionCreatedSerializer,
    SessionCreateSerializer,
    SessionSerializer,
)
from sandboxes.models import Watching
from sandboxes.selectors import sandboxes as selectors
from sandboxes.services import sandboxes as services
from taskhub.api.actors import actor_of


class SandboxesView(APIView):
    @extend_schema(operation_id="sandboxes_list", parameters=[PageQuerySerializer], responses=SandboxPageSerializer)
    def get(self, request: Request) -> Response:
        """A page of all sandboxes, most recently active first; the list may lag behind."""
        query = PageQuerySerializer(data=request.query_params.dict())
        query.is_valid(raise_exception=True)
        page = selectors.sandbox_page_for(
            user=request.user, cursor=query.validated_data.get("cursor"), limit=query.validated_data["limit"]
        )
        return Response({"items": page.items, "nextCursor": page.next_cursor})

    @extend_schema(request=SandboxCreateSerializer, responses={201: SandboxSerializer})
    def post(self, request: Request) -> Response:
        """Create a sandbox. It may still be starting; watch it over `/sse`."""
        body = SandboxCreateSerializer(data=request.data)
        body.is_valid(raise_exception=True)
        made = services.sandbox_create(actor=actor_of(request), fields=dict(body.validated_data))
        return Response(made, status=status.HTTP_201_CREATED)


class SandboxView(APIView):
    @extend_schema(responses=SandboxSerializer)
    def get(self, request: Request, sandbox_id: str) -> Response:
        """The sandbox's current state."""
        return Response(selectors.sandbox_get_for(user=request.user, sandbox_id=sandbox_id))

    @extend_schema(responses={202: SandboxSerializer})
    def delete(self, request: Request, sandbox_id: str) -> Response:
        """Delete the sandbox."""
        deleted = services.sandbox_delete(actor=actor_of(request), sandbox_id=sandbox_id)
        return Response(deleted, status=status.HTTP_202_ACCEPTED)


class SandboxStartView(APIView):
    @extend_schema(request=None, responses={202: SandboxSerializer})
    def post(self, request: Request, sandbox_id: str) -> Response:
        """Start the sandbox."""
        started = services.sandbox_start(actor=actor_of(request), sandbox_id=sandbox_id)
        return Response(started, status=status.HTTP_202_ACCEPTED)


class SandboxStopView(APIView):
    @extend_schema(request=None, responses={202: SandboxSerializer})
    def post(self, request: Request, sandbox_id: str) -> Response:
        """Stop the sandbox; its processes end."""
        stopped = services.sandbox_stop(actor=actor_of(request), sandbox_id=sandbox_id)
        return Response(stopped, status=status.HTTP_202_ACCEPTED)


class SessionsView(APIView):
    @extend_schema(responses=SessionSerializer(many=True))
    def get(self, request: Request, sandbox_id: str) -> Response:
        """All sessions with their commands."""
        return Response(selectors.session_list_for(user=request.user, sandbox_id=sandbox_id))

    @extend_schema(request=SessionCreateSerializer, responses={201: SessionCreatedSerializer})
    def post(self, request: Request, sandbox_id: str) -> Response:
        """Create a session: a shell in which commands run one after another."""
        body = SessionCreateSerializer(data=request.data)
        body.is_valid(raise_exception=True)
        session_id = services.session_create(
            actor=actor_of(request), sandbox_id=sandbox_id, session_id=body.validated_data.get("sessionId")
        )
        return Response({"sandboxId": sandbox_id, "sessionId": session_id}, status=status.HTTP_201_CREATED)


class SessionView(APIView):
    @extend_schema(responses=SessionSerializer)
    def get(self, request: Request, sandbox_id: str, session_id: str) -> Response:
        """A session with its commands."""
        session = selectors.session_get_for(user=request.user, sandbox_id=sandbox_id, session_id=session_id)
        return Response(session)

    @extend_schema(responses={204: None})
    def delete(self, request: Request, sandbox_id: str, session_id: str) -> Response:
        """Delete the session with its processes and logs."""
        services.session_delete(actor=actor_of(request), sandbox_id=sandbox_id, session_id=session_id)
        return Response(status=status.HTTP_204_NO_CONTENT)


class CommandsView(APIView):
    @extend_schema(request=CommandRunSerializer, responses={202: CommandStartedSerializer})
    def post(self, request: Request, sandbox_id: str, session_id: str) -> Response:
        """Start a command; `logs` is the address of its log stream."""
        body = CommandRunSerializer(data=request.data)
        body.is_valid(raise_exception=True)
        command_id = services.command_run(
            actor=actor_of(request),
            sandbox_id=sandbox_id,
            session_id=session_id,
            command=body.validated_data["command"],
        )
        named = {"sandboxId": sandbox_id, "sessionId": session_id, "commandId": command_id}
        logs = f"/sse?{urlencode({'eventType': Watching.LOGS.value, **named})}"
        return Response({**named, "logs": logs}, status=status.HTTP_202_ACCEPTED)


class CommandView(APIView):
    @extend_schema(responses=CommandSerializer)
    def get(self, request: Request, sandbox_id: str, session_id: str, command_id: str) -> Response:
        """State of a command."""
        command = selectors.command_get_for(
            user=request.user, sandbox_id=sandbox_id, session_id=session_id, command_id=command_id
        )
        return Response(command)


class CommandLogsView(APIView):
    @extend_schema(responses=LogSnapshotSerializer)
    def get(self, request: Request, sandbox_id: str, session_id: str, command_id: str) -> Response:
        """The output so far, in one piece."""
        snapshot = selectors.log_snapshot_for(
            user=request.user, sandbox_id=sandbox_id, session_id=session_id, command_id=command_id
        )
        return Response(snapshot)
