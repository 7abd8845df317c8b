"""Announcements on a whole hub: on open streams at once, and in the first event of those that open later."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

from live_client import HubClient

from tests.processes import wait_until
from tests.streaming import until


def announce(client: HubClient, text: str, **fields: Any) -> str:
    answer = client.http.post("/api/announcements/", json={"level": "info", "text": text, **fields})
    assert answer.status_code == 201, answer.text
    return str(answer.json()["id"])


def greeted_with(client: HubClient, **query: str) -> list[str]:
    with client.events(**query) as frames:
        first = next(frames).json()
    assert first["event"] == "connected"
    return [one["text"] for one in first["data"]["announcements"]]


def test_open_streams_hear_of_it_and_new_ones_begin_with_it(client: HubClient) -> None:
    text = "Maintenance at six.\nSave your work."
    elsewhere = "0f0f0f0f-0f0f-4f0f-8f0f-0f0f0f0f0f0f"
    with client.events(task_id=elsewhere) as frames:
        next(frames)
        made = announce(client, text, level="warning")
        data = until(frames, lambda frame: bool(frame.data))[-1].json()["data"]
        assert (data["announcement_id"], data["text"], data["withdrawn"]) == (made, text, False)
        assert greeted_with(client) == greeted_with(client, types="task_created") == [text]
        assert client.http.delete(f"/api/announcements/{made}").status_code == 204
        data = until(frames, lambda frame: bool(frame.data))[-1].json()["data"]
        assert (data["announcement_id"], data["withdrawn"]) == (made, True)
    assert greeted_with(client) == []


def test_one_that_ends_is_told_to_nobody_any_more(client: HubClient) -> None:
    ends_at = datetime.now(UTC) + timedelta(seconds=3)
    announce(client, "for a moment", ends_at=ends_at.isoformat())
    assert greeted_with(client) == ["for a moment"]
    wait_until(lambda: datetime.now(UTC) > ends_at, "its end")
    assert greeted_with(client) == []
    assert client.http.get("/api/announcements/").json()["results"] == []
