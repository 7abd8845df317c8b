"""What a tool is, which there are, and how one is called."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from typing import Any, Final

from rest_framework import serializers
from rest_framework.renderers import JSONRenderer

from taskhub.api.fields import StrictSerializer
from taskhub.api.parsers import guard_values
from taskhub.mcp.errors import failure_body
from taskhub.mcp.principal import Requester
from taskhub.mcp.schemas import Schema, input_schema, output_schema
from taskhub.observability.log_context import bind_subjects
from taskhub.roles import Role

Arguments = dict[str, Any]


@dataclass(frozen=True, kw_only=True)
class Tool:
    """A service or selector, as a tool.

    `takes` reads the arguments, `gives` describes the result of `run(requester, arguments)`. `role` is what its REST
    twin takes. `reads`: it changes nothing, and needs no account where reading is open, unless it is `for_accounts`.
    `destroys` and `repeatable` are hints for the agent's host: it may lose something; a second call changes nothing
    more.
    """

    name: str
    description: str
    takes: type[StrictSerializer]
    gives: type[serializers.BaseSerializer[Any]]
    run: Callable[[Requester, Arguments], Any]
    role: Role
    reads: bool = False
    for_accounts: bool = False
    destroys: bool = False
    repeatable: bool = False

    @cached_property
    def input_schema(self) -> Schema:
        return input_schema(self.takes)

    @cached_property
    def output_schema(self) -> Schema:
        return output_schema(self.gives)

    def call(self, requester: Requester, arguments: Arguments) -> Any:
        """The result as plain JSON values. Raises HubError, ExecutorError, APIException, and what is our own fault."""
        requester.guard(self.role, account=self.for_accounts or not self.reads)
        guard_values(arguments)
        body = self.takes(data=arguments)
        body.is_valid(raise_exception=True)
        given = dict(body.validated_data)
        bind_subjects(given)
        # Times, ids and all else are spelt as REST spells them.
        return json.loads(JSONRenderer().render(self.run(requester, given)))


@dataclass(frozen=True, slots=True)
class Outcome:
    """What a call came to: a result, or an error body."""

    body: dict[str, Any]
    failed: bool = False

    @property
    def text(self) -> str:
        """For clients that read no structured content."""
        return json.dumps(self.body, ensure_ascii=False, separators=(",", ":"))


TOOLS: Final[dict[str, Tool]] = {}
"""All there are, by name."""


def register(*tools: Tool) -> None:
    """Offer them; a second time it does nothing new."""
    TOOLS.update({tool.name: tool for tool in tools})


def call_tool(requester: Requester, tool: Tool, arguments: Arguments) -> Outcome:
    """Whatever happens, there is an outcome."""
    try:
        return Outcome(tool.call(requester, arguments))
    except Exception as error:  # noqa: BLE001 - the boundary of a call, as a view is that of a request
        return Outcome(failure_body(error), failed=True)
