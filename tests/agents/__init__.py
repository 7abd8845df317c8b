"""Agents, for tests: their calls of tools, without a server in between."""

from __future__ import annotations

from functools import partial
from typing import Any

from django.contrib.auth.models import AnonymousUser, User

from taskhub.auth.actor import Actor
from taskhub.mcp.principal import Requester
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


def error(user: User | None, name: str, **arguments: Any) -> dict[str, Any]:
    outcome = call(user, name, **arguments)
    assert outcome.failed, outcome.body
    found: dict[str, Any] = outcome.body["error"]
    return found
