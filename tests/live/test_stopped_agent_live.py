"""An agent that is stopped by SIGSTOP for longer than its lease finds its task taken when it goes on."""

from __future__ import annotations

import signal
import subprocess
import sys
from collections.abc import Iterator

import pytest
from live_client import HubClient

from tests.streaming import Frame, until

AGENT = """
import sys, httpx
address, authorization, task = sys.argv[1:]
http = httpx.Client(base_url=address, headers={"Authorization": authorization}, trust_env=False, timeout=30)
claimed = http.post(f"/api/tasks/{task}/claim?as=stopped", json={"lease_s": 10}).json()
print("holds", flush=True)
sys.stdin.readline()
lease = {"TaskHub-Lease": claimed["lease"]["token"]}
answer = http.put(f"/api/tasks/status/{task}", json={"new_status": "done"}, headers=lease)
print(answer.status_code, answer.json()["error"]["code"], flush=True)
"""


@pytest.fixture
def agent(client: HubClient) -> Iterator[subprocess.Popen[str]]:
    task_id = client.create_task("of the agent that is stopped")
    command = [sys.executable, "-c", AGENT, client.address, client.http.headers["Authorization"], task_id]
    process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    process.task_id = task_id  # type: ignore[attr-defined]
    try:
        yield process
    finally:
        process.send_signal(signal.SIGCONT)
        process.kill()
        process.communicate()


def expired(frame: Frame) -> bool:
    return bool(frame.data) and frame.json()["data"].get("reason") == "lease_expired"


def test_an_agent_that_was_stopped_for_two_leases_is_refused(client: HubClient, agent: subprocess.Popen[str]) -> None:
    task_id = str(agent.task_id)  # type: ignore[attr-defined]
    assert agent.stdin is not None
    assert agent.stdout is not None
    assert agent.stdout.readline() == "holds\n"
    agent.send_signal(signal.SIGSTOP)
    with client.events(timeout_s=30, lastEventId="tasks:0", task_id=task_id) as frames:
        until(frames, expired)
        taken = client.http.post(f"/api/tasks/{task_id}/claim?as=second", json={"lease_s": 10}).json()
        assert taken["lease"]["attempt"] == 2
        # The second one dies as well: another lease goes by.
        until(frames, expired)
    third = client.http.post(f"/api/tasks/{task_id}/claim?as=third", json={}).json()
    agent.send_signal(signal.SIGCONT)
    agent.stdin.write("\n")
    agent.stdin.flush()
    assert agent.stdout.readline() == "409 lease_lost\n"
    task = client.http.get(f"/api/tasks/{task_id}").json()
    assert (task["status"], task["holder"]) == ("inprogress", third["task"]["holder"])
