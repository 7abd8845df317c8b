"""What runs for a private task is private in its sandbox too."""

from __future__ import annotations

import httpx
from live_client import HubClient

from tests.processes import wait_until
from tests.streaming import open_stream


def test_others_cannot_look_into_the_sandbox_of_a_private_task(client: HubClient) -> None:
    task_id = client.create_task("public at first")
    client.execute(task_id, "echo secret; sleep 30")
    wait_until(lambda: client.status(task_id)["status"] == "running", "it runs")
    seen = client.status(task_id)
    sandbox, session, command = seen["sandbox_id"], seen["session_name"], seen["command_id"]
    inside = f"{client.address}/api/sandboxes/{sandbox}/sessions/{session}"
    addresses = [
        f"{client.address}/api/sandboxes/{sandbox}",
        f"{client.address}/api/sandboxes/{sandbox}/sessions",
        inside,
        f"{inside}/commands/{command}",
        f"{inside}/commands/{command}/logs",
    ]
    listing = f"{client.address}/api/sandboxes"
    assert [httpx.get(address).status_code for address in addresses] == [200] * 5
    assert sandbox in httpx.get(listing).text
    log = {"sandboxId": sandbox, "eventType": "logs", "sessionId": session, "commandId": command}
    with open_stream(f"{client.address}/sse", params=log) as frames:
        assert next(frames).event == "connected"
        assert client.http.patch(f"/api/tasks/{task_id}/", json={"private": True}).status_code == 200
        assert list(frames)[-1].json()["reason"] == "revoked"
    assert [httpx.get(address).status_code for address in addresses] == [404] * 5
    assert sandbox not in httpx.get(listing).text
    for query in (log, {"sandboxId": sandbox}, {"sandboxId": sandbox, "eventType": "sessions"}):
        assert httpx.get(f"{client.address}/sse", params=query).status_code == 404
    assert [client.http.get(address).status_code for address in addresses] == [200] * 5
    client.http.post(f"/api/exec/stop/{task_id}")


def test_a_ticket_opens_a_sandboxes_stream_and_no_other(client: HubClient) -> None:
    task_id, end = client.run("echo hello")
    body = {"kind": "sse", "params": {"sandboxId": end["sandbox_id"]}}
    url = client.http.post("/api/tickets/", json=body).json()["url"]
    with open_stream(url) as frames:
        assert next(frames).event == "connected"
    assert httpx.get(url.replace("sandbox-status", "sessions")).json()["error"]["code"] == "ticket_invalid"
    assert httpx.get(url + "&sessionId=x").json()["error"]["code"] == "ticket_invalid"
    events = url.replace("/sse", "/api/events/stream")
    assert httpx.get(events).json()["error"]["code"] == "ticket_invalid"
    assert task_id


def test_a_stream_of_a_shared_sandbox_ends_for_others_when_a_private_task_comes_into_it(client: HubClient) -> None:
    sandbox = client.http.post("/api/sandboxes/", json={}).json()["id"]
    query = {"sandboxId": sandbox, "eventType": "sessions"}
    with open_stream(f"{client.address}/sse", params=query) as frames:
        assert next(frames).event == "connected"
        task_id = client.create_task("secret", private=True)
        client.execute(task_id, "sleep 20", sandbox_id=sandbox)
        assert list(frames)[-1].json()["reason"] == "revoked"
    client.http.post(f"/api/exec/stop/{task_id}")
    wait_until(lambda: client.status(task_id)["status"] == "stopped", "it has ended")
    assert httpx.get(f"{client.address}/api/sandboxes/{sandbox}").status_code == 404
    # What it left there stays hidden when it is gone.
    assert client.http.delete(f"/api/tasks/{task_id}/").status_code == 204
    assert httpx.get(f"{client.address}/api/sandboxes/{sandbox}/sessions").status_code == 404
    assert client.http.get(f"/api/sandboxes/{sandbox}").status_code == 200


def test_a_script_runs_in_a_sandbox_by_its_id_and_not_by_its_name(client: HubClient) -> None:
    task_id, end = client.run("true")
    made = client.http.get(f"/api/sandboxes/{end['sandbox_id']}").json()["name"]
    assert made == client.status(task_id)["session_name"]
    body = {"script_content": "true", "sandbox_id": made}
    refused = client.http.post(f"/api/exec/{task_id}", json=body)
    assert (refused.status_code, refused.json()["error"]["code"]) == (404, "sandbox_not_found")
    _, again = client.run("true", sandbox_id=end["sandbox_id"])
    assert again["execution_event"] == "completed"
