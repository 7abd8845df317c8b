"""Many writers at once over REST: no update is lost, no event is missing or out of order."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from itertools import pairwise
from typing import Any

import httpx
import pytest
from live_client import HubClient

from tests.streaming import until

WRITERS = 8
UPDATES = 25
STATUSES = ["inprogress", "todo"]


def write(client: HubClient, tasks: list[str], writer: int) -> tuple[list[int], int]:
    """This writer's answers, and how many of them were refusals of the transition."""
    codes = []
    with httpx.Client(base_url=client.address, headers=client.hub.headers, timeout=60, trust_env=False) as session:
        for n in range(UPDATES):
            # Every update is a change: no two of them name the same assignee.
            body = {"new_status": STATUSES[n % 2], "assignee": f"writer-{writer}-{n}"}
            codes.append(session.put(f"/api/tasks/status/{tasks[n % len(tasks)]}", json=body).status_code)
    return codes, codes.count(409)


@pytest.mark.parametrize("count", [1, 5])
def test_concurrent_status_updates_lose_nothing(client: HubClient, count: int) -> None:
    tasks = [client.create_task(f"contended {n}") for n in range(count)]
    with client.events() as live:
        until(live, lambda frame: "connected" in frame.data)
        with ThreadPoolExecutor(WRITERS) as pool:
            results = list(pool.map(lambda writer: write(client, tasks, writer), range(WRITERS)))
        codes = [code for written, _ in results for code in written]
        assert codes == [200] * (WRITERS * UPDATES)
        # The mark comes after all of them.
        mark = client.create_task("the mark")
        seen = [frame.json() for frame in until(live, lambda frame: mark in frame.data) if frame.data]
    for task_id in tasks:
        versions = [each["data"]["version"] for each in seen if is_update_of(each, task_id)]
        task = client.http.get(f"/api/tasks/{task_id}").json()
        assert versions == list(range(2, task["version"] + 1))
        assert task["version"] == 1 + WRITERS * UPDATES // count
        history = [each["data"] for each in seen if is_update_of(each, task_id)]
        assert history[-1]["assignee"] == task["assignee"]
        for before, after in pairwise(history):
            assert after["previous"]["assignee"] == before["assignee"]


def is_update_of(envelope: dict[str, Any], task_id: str) -> bool:
    return envelope["event"] == "task_updated" and envelope["data"]["task_id"] == task_id
