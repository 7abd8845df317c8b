"""MCP tools for sandboxes, registered on the hub's server; the last one is spec 000's."""

from __future__ import annotations

from typing import Any, Final

from rest_framework import serializers

from sandboxes.api.sse_params import SSE
from sandboxes.selectors.sandboxes import sandbox_get_for, sandbox_page_for
from taskhub.api.fields import StrictSerializer, TextField
from taskhub.api.tickets import TicketSerializer, params_serializer
from taskhub.events.tickets import Ticket, ticket_expiry
from taskhub.mcp.fields import SandboxIdField
from taskhub.mcp.principal import Requester
from taskhub.mcp.tools import Arguments, Tool
from taskhub.roles import Role

_ROW: Final = ("id", "name", "state", "errorReason", "snapshot", "createdAt", "updatedAt", "lastActivityAt")
"""Of a sandbox in a list."""
_LISTED: Final = 10


class SandboxPlaceSerializer(StrictSerializer):
    sandbox_id = SandboxIdField(required=False)
    cursor = TextField(required=False, max_length=2000)


class ConnectionSerializer(TicketSerializer):
    curl = serializers.CharField()


async def _get(requester: Requester, arguments: Arguments) -> Any:
    if "sandbox_id" in arguments:
        return await sandbox_get_for(user=requester.user, sandbox_id=arguments["sandbox_id"])
    page = await sandbox_page_for(user=requester.user, cursor=arguments.get("cursor"), limit=_LISTED)
    rows = [{name: item[name] for name in _ROW if item.get(name)} for item in page.items]
    return {"items": rows, "nextCursor": page.next_cursor}


def _connection_url(requester: Requester, arguments: Arguments) -> Any:
    token_id = requester.token.public_id if requester.token else None
    ticket = Ticket(SSE.name, SSE.canonical(arguments), requester.account.pk, token_id)
    url = requester.address(SSE.url(ticket.params, ticket.sign()))
    answer = {"url": url, "kind": ticket.kind, "params": ticket.params, "expires_at": ticket_expiry()}
    return ConnectionSerializer({**answer, "curl": f"curl -N -H 'Accept: text/event-stream' '{url}'"}).data


SANDBOX_TOOLS = (
    Tool(
        name="get_sandbox",
        title="Read a sandbox",
        description="A sandbox by id or name; without one, the ten latest active.",
        takes=SandboxPlaceSerializer,
        run=_get,
        role=Role.VIEWER,
        reads=True,
    ),
    Tool(
        name="getSSEConnectionUrl",
        title="Get a stream's address",
        description="An address that streams (SSE) a sandbox's status, sessions, or a command's log (with "
        "sessionId and commandId); a credential until expires_at.",
        takes=params_serializer(SSE),
        run=_connection_url,
        role=Role.VIEWER,
        reads=True,
        for_accounts=True,
    ),
)
