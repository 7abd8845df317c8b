"""Agents, for tests: their calls of tools, without a server in between."""

from __future__ import annotations

from functools import partial
from typing import Any

from django.contrib.auth.models import AnonymousUser, User

from taskhub.mcp.principal import Requester
from taskhub.mcp.tools import TOOLS, Outcome, call_tool
from taskhub.models import ApiToken
from taskhub.web.thread_pool import wait_here

BASE = "http://testserver/"


def requester_for(user: User | None, token: ApiToken | None = None) -> Requester:
    return Requester(user or AnonymousUser(), token, "test", BASE)


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
