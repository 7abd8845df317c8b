"""Agents that do what the two prompts say, step by step and no more; the steps have the prompts' own numbers.

One gets stuck on purpose and gives its task back, one result is sent back, one question is asked. Nothing else tells
them about the hub: what they call and pass is what the prompts and the answers say.
"""

from __future__ import annotations

import asyncio
import json
from collections import Counter
from contextlib import AsyncExitStack
from dataclasses import dataclass, field
from typing import Any, Final
from uuid import uuid4

from mcp import Client

from tests.agents.day import ENDED
from tests.mcp_client import connected
from tests.processes import RunningHub

WAIT_S: Final = 50
WORKERS: Final = ("ann", "ben")
GOAL: Final = "Add up the data, and describe it."
_FOUND_OUT: Final = "it needs REGION=eu"
_REMARK: Final = "Name the sources."

TASKS: Final[list[dict[str, Any]]] = [
    {"ref": "data", "title": "Data", "description": "```bash\nmkdir -p out; seq 3 > out/data.txt\n```"},
    {
        "ref": "sum",
        "title": "Sum",
        "description": "```bash\nmkdir -p out; awk '{s += $1} END {print s}' in/data.txt > out/sum.txt\n```",
        "blocked_by": ["data"],
    },
    {"title": "Broken", "description": '```bash\ntest "$REGION" = eu\n```', "priority": "high"},
    {"title": "Colour", "description": "Ask which colour it shall have."},
    {"title": "Text", "description": "Describe the sum.", "blocked_by": ["sum"]},
]


@dataclass
class Agent:
    """`refused`: the codes of its calls that were refused."""

    client: Client
    name: str
    tags: list[str]
    calls: Counter[str] = field(default_factory=Counter)
    refused: list[str] = field(default_factory=list)

    async def prompt(self, name: str, **arguments: str) -> str:
        found = await self.client.get_prompt(name, arguments)
        return str(found.messages[0].content.text)  # type: ignore[union-attr]  # our prompts are text

    async def call(self, tool: str, **arguments: Any) -> dict[str, Any]:
        answer = await self.client.call_tool(tool, {"as": self.name, **arguments} if tool in _NAMED else arguments)
        self.calls[tool] += 1
        body = dict(json.loads(answer.content[0].text))  # type: ignore[union-attr]  # our tools answer text
        if answer.is_error:
            self.refused.append(body["error"]["code"])
        return body


_NAMED: Final = frozenset(
    {"claim_task", "get_task", "set_task_status", "add_note", "execute_task", "get_execution", "create_tasks"}
)
"""`as` with every call that takes it."""


# --- work_on_tasks ------------------------------------------------------------------------------------------


async def work(agent: Agent) -> None:
    """Until it is cancelled."""
    while True:
        claimed = await agent.call("claim_task", wait_s=WAIT_S, tags=agent.tags)  # 1
        if claimed["task"] is not None:
            await _do(agent, claimed["task"], {"task_id": claimed["task"]["id"], "lease": claimed["lease"]["token"]})


async def _do(agent: Agent, task: dict[str, Any], held: dict[str, Any]) -> None:
    """Steps 2 to 4."""
    remarks = [note["text"] for note in task["notes"]]
    result, artifacts = f"{task['title']} is done", []
    if "```bash" in task["description"]:
        run = await _run(agent, task, held, knows_how=_FOUND_OUT in remarks)
        if run["status"] != "completed":
            await agent.call("set_task_status", **held, new_status="todo", note=_FOUND_OUT)  # 3, after three failures
            return
        artifacts = sorted(run.get("files", {}))
    elif task["title"] == "Colour":
        result = f"it is {await _ask(agent, held)}"
    elif _REMARK in remarks:
        result += "; sources: the sum"
    await agent.call("set_task_status", **held, new_status="review", note=result, artifacts=artifacts)  # 4


async def _run(agent: Agent, task: dict[str, Any], held: dict[str, Any], *, knows_how: bool) -> dict[str, Any]:
    """Step 2; and 3, the script again, three times at most."""
    more: dict[str, Any] = {}
    for blocker in task["blocked_by"]:
        left = await agent.call("get_execution", task_id=blocker["id"])
        more["files"] = [{"path": "in/data.txt", "execution_id": left["execution_id"], "source_path": "out/data.txt"}]
    if knows_how:
        more["env"] = [{"name": "REGION", "value": "eu"}]
    for _ in range(3):
        run = await agent.call("execute_task", **held, **more, wait_s=WAIT_S)
        while run["status"] not in ENDED:
            waited = {"wait_s": WAIT_S, "after": run["after"]}
            run = await agent.call("get_execution", task_id=held["task_id"], **waited)
        if run["status"] == "completed":
            break
    return run


