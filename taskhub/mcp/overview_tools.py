"""MCP tool for the overview: who the agent is, what it holds, what waits."""

from __future__ import annotations

from typing import Any

from taskhub.api.overview import overview_data
from taskhub.auth.actor import Actor
from taskhub.mcp.fields import NamedSerializer
from taskhub.mcp.principal import Requester
from taskhub.mcp.tools import Arguments, Tool
from taskhub.roles import Role


class OverviewArgumentsSerializer(NamedSerializer):
    pass


def _overview(requester: Requester, arguments: Arguments) -> Any:
    agent = Actor(door="mcp", token=requester.token, agent_name=arguments.get("as", "")).agent
    data = overview_data(requester.user, agent)
    lists = {name: [_row(each) for each in data[name]] for name in ("leases", "assigned", "waiting", "stale")}
    return {**data, **lists}


def _row(task: dict[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in task.items() if value}


OVERVIEW_TOOLS = (
    Tool(
        name="get_overview",
        title="Overview",
        description="Who you are, your tasks and leases, counts, what waits for people or is stale, a pause.",
        takes=OverviewArgumentsSerializer,
        run=_overview,
        role=Role.VIEWER,
        reads=True,
        rest="list_tasks has all of them.",
    ),
)
