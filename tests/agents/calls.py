"""Agents, for tests: their calls of tools, without a server in between."""

from __future__ import annotations

import asyncio
from functools import partial
from types import SimpleNamespace
from typing import Any

import mcp_types as types
from django.contrib.auth.models import AnonymousUser, User

from taskhub.auth.actor import Actor
from taskhub.mcp.principal import REQUESTER, Requester
from taskhub.mcp.protocol import build_server
from taskhub.mcp.tools import TOOLS, Outcome, call_tool
from taskhub.models import ApiToken
from taskhub.web.thread_pool import wait_here

BASE = "http://testserver/"


def requester_for(user: User | None, token: ApiToken | None = None) -> Requester:
    """An agent always shows a token; without one given, one of no consequence."""
    if user is not None and token is None:
        token = ApiToken(user=user, name="test")
    return Requester(user or AnonymousUser(), token, "test", BASE)


def acting(user: User, name: str, **fields: Any) -> Actor:
    """The agent of this name, which shares its account's token with others."""
    token = ApiToken.objects.filter(user=user, name="shared").first()
    token = token or ApiToken.objects.create(user=user, name="shared")[0]
    return Actor(door="mcp", user=user, token=token, agent_name=name, claims=True, **fields)


def call(user: User | None, name: str, **arguments: Any) -> Outcome:
    return call_as(requester_for(user), name, **arguments)


def call_as(requester: Requester, name: str, **arguments: Any) -> Outcome:
    return wait_here(partial(call_tool, requester, TOOLS[name], arguments))


def result(user: User | None, name: str, **arguments: Any) -> dict[str, Any]:
    outcome = call(user, name, **arguments)
    assert not outcome.failed, outcome.body
    return outcome.body


def made(user: User, **fields: Any) -> str:
    """The id of a task that the agent has created."""
    return str(result(user, "create_tasks", tasks=[{"title": "t", **fields}])["tasks"][0]["id"])


def listed_tools(requester: Requester) -> types.ListToolsResult:
    """What tools/list answers to this caller."""
    entry = build_server().get_request_handler("tools/list")
    assert entry is not None
    context: Any = SimpleNamespace(request=SimpleNamespace(scope={REQUESTER: requester}))
    found: types.ListToolsResult = asyncio.run(entry.handler(context, None))
    return found


def error(user: User | None, name: str, **arguments: Any) -> dict[str, Any]:
    outcome = call(user, name, **arguments)
    assert outcome.failed, outcome.body
    found: dict[str, Any] = outcome.body["error"]
    return found
