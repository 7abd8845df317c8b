"""`Idempotency-Key` of what is made at Daytona, when the web process is killed while it waits for Daytona's answer."""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import httpx
import pytest

from sandboxes.services.sandboxes import REQUEST_LABEL
from tests.processes import wait_until
from tests.sandboxes.ill_daytona import Daytona, Watched

COMMANDS = "POST /toolbox/{sandboxId}/process/session/{sessionId}/exec"


@pytest.fixture
def hub(tmp_path: Path) -> Iterator[Watched]:
    (tmp_path / "hub").mkdir()
    daytona = Daytona(tmp_path / "daytona")
    watched = Watched(tmp_path / "hub", daytona)
    watched.start_web("one")
    yield watched
    watched.end()
    daytona.close()


def post(hub: Watched, address: str, body: dict[str, Any]) -> httpx.Response:
    headers = {**hub.headers, "Idempotency-Key": "killed"}
    return httpx.post(f"{hub.address('one')}{address}", json=body, headers=headers, timeout=120)


def kill_during(hub: Watched, route: str, address: str, body: dict[str, Any]) -> None:
    """Kill the web process when Daytona has the request and has not answered it, and start it again."""
    with ThreadPoolExecutor(1) as pool:
        before = hub.daytona.requests().get(route, 0)
        first = pool.submit(post, hub, address, body)
        wait_until(lambda: hub.daytona.requests().get(route, 0) > before, "Daytona has the request")
        hub.processes["one"].popen.kill()
        with pytest.raises(httpx.HTTPError):
            first.result()
    hub.start_web("one")


def expire_reservation(hub: Watched) -> None:
    """As after the longest time that a request may take at Daytona."""
    hub.ask("IdempotencyKey.objects.update(reserved_until=None)")


def code(answer: httpx.Response) -> tuple[int, str]:
    return answer.status_code, answer.json()["error"]["code"]


def test_a_sandbox_is_made_once_and_found_again_by_its_label(hub: Watched) -> None:
    hub.daytona.fault("^POST /api/sandbox$", times=1, hang_s=3)
    kill_during(hub, "POST /api/sandbox", "/api/sandboxes/", {"name": "only"})
    assert code(post(hub, "/api/sandboxes/", {"name": "only"})) == (409, "in_progress")
    wait_until(lambda: len(hub.daytona.call("GET", "/api/sandbox")["items"]) == 1, "Daytona has made it")
    expire_reservation(hub)
    made = post(hub, "/api/sandboxes/", {"name": "only"})
    assert made.status_code == 201
    (kept,) = hub.daytona.call("GET", "/api/sandbox")["items"]
    assert made.json()["id"] == kept["id"]
    assert REQUEST_LABEL in kept["labels"]
    assert post(hub, "/api/sandboxes/", {"name": "only"}).json() == made.json()


def test_a_command_is_not_run_twice(hub: Watched) -> None:
    sandbox_id = hub.daytona.sandbox()
    hub.daytona.session(sandbox_id)
    commands = f"/api/sandboxes/{sandbox_id}/sessions/s/commands"
    hub.daytona.fault("^POST .*/exec", times=1, hang_s=3)
    kill_during(hub, COMMANDS, commands, {"command": "echo once"})

    def ran() -> list[Any]:
        (session,) = hub.daytona.call("GET", f"/toolbox/{sandbox_id}/process/session")
        return list(session["commands"] or [])

    wait_until(lambda: len(ran()) == 1, "Daytona has run it")
    assert code(post(hub, commands, {"command": "echo once"})) == (409, "in_progress")
    expire_reservation(hub)
    assert code(post(hub, commands, {"command": "echo once"})) == (409, "outcome_unknown")
    assert len(ran()) == 1