async def _ask(agent: Agent, held: dict[str, Any]) -> str:
    question = {"kind": "question", "text": "Which colour?", "deadline_s": 3600, "assumes": "grey"}
    asked = await agent.call("add_note", **held, **question)
    while True:
        task = await agent.call("get_task", task_id=held["task_id"], wait_s=WAIT_S, note=asked["id"])
        for note in task["notes"]:
            if note["question"] == asked["id"]:
                return str(note["text"])


# --- coordinate_tasks ---------------------------------------------------------------------------------------


async def coordinate(agent: Agent) -> dict[str, dict[str, Any]]:
    """The tasks at the end, by their titles."""
    await agent.call("get_overview")  # 1
    await agent.call("list_tasks", status=["todo", "inprogress"])
    tasks = [{**task, "tags": agent.tags} for task in TASKS]
    await agent.call("create_tasks", tasks=tasks, request_id=f"{uuid4()}")  # 2, and 3: without an assignee
    waiting = await agent.call("list_tasks", waiting_for=["any"], tags=agent.tags)
    while True:
        for row in waiting["tasks"]:
            await (_answer if row["waiting_for"] == "answer" else _review)(agent, row["id"])  # 5
        done = await agent.call("list_tasks", status=["done"], tags=agent.tags)
        if len(done["tasks"]) == len(TASKS):
            break
        waiting = await agent.call("list_tasks", waiting_for=["any"], tags=agent.tags)
        if not waiting["tasks"]:
            waiting = await agent.call("list_tasks", waiting_for=["any"], tags=agent.tags, wait_s=WAIT_S)  # 4
    found = [await agent.call("get_task", task_id=row["id"]) for row in done["tasks"]]  # 6
    return {task["title"]: task for task in found}


async def _answer(agent: Agent, task_id: str) -> None:
    task = await agent.call("get_task", task_id=task_id)
    if any(note["kind"] == "question" for note in task["notes"]):
        await agent.call("add_note", task_id=task_id, kind="answer", text="blue")


async def _review(agent: Agent, task_id: str) -> None:
    task = await agent.call("get_task", task_id=task_id)
    if "```bash" in task["description"]:
        run = await agent.call("get_execution", task_id=task_id)
        for path in run.get("files", {}):
            assert (await agent.call("read_file", task_id=task_id, path=path))["text"]
    results = [note["text"] for note in task["notes"] if note["kind"] == "result"]
    if task["title"] == "Text" and "sources" not in results[0]:
        await agent.call("set_task_status", task_id=task_id, new_status="todo", note=_REMARK)
    else:
        await agent.call("set_task_status", task_id=task_id, new_status="done")


@dataclass
class Told:
    """What was done, by whom, and the prompts as they were given."""

    tasks: dict[str, dict[str, Any]]
    agents: list[Agent]
    prompts: dict[str, str]


async def by_the_letter(hub: RunningHub) -> Told:
    tags = [f"letters-{uuid4().hex[:8]}"]
    async with AsyncExitStack() as stack:
        agents = [
            Agent(await stack.enter_async_context(connected(hub.address, hub.token)), name, tags)
            for name in ("lead", *WORKERS)
        ]
        lead, *workers = agents
        prompts = {
            "coordinate_tasks": await lead.prompt("coordinate_tasks", goal=GOAL),
            "work_on_tasks": await workers[0].prompt("work_on_tasks", tags=tags[0]),
        }
        at_work = [asyncio.create_task(work(worker)) for worker in workers]
        leading = asyncio.create_task(coordinate(lead))
        try:
            done, _ = await asyncio.wait([*at_work, leading], return_when=asyncio.FIRST_COMPLETED)
            return Told(next(iter(done)).result() or {}, agents, prompts)
        finally:
            for each in (*at_work, leading):
                each.cancel()
            await asyncio.gather(*at_work, leading, return_exceptions=True)
