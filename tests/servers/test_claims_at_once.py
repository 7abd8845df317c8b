"""50 agents that claim 200 tasks at once, over two web processes and both doors: each task goes to exactly one."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Iterator

import httpx
import pytest

from tests.mcp_client import connected
from tests.servers.hubs import Installation

AGENTS = [f"agent-{n}" for n in range(50)]
TASKS = 200


@pytest.fixture(params=["sqlite", pytest.param("postgresql", marks=pytest.mark.postgres)])
def installation(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Installation]:
    url = None if request.param == "sqlite" else request.getfixturevalue("postgres_url")
    made = Installation(tmp_path_factory.mktemp("claims"), url)
    try:
        made.make_accounts(*AGENTS)
        made.start_web("one")
        made.start_web("two")
        yield made
    finally:
        made.end()


async def claim_over_mcp(installation: Installation, name: str, web: str, start: asyncio.Event) -> list[str]:
    async with connected(installation.address(web), installation.accounts[name]) as client:
        await start.wait()
        taken = []
        while True:
            answer = await client.call_tool("claim_task", {"tags": ["claimed"]})
            assert not answer.is_error, answer
            task = answer.structured_content["task"]
            if task is None:
                return taken
            assert (task["assignee"], task["status"]) == (name, "inprogress")
            taken.append(task["id"])


async def claim_over_rest(installation: Installation, name: str, web: str, start: asyncio.Event) -> list[str]:
    headers = {"Authorization": f"Bearer {installation.accounts[name]}"}
    async with httpx.AsyncClient(base_url=installation.address(web), headers=headers, timeout=60) as client:
        await start.wait()
        taken = []
        while (task := (await client.post("/api/tasks/claim/", json={"tags": ["claimed"]})).json()["task"]) is not None:
            taken.append(task["id"])
        return taken


async def all_claim(installation: Installation) -> dict[str, list[str]]:
    start = asyncio.Event()
    work = [
        asyncio.create_task(
            (claim_over_rest if n % 5 == 0 else claim_over_mcp)(installation, name, ("one", "two")[n % 2], start)
        )
        for n, name in enumerate(AGENTS)
    ]
    await asyncio.sleep(2)  # until they are connected; who is late only claims less
    start.set()
    return dict(zip(AGENTS, await asyncio.gather(*work), strict=True))


def test_each_task_is_claimed_exactly_once(installation: Installation) -> None:
    with httpx.Client(base_url=installation.address("one"), headers=installation.headers, timeout=30) as operator:
        made = [
            operator.post("/api/tasks/", json={"title": f"{n}", "tags": ["claimed"]}).json()["id"] for n in range(TASKS)
        ]
        operator.post("/api/tasks/", json={"title": "of other kind"})
        taken = asyncio.run(all_claim(installation))
        assert Counter(task for each in taken.values() for task in each) == Counter(made)
        assert len([name for name, each in taken.items() if each]) > len(AGENTS) // 2
        for name, each in taken.items():
            query = {"assignee": name, "status": "inprogress", "page_size": TASKS}
            rows = operator.get("/api/tasks/", params=query).json()["results"]
            assert {row["id"] for row in rows} == set(each)
            assert all(row["version"] == 2 for row in rows)
