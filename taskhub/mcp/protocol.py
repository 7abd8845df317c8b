"""MCP request handlers: each calls tools, resources, prompts or subscriptions."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from http import HTTPStatus
from typing import Any, Final, TypeVar, cast

import mcp_types as types
from django.db import DatabaseError
from mcp.server.caching import CacheHint
from mcp.server.context import ServerRequestContext
from mcp.server.lowlevel.server import NotificationOptions, Server
from mcp.shared.exceptions import MCPError
from mcp.shared.subscriptions import SUBSCRIPTION_ID_META_KEY
from mcp_types.version import MODERN_PROTOCOL_VERSIONS

from taskhub import __version__
from taskhub.errors import HubError
from taskhub.mcp import resources, tasks_extension
from taskhub.mcp.errors import failure_body
from taskhub.mcp.principal import LISTENING, REQUESTER, Requester
from taskhub.mcp.prompts import PROMPTS, Prompt, prompt_text
from taskhub.mcp.subscriptions import open_listening
from taskhub.mcp.tools import TOOLS, Tool, call_tool, tools_for
from taskhub.web.thread_pool import with_database

Context = ServerRequestContext[Any, Any]
T = TypeVar("T")

_INSTRUCTIONS: Final = (
    "TaskHub keeps tasks for agents. claim_task gives you one that no other agent gets; execute_task runs its script "
    "in a sandbox, get_execution follows it; set_task_status with artifacts hands it on. Never poll: with wait_s (up "
    "to 50 seconds) a tool answers when there is news, else with timed_out true; then call it again. Errors have a "
    "code and say what to do next."
)
_FOR_AN_HOUR: Final = CacheHint(ttl_ms=3_600_000, scope="public")
_FOR_ONE_ROLE: Final = CacheHint(ttl_ms=3_600_000, scope="private")
_NOW_FOR_ONE: Final = CacheHint(ttl_ms=0, scope="private")


class _HubServer(Server[Any]):
    """Advertises the tasks extension to revisions that have it."""

    def get_capabilities(
        self,
        notification_options: NotificationOptions | None = None,
        experimental_capabilities: dict[str, dict[str, Any]] | None = None,
        extensions: dict[str, dict[str, Any]] | None = None,
        *,
        protocol_version: str | None = None,
    ) -> types.ServerCapabilities:
        if protocol_version in MODERN_PROTOCOL_VERSIONS:
            extensions = {**(extensions or {}), tasks_extension.EXTENSION: {}}
        return super().get_capabilities(
            notification_options, experimental_capabilities, extensions, protocol_version=protocol_version
        )


def build_server() -> Server[Any]:
    """The MCP server, with the tools that the apps contribute."""
    server = _HubServer(
        "taskhub",
        title="TaskHub",
        version=__version__,
        instructions=_INSTRUCTIONS,
        cache_hints={
            "server/discover": _FOR_AN_HOUR,
            "tools/list": _FOR_ONE_ROLE,
            "prompts/list": _FOR_AN_HOUR,
            "resources/templates/list": _FOR_AN_HOUR,
            "resources/list": _NOW_FOR_ONE,
            "resources/read": _NOW_FOR_ONE,
        },
        get_tool_input_schema=lambda name: TOOLS[name].input_schema if name in TOOLS else None,
        on_list_tools=_list_tools,
        on_list_resources=_list_resources,
        on_list_resource_templates=_list_templates,
        on_read_resource=_read_resource,
        on_subscriptions_listen=_listen,
        on_list_prompts=_list_prompts,
        on_get_prompt=_get_prompt,
    )
    # By name, since its result may be an extension's.
    server.add_request_handler("tools/call", types.CallToolRequestParams, _call_tool)
    for method, params_type, handle in _TASK_METHODS:
        server.add_request_handler(method, types.RequestParams, _task_handler(params_type, handle))
    return server


def _scope(ctx: Context) -> dict[str, Any]:
    request: Any = ctx.request
    return cast("dict[str, Any]", request.scope)


def _requester(ctx: Context) -> Requester:
    return cast("Requester", _scope(ctx)[REQUESTER])


# --- Tools ------------------------------------------------------------------------------------------------


async def _list_tools(ctx: Context, params: Any) -> types.ListToolsResult:  # noqa: ARG001 - the SDK's interface
    return types.ListToolsResult(tools=[_described(tool) for tool in tools_for(_requester(ctx))])


def _described(tool: Tool) -> types.Tool:
    """Hints that have the protocol's default are left out: writes, may destroy, a second call does more."""
    hints = types.ToolAnnotations(
        read_only_hint=tool.reads or None,
        destructive_hint=None if tool.reads or tool.destroys else False,
        idempotent_hint=tool.repeatable or None,
    )
    return types.Tool(
        name=tool.name,
        title=tool.title,
        description=tool.description,
        input_schema=tool.input_schema,
        annotations=hints,
    )


async def _call_tool(ctx: Context, params: types.CallToolRequestParams) -> types.CallToolResult | dict[str, Any]:
    tool = TOOLS.get(params.name)
    if tool is None:
        raise _wrong(f"Unknown tool {params.name[:100]}; must be one of: {', '.join(TOOLS)}.")
    requester, arguments = _requester(ctx), params.arguments or {}
    outcome = await call_tool(requester, tool, dict(arguments))
    if tasks_extension.declares_tasks(ctx.protocol_version, ctx.session.client_capabilities):
        handle = tasks_extension.handle_of(tool.name, arguments, outcome)
        if handle is not None:
            return await _answered(tasks_extension.created(requester, handle))
    return types.CallToolResult(
        content=[types.TextContent(text=outcome.text)], structured_content=outcome.body, is_error=outcome.failed
    )


