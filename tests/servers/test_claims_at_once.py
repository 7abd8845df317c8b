"""50 agents that claim 200 tasks at once, over two web processes and both doors: each task goes to exactly one.

Ten of them are killed then: what they held goes to exactly one other each.
"""

from __future__ import annotations

import asyncio
import random
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

import httpx
import pytest

from tests.mcp_client import connected
from tests.postgres import make_database
from tests.servers.hubs import PATIENCE_S, Installation

AGENTS = [f"agent-{n}" for n in range(50)]
TASKS = 200
KILLED = random.Random(17).sample(AGENTS, 10)
LEASE_S = 10
"""Of those that are killed; the shortest that may be asked for."""


@pytest.fixture(params=["sqlite", pytest.param("postgresql", marks=pytest.mark.postgres)])
def installation(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Installation]:
    url = None
    if request.param == "postgresql":
        url = make_database(request.getfixturevalue("postgres_url"), "claims")
    made = Installation(tmp_path_factory.mktemp("claims"), url)
    try:
        made.make_accounts(*AGENTS)
        for web in ("one", "two"):
            # Longer than a client keeps what is idle: else a request may meet a connection that is just being closed.
            made.start_web(web, "--timeout-keep-alive", "120")
        yield made
    finally:
        made.end()


def wanted(name: str) -> dict[str, Any]:
    """The body of a claim."""
    return {"tags": ["claimed"], **({"lease_s": LEASE_S} if name in KILLED else {})}


async def claim_over_mcp(work: Work, name: str, web: str) -> list[str]:
    async with connected(work.installation.address(web), work.installation.accounts[name]) as client:
        await work.start.wait()
        taken = []
        while True:
            answer = await client.call_tool("claim_task", wanted(name))
            assert not answer.is_error, answer
            task = answer.structured_content["task"]
            if task is None:
                return taken
            assert (task["assignee"], task["status"]) == (name, "inprogress")
            taken.append(task["id"])
            if work.finishes:
                lease = answer.structured_content["lease"]["token"]
                done = {"task_id": task["id"], "lease": lease, "new_status": "done"}
                assert not (await client.call_tool("set_task_status", done)).is_error


async def claim_over_rest(work: Work, name: str, web: str) -> list[str]:
    headers = {"Authorization": f"Bearer {work.installation.accounts[name]}"}
    async with httpx.AsyncClient(
        base_url=work.installation.address(web), headers=headers, timeout=60, trust_env=False
    ) as client:
        await work.start.wait()
        taken = []
        while (task := (await client.post("/api/tasks/claim/", json=wanted(name))).json()["task"]) is not None:
            taken.append(task["id"])
            if work.finishes:
                done = await client.put(f"/api/tasks/status/{task['id']}", json={"new_status": "done"})
                assert done.status_code == 200, done.text
        return taken


@dataclass
class Work:
    """What agents do at once. `finishes`: each task that they claim is done before the next."""

    installation: Installation
    agents: list[str]
    finishes: bool = False
    start: asyncio.Event = field(default_factory=asyncio.Event)

    async def done(self) -> dict[str, list[str]]:
        """The tasks that each has got, until there were none."""
        doors = [claim_over_rest if n % 5 == 0 else claim_over_mcp for n in range(len(self.agents))]
        work = [
            asyncio.create_task(door(self, name, ("one", "two")[n % 2]))
            for n, (door, name) in enumerate(zip(doors, self.agents, strict=True))
        ]
        if not self.finishes:
            await asyncio.sleep(2)  # until they are connected; who is late only claims less
        self.start.set()
        return dict(zip(self.agents, await asyncio.gather(*work), strict=True))


# How soon a task is free again is no matter of a busy machine here: tests/integration/test_killed_agents.py has the
# time injected, `make agents` has it measured.
EXPIRE = """
import time
from taskhub.models import Claim
from taskhub.services.claims import claims_expire
left = Claim.objects.filter(agent__account__in={names}).count()
begun = time.monotonic()
while left:
    left -= len(claims_expire())
    assert time.monotonic() - begun < {within_s}
    time.sleep(0.05)
"""


def test_each_task_is_claimed_exactly_once_and_those_of_killed_agents_once_more(installation: Installation) -> None:
    with httpx.Client(base_url=installation.address("one"), headers=installation.headers, timeout=90) as operator:
        made = [
            operator.post("/api/tasks/", json={"title": f"{n}", "tags": ["claimed"]}).json()["id"] for n in range(TASKS)
        ]
        operator.post("/api/tasks/", json={"title": "of other kind"})
        taken = asyncio.run(Work(installation, AGENTS).done())
        assert Counter(task for each in taken.values() for task in each) == Counter(made)
        assert len([name for name, each in taken.items() if each]) > len(AGENTS) // 2
        for name, each in taken.items():
            query = {"assignee": name, "status": "inprogress", "page_size": TASKS}
            rows = operator.get("/api/tasks/", params=query).json()["results"]
            assert {row["id"] for row in rows} == set(each)
            assert all(row["version"] == 2 for row in rows)
        assert_killed_agents_lose_no_task(installation, operator, taken)


def assert_killed_agents_lose_no_task(
    installation: Installation, operator: httpx.Client, taken: dict[str, list[str]]
) -> None:
    """Some are killed at random: what they held is done once, by others, and they are told when they come back."""
    killed = [name for name in KILLED if taken[name]]
    lost = [task for name in killed for task in taken[name]]
    assert lost
    installation.manage("shell", "--no-imports", "-c", EXPIRE.format(names=killed, within_s=PATIENCE_S))
    living = [name for name in AGENTS if name not in KILLED]
    done = asyncio.run(Work(installation, living, finishes=True).done())
    assert Counter(task for each in done.values() for task in each) == Counter(lost)
    for n, name in enumerate(killed):
        headers = {"Authorization": f"Bearer {installation.accounts[name]}"}
        address = f"{installation.address(('one', 'two')[n % 2])}/api/tasks/status/{taken[name][0]}"
        late = httpx.put(address, headers=headers, json={"new_status": "review"}, timeout=90)
        assert (late.status_code, late.json()["error"]["code"]) == (409, "lease_lost")
    rows = operator.get("/api/tasks/", params={"status": "done", "page_size": TASKS}).json()["results"]
    assert {row["id"] for row in rows} == set(lost)
