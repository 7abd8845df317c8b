"""A day of work over MCP alone: an orchestrator, three agents and a person share eight tasks.

The agents are scripts that do what the hub's prompts say, with the calls that a model would make and no more. What they
read is counted as their hosts would show it to a model: the text of each result.
"""

from __future__ import annotations

import asyncio
import json
import re
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any, Final

import httpx
from mcp import Client

from tests.mcp_client import connected
from tests.processes import RunningHub

CHARS_PER_TOKEN: Final = 4
WAIT_S: Final = 50
WORKERS: Final = ("ann", "ben", "eve")
QUESTION: Final = "Which colour shall the page have?"
ANSWER: Final = "blue"
REMARK: Final = "Name the sources."
FILLING: Final = "One sees that it is right where its result says so. Ask if anything is unclear. " * 5
ENDED: Final = frozenset({"completed", "failed", "stopped", "timed_out", "lost"})

TASKS: Final[list[dict[str, Any]]] = [
    {"ref": "data", "title": "Fetch the data", "description": "```bash\nmkdir -p out; seq 3 > out/data.txt\n```"},
    {"ref": "long", "title": "Build", "description": "```bash\nfor n in 1 2 3 4; do echo step $n; sleep 1; done\n```"},
    {"ref": "broken", "title": "Test", "description": "```bash\necho 'test_b failed' >&2; exit 1\n```"},
    {"ref": "colour", "title": "Paint", "description": "The colour is the customer's choice."},
    {"ref": "sum", "title": "Add up", "description": "Add up the data.", "blocked_by": ["data"]},
    {"ref": "text", "title": "Write", "description": "To be reviewed.", "tags": ["review"]},
    {"ref": "plain", "title": "Tidy", "description": "Nothing is to be run."},
    {
        "title": "LAST: Summary",
        "description": "Sum up the others.",
        "blocked_by": ["data", "long", "broken", "colour", "sum", "text", "plain"],
    },
]


@dataclass
class Tally:
    """What the agents asked, the characters that they were answered, and in a line each what was done."""

    calls: list[str] = field(default_factory=list)
    chars: int = 0
    story: list[str] = field(default_factory=list)

    def tell(self, who: str, what: str) -> None:
        self.story.append(f"{who:<13}{what}")

    @property
    def tokens(self) -> int:
        return self.chars // CHARS_PER_TOKEN


@dataclass
class Agent:
    """A scripted agent: `name` tells it apart from others that use the same token."""

    client: Client
    name: str
    tally: Tally

    async def call(self, tool: str, **arguments: Any) -> dict[str, Any]:
        return await self._ask(tool, {"as": self.name, **arguments})

    async def _ask(self, tool: str, arguments: dict[str, Any]) -> dict[str, Any]:
        answer = await self.client.call_tool(tool, arguments)
        text = answer.content[0].text  # type: ignore[union-attr]  # our tools answer text
        self.tally.calls.append(tool)
        self.tally.chars += len(text)
        assert not answer.is_error, (tool, arguments, text)
        return dict(json.loads(text))


async def orchestrate(agent: Agent) -> None:
    tasks = [{**task, "description": f"{task['description']}\n\n{FILLING}"} for task in TASKS]
    await agent.call("create_tasks", tasks=tasks, request_id="the-day")
    agent.tally.tell(agent.name, f"creates {len(tasks)} tasks")


async def work(agent: Agent, is_over: asyncio.Event) -> None:
    """The prompt `work_on_tasks`, until there is nothing more."""
    while not is_over.is_set():
        claimed = await agent.call("claim_task", wait_s=WAIT_S)
        task = claimed["task"]
        if task is None:
            continue
        held = {"task_id": task["id"], "lease": claimed["lease"]["token"]}
        status, result = await _do(agent, task, held)
        await agent.call("set_task_status", **held, new_status=status, note=result)
        agent.tally.tell(agent.name, f"{task['title']} -> {status}: {result}")
        if task["title"].startswith("LAST"):
            is_over.set()


async def _do(agent: Agent, task: dict[str, Any], held: dict[str, Any]) -> tuple[str, str]:
    """The status that follows, and the result."""
    if "```bash" in task["description"]:
        return "done", await _run(agent, held)
    if task["title"] == "Paint":
        return "done", f"painted {await _ask(agent, held)}"
    if task["title"] == "Add up":
        (data,) = task["blocked_by"]
        read = await agent.call("read_file", task_id=data["id"], path="out/data.txt")
        return "done", f"the sum is {sum(map(int, read['text'].split()))}"
    if "review" in task.get("tags", []):
        remarks = [note["text"] for note in task["notes"] if note["kind"] == "review"]
        return "review", f"written; {remarks[0]} Done." if remarks else "written"
    if task["title"].startswith("LAST"):
        results = [blocker["result"] for blocker in task["blocked_by"]]
        return "done", "; ".join(results)
    return "done", "tidied"