# --- The extension for tasks --------------------------------------------------------------------------------

TaskMethod = Callable[[Requester, Any], Awaitable[dict[str, Any]]]
_TASK_METHODS: Final[tuple[tuple[str, type[types.RequestParams], TaskMethod], ...]] = (
    ("tasks/get", tasks_extension.TaskParams, tasks_extension.get_task),
    ("tasks/update", tasks_extension.TaskUpdateParams, tasks_extension.update_task),
    ("tasks/cancel", tasks_extension.TaskParams, tasks_extension.cancel_task),
)


def _task_handler(
    params_type: type[types.RequestParams], handle: TaskMethod
) -> Callable[[Context, Any], Awaitable[dict[str, Any]]]:
    async def handler(ctx: Context, params: Any) -> dict[str, Any]:  # noqa: ARG001 - read once the client may ask at all
        tasks_extension.guard_declared(ctx.method, ctx.protocol_version, ctx.session.client_capabilities)
        return await _answered(handle(_requester(ctx), params_type.model_validate(ctx.params or {}, by_name=False)))

    return handler


# --- Resources --------------------------------------------------------------------------------------------


async def _list_resources(ctx: Context, params: types.PaginatedRequestParams | None) -> types.ListResourcesResult:
    cursor = params.cursor if params else None
    page, following = await _answered(with_database(resources.list_resources, _requester(ctx), cursor))
    found = [types.Resource.model_validate(row) for row in page]
    return types.ListResourcesResult(resources=found, next_cursor=following)


async def _list_templates(ctx: Context, params: Any) -> types.ListResourceTemplatesResult:  # noqa: ARG001 - likewise
    return types.ListResourceTemplatesResult(
        resource_templates=[
            types.ResourceTemplate(uri_template=uri, name=name, description=about, mime_type=media_type)
            for uri, name, about, media_type in resources.TEMPLATES
        ]
    )


async def _read_resource(ctx: Context, params: types.ReadResourceRequestParams) -> types.ReadResourceResult:
    try:
        text, media_type = await _answered(resources.read_resource(_requester(ctx), params.uri))
    except MCPError as error:
        raise MCPError(error.code, error.message, {"uri": params.uri, **error.data}) from None
    contents = types.TextResourceContents(uri=params.uri, text=text, mime_type=media_type)
    return types.ReadResourceResult(contents=[contents])


async def _listen(ctx: Context, params: types.SubscriptionsListenRequestParams) -> types.SubscriptionsListenResult:
    request_id = ctx.request_id or 0
    if "taskIds" in (params.notifications.model_extra or {}):
        tasks_extension.guard_declared(ctx.method, ctx.protocol_version, ctx.session.client_capabilities)
    try:
        stream = await open_listening(_requester(ctx), request_id, params.notifications)
    except (HubError, DatabaseError) as error:
        raise _refusal(error) from None
    _scope(ctx)[LISTENING].append(stream)
    # This result is not sent: the stream is sent in its place.
    return types.SubscriptionsListenResult(_meta={SUBSCRIPTION_ID_META_KEY: request_id})


# --- Prompts ----------------------------------------------------------------------------------------------


async def _list_prompts(ctx: Context, params: Any) -> types.ListPromptsResult:  # noqa: ARG001 - likewise
    return types.ListPromptsResult(prompts=[_prompt(prompt) for prompt in PROMPTS.values()])


def _prompt(prompt: Prompt) -> types.Prompt:
    argument = types.PromptArgument(name=prompt.argument, description=prompt.about, required=prompt.fallback is None)
    return types.Prompt(name=prompt.name, title=prompt.title, description=prompt.description, arguments=[argument])


async def _get_prompt(ctx: Context, params: types.GetPromptRequestParams) -> types.GetPromptResult:  # noqa: ARG001 - likewise
    prompt = PROMPTS.get(params.name)
    if prompt is None:
        raise _wrong(f"Unknown prompt {params.name[:100]}; must be one of: {', '.join(PROMPTS)}.")
    text = prompt_text(prompt, params.arguments or {})
    if text is None:
        raise _wrong(f"The prompt requires the argument {prompt.argument}.")
    message = types.PromptMessage(role="user", content=types.TextContent(text=text))
    return types.GetPromptResult(description=prompt.description, messages=[message])


# --- Errors -----------------------------------------------------------------------------------------------


async def _answered(asking: Awaitable[T]) -> T:
    """Its result; errors are converted to the protocol's."""
    try:
        return await asking
    except Exception as error:  # noqa: BLE001 - the boundary of a request, as a view is
        raise _refusal(error) from None


def _refusal(error: Exception) -> MCPError:
    """A missing resource is a wrong parameter, other errors are internal; the data is REST's body."""
    body = failure_body(error)
    missing = getattr(error, "status", getattr(error, "status_code", None)) == HTTPStatus.NOT_FOUND
    code = types.INVALID_PARAMS if missing else types.INTERNAL_ERROR
    return MCPError(code, body["error"]["message"], body)


def _wrong(message: str) -> MCPError:
    return MCPError(types.INVALID_PARAMS, message)
