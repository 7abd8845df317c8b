"""MCP tools: definition, registry, call."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from inspect import iscoroutinefunction
from typing import Any, Final

from rest_framework.renderers import JSONRenderer

from taskhub.api.fields import StrictSerializer
from taskhub.api.parsers import guard_values
from taskhub.events.stream import ClientGone
from taskhub.lib.extensions import ExtensionPoint
from taskhub.mcp.arguments import given_only
from taskhub.mcp.budget import ANSWER_BYTES, clip, fit
from taskhub.mcp.errors import failure_body
from taskhub.mcp.principal import Requester
from taskhub.mcp.schemas import Schema, input_schema
from taskhub.observability.log_context import bind_subjects
from taskhub.roles import Role, role_of
from taskhub.web.thread_pool import thread_slot, with_database

Arguments = dict[str, Any]
_MESSAGE_BYTES: Final = 1024


@dataclass(frozen=True, kw_only=True)
class Tool:
    """A service or selector as a tool.

    `takes` validates the arguments; `run(requester, arguments)` is the result, as docs/mcp.md describes it. A `run`
    that waits for something else than our database is a coroutine function: it is awaited on the event loop. Where that
    is for `wait_s` alone, `at_once` does the same without it, on a thread: each hop between loop and thread takes CPU.
    `role` is that of the REST endpoint. `reads`: changes nothing, and needs no account in the local profile, unless it
    is `for_accounts`. `destroys` and `repeatable` are hints for the agent's host: it may lose data; a second call
    changes nothing more. An answer of more than `most` bytes is cut, and says so with `rest`: how to read what is
    missing.
    """

    name: str
    title: str
    description: str
    takes: type[StrictSerializer]
    run: Callable[[Requester, Arguments], Any]
    role: Role
    at_once: Callable[[Requester, Arguments], Any] | None = None
    reads: bool = False
    for_accounts: bool = False
    destroys: bool = False
    repeatable: bool = False
    rest: str = "Ask for less at a time."
    most: int = ANSWER_BYTES

    @property
    def needs_account(self) -> bool:
        return self.for_accounts or not self.reads

    @cached_property
    def input_schema(self) -> Schema:
        return input_schema(self.takes)

    async def call(self, requester: Requester, arguments: Arguments) -> Any:
        """The result as plain JSON values. Raises HubError, ExecutorError, APIException, and internal errors."""
        run = self.at_once if self.at_once is not None and not arguments.get("wait_s") else self.run
        if not iscoroutinefunction(run):
            async with thread_slot(writes=not self.reads, row=str(arguments.get("task_id") or "")):
                return await with_database(self._run_on_thread, run, requester, arguments)
        given = await with_database(self._prepare, requester, arguments)
        return await with_database(self._told, await self.run(requester, given))

    def _run_on_thread(
        self, run: Callable[[Requester, Arguments], Any], requester: Requester, arguments: Arguments
    ) -> Any:
        return self._told(run(requester, self._prepare(requester, arguments)))

    def _told(self, result: Any) -> Any:
        return fit(plain(result), rest=self.rest, most=self.most)

    def _prepare(self, requester: Requester, arguments: Arguments) -> Arguments:
        """The validated arguments, if the caller may call this."""
        requester.guard(self.role, account=self.needs_account)
        guard_values(arguments)
        body = self.takes(data=given_only(self.takes(), arguments))
        body.is_valid(raise_exception=True)
        given = dict(body.validated_data)
        bind_subjects(given)
        return given


def plain(result: Any) -> Any:
    """Times, ids and all other values have REST's format."""
    return json.loads(JSONRenderer().render(result))


@dataclass(frozen=True, slots=True)
class Outcome:
    """Outcome of a call: a result, or an error body."""

    body: dict[str, Any]
    failed: bool = False

    @property
    def text(self) -> str:
        """For clients that do not read structured content."""
        return json.dumps(self.body, ensure_ascii=False, separators=(",", ":"))


TOOLS: Final = ExtensionPoint[Tool]("mcp_tools", lambda tool: tool.name)
"""All tools, by name."""


_ORDER: Final = (
    *("get_overview", "list_tasks", "get_task", "create_tasks", "update_task", "claim_task", "set_task_status"),
    *("add_note", "execute_task", "get_execution", "stop_execution", "read_file", "get_sandbox"),
)
"""In which agents read them; others follow."""


def tools_for(requester: Requester) -> list[Tool]:
    """The tools that the token's role may use. Without a token all of them: those that need one say so."""
    role = role_of(requester.user) if requester.token is not None else Role.OPERATOR
    found = [tool for tool in TOOLS.values() if tool.role <= role]
    return sorted(found, key=lambda tool: _ORDER.index(tool.name) if tool.name in _ORDER else len(_ORDER))


async def call_tool(requester: Requester, tool: Tool, arguments: Arguments) -> Outcome:
    """Never raises: every error becomes an outcome."""
    try:
        return Outcome(await tool.call(requester, arguments))
    except ClientGone:
        return Outcome({}, failed=True)  # it is not sent
    except Exception as error:  # noqa: BLE001 - the boundary of a call, as a view is that of a request
        return Outcome(_refused(failure_body(error)), failed=True)


def _refused(body: dict[str, Any]) -> dict[str, Any]:
    """Within the budget; where even its names are too long, which are the caller's, the code and message are left."""
    told = fit(body, rest="Send less at a time.")
    if "error" in told:
        return told
    error = body["error"]
    return {"error": {"code": error["code"], "message": clip(error["message"], _MESSAGE_BYTES)}, **told}