async def _run(agent: Agent, held: dict[str, Any]) -> str:
    """Runs the task's script; where it fails, once more with what the log says mended."""
    for script in ({}, {"script_content": "echo 'test_b passed'"}):
        run = await agent.call("execute_task", **held, **script, wait_s=WAIT_S)
        while run["status"] not in ENDED:
            run = await agent.call("get_execution", task_id=held["task_id"], wait_s=WAIT_S, after=run["after"])
        if run["status"] == "completed":
            return f"it ended with {run['exit_code']}"
        assert "test_b failed" in run["log"], run
    raise AssertionError(run)


async def _ask(agent: Agent, held: dict[str, Any]) -> str:
    asked = await agent.call("add_note", **held, kind="question", text=QUESTION, options=["red", ANSWER])
    while True:
        task = await agent.call("get_task", task_id=held["task_id"], wait_s=WAIT_S, note=asked["id"])
        for note in task["notes"]:
            if note["question"] == asked["id"]:
                return str(note["text"])


def sign_in_link(hub: RunningHub) -> str:
    """The one that `make run` prints."""
    return next(found[0] for line in hub.process.output if (found := re.search(r"http://\S*sign-in\S*", line)))


@asynccontextmanager
async def person(address: str, link: str) -> AsyncIterator[httpx.AsyncClient]:
    """A browser's session, without the browser."""
    async with httpx.AsyncClient(base_url=address, timeout=60, trust_env=False, follow_redirects=True) as browser:
        (await browser.get(link)).raise_for_status()
        browser.headers["X-CSRFToken"] = browser.cookies["csrftoken"]
        browser.headers["Referer"] = address
        yield browser


async def answer_and_review(browser: httpx.AsyncClient, tally: Tally) -> None:
    """What a person does all day: answers questions, sends back what lacks something, accepts the rest."""
    while True:
        waiting = await browser.get("/api/tasks/", params={"waiting_for": "any"})
        tasks = waiting.raise_for_status().json()["results"]
        for task in tasks:
            if task["waiting_for"] == "answer":
                note = {"kind": "answer", "text": ANSWER}
                (await browser.post(f"/api/tasks/{task['id']}/notes", json=note)).raise_for_status()
                tally.tell("person", f"{task['title']}: {QUESTION} {ANSWER}")
                continue
            notes = (await browser.get(f"/api/tasks/{task['id']}/notes")).raise_for_status().json()["results"]
            is_right = any(REMARK in note["text"] and note["kind"] == "result" for note in notes)
            change = {"new_status": "done"} if is_right else {"new_status": "todo", "note": REMARK}
            (await browser.put(f"/api/tasks/status/{task['id']}", json=change)).raise_for_status()
            tally.tell("person", f"{task['title']} -> {change['new_status']}{'' if is_right else f': {REMARK}'}")
        if not tasks:
            await browser.get("/api/tasks/", params={"waiting_for": "any", "wait_s": WAIT_S})


async def day(address: str, token: str, link: str) -> tuple[Tally, list[dict[str, Any]]]:
    """What the agents asked and read, and the tasks at its end."""
    tally, is_over = Tally(), asyncio.Event()
    async with (
        connected(address, token) as one,
        connected(address, token) as two,
        connected(address, token) as three,
        person(address, link) as browser,
    ):
        await orchestrate(Agent(one, "orchestrator", tally))
        human = asyncio.create_task(answer_and_review(browser, tally))
        workers = [Agent(client, name, tally) for client, name in zip((one, two, three), WORKERS, strict=True)]
        at_work = [asyncio.create_task(work(worker, is_over)) for worker in workers]
        over = asyncio.create_task(is_over.wait())
        try:
            await asyncio.wait([*at_work, over, human], return_when=asyncio.FIRST_COMPLETED)
            for each in (*at_work, human):
                if each.done():
                    each.result()
        finally:
            for each in (*at_work, human, over):
                each.cancel()
            await asyncio.gather(*at_work, human, over, return_exceptions=True)
        tasks = (await browser.get("/api/tasks/")).raise_for_status().json()["results"]
    return tally, tasks
