"""Hosts of agents over MCP, each in an environment of its own: `python mcp_hosts.py <host> <url> <token> <task id>`.

Each lists the tools, converts them as it does for its model, and works on the task as a model would have it do: claim,
note, finish; with `null` for every optional argument, as strict mode sends it; then a call that is refused.
Prints what it saw as JSON. No import but the standard library's stands at the top: an environment has one host.
"""

from __future__ import annotations

import asyncio
import json
import sys
from collections.abc import Awaitable, Callable
from typing import Any

Call = Callable[[str, dict[str, Any]], Awaitable[Any]]
Schemas = dict[str, dict[str, Any]]
"""By tool: the schema of its arguments, as the host gives it to its model."""


def arguments(schema: dict[str, Any], **given: Any) -> dict[str, Any]:
    """What a model in strict mode sends: every property, null where nothing is meant."""
    return {name: given.get(name) for name in schema["properties"]}


async def work(call: Call, schemas: Schemas, task_id: str) -> dict[str, Any]:
    async def step(tool: str, **given: Any) -> str:
        return str(await call(tool, arguments(schemas[tool], **given)))

    await step("claim_task", task_id=task_id)
    await step("add_note", task_id=task_id, text="seen")
    await step("set_task_status", task_id=task_id, new_status="done")
    return {
        "tools": sorted(schemas),
        "task": await step("get_task", task_id=task_id),
        "refused": await step("get_task", task_id="00000000-0000-0000-0000-000000000000"),
    }


def header(token: str) -> dict[str, str]:
    return {"Authorization": f"Bearer {token}"}


async def fastmcp(url: str, token: str, task_id: str) -> dict[str, Any]:
    from fastmcp import Client
    from fastmcp.client.transports import StreamableHttpTransport

    async with Client(StreamableHttpTransport(url, headers=header(token))) as client:
        schemas = {tool.name: tool.input_schema for tool in await client.list_tools()}

        async def call(tool: str, given: dict[str, Any]) -> Any:
            done = await client.call_tool(tool, given, raise_on_error=False)
            return done.content

        return await work(call, schemas, task_id)


async def openai_agents(url: str, token: str, task_id: str) -> dict[str, Any]:
    from agents.mcp import MCPServerStreamableHttp, MCPUtil

    async with MCPServerStreamableHttp(params={"url": url, "headers": header(token)}) as server:
        listed = await server.list_tools()
        tools = [MCPUtil.to_function_tool(tool, server, convert_schemas_to_strict=True) for tool in listed]
        seen = await work(server.call_tool, {tool.name: tool.params_json_schema for tool in tools}, task_id)
        return {**seen, "not strict": [tool.name for tool in tools if not tool.strict_json_schema]}


async def langchain(url: str, token: str, task_id: str) -> dict[str, Any]:
    from langchain_mcp_adapters.client import MultiServerMCPClient

    connection: Any = {"transport": "streamable_http", "url": url, "headers": header(token)}
    tools = {tool.name: tool for tool in await MultiServerMCPClient({"hub": connection}).get_tools()}

    async def call(tool: str, given: dict[str, Any]) -> Any:
        try:
            return await tools[tool].ainvoke(given)
        except Exception as error:  # noqa: BLE001 - whatever the host raises is what its model is told
            return error

    return await work(call, {name: tool.args_schema for name, tool in tools.items()}, task_id)


async def pydantic_ai(url: str, token: str, task_id: str) -> dict[str, Any]:
    """As its agent runs: a function stands for the model."""
    from pydantic_ai import Agent
    from pydantic_ai.mcp import MCPToolset
    from pydantic_ai.messages import ModelMessage, ModelResponse, TextPart, ToolCallPart
    from pydantic_ai.models.function import AgentInfo, FunctionModel

    schemas: Schemas = {}
    asked: tuple[str, dict[str, Any]] = ("", {})

    def model(messages: list[ModelMessage], info: AgentInfo) -> ModelResponse:
        schemas.update({tool.name: tool.parameters_json_schema for tool in info.function_tools})
        answers = [part for part in messages[-1].parts if part.part_kind in {"tool-return", "retry-prompt"}]
        if asked[0] and not answers:
            return ModelResponse(parts=[ToolCallPart(*asked)])
        return ModelResponse(parts=[TextPart(str([part.content for part in answers]))])

    agent = Agent(FunctionModel(model), toolsets=[MCPToolset(url, headers=header(token))])

    async def call(tool: str, given: dict[str, Any]) -> Any:
        nonlocal asked
        asked = (tool, given)
        return (await agent.run("go on")).output

    await agent.run("what can you do?")
    return await work(call, schemas, task_id)


async def google_genai(url: str, token: str, task_id: str) -> dict[str, Any]:
    """Only the conversion is its own: its session is the official SDK's."""
    from google.genai import _mcp_utils
    from mcp import ClientSession
    from mcp.client.streamable_http import create_mcp_http_client, streamable_http_client

    async with (
        create_mcp_http_client(headers=header(token)) as http,
        streamable_http_client(url, http_client=http) as streams,
        ClientSession(*streams[:2]) as hub,
    ):
        await hub.initialize()
        listed = (await hub.list_tools()).tools
        converted = _mcp_utils.mcp_to_gemini_tools(listed)
        names = [each.name for tool in converted for each in tool.function_declarations or []]
        assert names == [tool.name for tool in listed], names
        return await work(hub.call_tool, {tool.name: tool.input_schema for tool in listed}, task_id)


HOSTS = {
    "fastmcp": fastmcp,
    "openai-agents": openai_agents,
    "langchain-mcp-adapters": langchain,
    "pydantic-ai": pydantic_ai,
    "google-genai": google_genai,
}

if __name__ == "__main__":
    host, *rest = sys.argv[1:]
    print(json.dumps(asyncio.run(HOSTS[host](*rest))))
