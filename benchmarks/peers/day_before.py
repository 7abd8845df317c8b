"""The day of `tests/agents/day.py` on the previous release, whose tools wait for nothing and whose agents ask again.

The agents do what that release's prompts say. There is no order: the orchestrator makes the summary's task when the
others are done. No file of another task can be read: what it holds is made once more. A question, its answer and a
review are edits of the description. What is sent back is `inprogress`, as the prompt says, and `claim_task` offers it
to no agent: that task is not finished.
"""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any, Final

import httpx

from tests.agents import day
from tests.agents.day import ANSWER, ENDED, FILLING, QUESTION, REMARK, TASKS, WORKERS, Tally
from tests.deploy.previous_release import PreviousRelease
from tests.mcp_client import connected
from tests.processes import Process, RunningHub

FEW_SECONDS: Final = 3.0
"""Between two looks at an execution or an answer: "poll every few seconds"."""
IDLE_S: Final = 30.0
"""Before the next claim where there was no task: "wait half a minute"."""
FOLLOWS_S: Final = 60.0
"""Between the orchestrator's lists: "list_tasks every minute"."""
DAY_S: Final = 600
SENT_BACK: Final = "Write"
_POLLS: Final = frozenset({"get_execution", "get_task", "list_tasks"})


class PreviousHub(RunningHub):
    """That release's `make run`."""

    def __init__(self, release: PreviousRelease, data_dir: Path) -> None:
        self._release = release
        super().__init__(data_dir)

    def start(self) -> None:
        self.process = Process([self._release.python, "-m", "config.launcher"], self.env, cwd=self._release.folder)


class Agent(day.Agent):
    """That release's tools have no `as`."""

    async def call(self, tool: str, **arguments: Any) -> dict[str, Any]:
        return await self._ask(tool, arguments)


async def orchestrate(agent: Agent) -> None:
    for task in TASKS[:-1]:
        await _create(agent, task)
    done: list[Any] = []
    while len(done) < len(TASKS) - 2:
        await asyncio.sleep(FOLLOWS_S)
        done = (await agent.call("list_tasks", status=["done"]))["tasks"]
    await _create(agent, TASKS[-1])


async def _create(agent: Agent, task: dict[str, Any]) -> None:
    description = f"{task['description']}\n\n{FILLING}"
    await agent.call("create_task", title=task["title"], description=description)


async def work(agent: Agent, is_over: asyncio.Event) -> None:
    while not is_over.is_set():
        task = (await agent.call("claim_task"))["task"]
        if task is None:
            await asyncio.sleep(IDLE_S)
            continue
        status = "review" if task["title"] == SENT_BACK else "done"
        await _do(agent, task)
        await agent.call("set_task_status", task_id=task["id"], new_status=status)
        agent.tally.tell(agent.name, f"{task['title']} -> {status}")
        if task["title"].startswith("LAST"):
            is_over.set()


async def _do(agent: Agent, task: dict[str, Any]) -> None:
    if "```bash" in task["description"]:
        if await _run(agent, task) != "completed":
            assert await _run(agent, task, script_content="echo 'test_b passed'") == "completed"
    elif task["title"] == "Add up":
        assert await _run(agent, task, script_content="seq 3 | awk '{s += $1} END {print s}'") == "completed"
    elif task["title"] == "Paint":
        asked = f"{task['description']}\n\nQUESTION: {QUESTION}"
        await agent.call("update_task", task_id=task["id"], description=asked)
        while ANSWER not in asked:
            await asyncio.sleep(FEW_SECONDS)
            asked = (await agent.call("get_task", task_id=task["id"]))["description"]


async def _run(agent: Agent, task: dict[str, Any], **script: str) -> str:
    await agent.call("execute_task", task_id=task["id"], **script)
    while True:
        await asyncio.sleep(FEW_SECONDS)
        run = await agent.call("get_execution", task_id=task["id"])
        if run["status"] in ENDED:
            return str(run["status"])


async def answer_and_review(http: httpx.AsyncClient) -> None:
    """The person answers, and sends back once, as soon as there is something."""
    while True:
        tasks = (await http.get("/api/tasks/")).raise_for_status().json()["results"]
        for task in tasks:
            more: dict[str, Any] = {}
            if QUESTION in task["description"] and ANSWER not in task["description"]:
                more = {"description": f"{task['description']} {ANSWER}"}
            elif task["status"] == "review":
                more = {"description": f"{task['description']}\n\n{REMARK}", "status": "inprogress"}
            if more:
                (await http.patch(f"/api/tasks/{task['id']}/", json=more)).raise_for_status()
        await asyncio.sleep(1)


async def day_before(address: str, token: str) -> tuple[Tally, list[dict[str, Any]]]:
    """What the agents asked and read, and the tasks at its end."""
    tally, is_over = Tally(), asyncio.Event()
    headers = {"Authorization": f"Bearer {token}"}
    async with (
        connected(address, token) as one,
        connected(address, token) as two,
        connected(address, token) as three,
        httpx.AsyncClient(base_url=address, headers=headers, timeout=60, trust_env=False) as http,
    ):
        workers = [Agent(client, name, tally) for client, name in zip((one, two, three), WORKERS, strict=True)]
        human = asyncio.create_task(answer_and_review(http))
        leading = asyncio.create_task(orchestrate(Agent(one, "orchestrator", tally)))
        at_work = [asyncio.create_task(work(worker, is_over)) for worker in workers]
        everything = (human, leading, *at_work)
        try:
            async with asyncio.timeout(DAY_S):
                waited = asyncio.create_task(is_over.wait())
                while not waited.done():
                    pending = {each for each in everything if not (each is leading and each.done())}
                    done, _ = await asyncio.wait({waited, *pending}, return_when=asyncio.FIRST_COMPLETED)
                    for each in done:
                        each.result()
        finally:
            for each in everything:
                each.cancel()
            await asyncio.gather(*everything, return_exceptions=True)
        tasks = (await http.get("/api/tasks/")).raise_for_status().json()["results"]
    return tally, tasks


def polls(tally: Tally) -> int:
    """Calls that ask again; the orchestrator's lists and the claims that find nothing among them."""
    return sum(tool in _POLLS for tool in tally.calls) + max(0, tally.calls.count("claim_task") - len(TASKS))
