"""`Idempotency-Key` of what is made at Daytona, when the web process is killed while it waits for Daytona's answer."""

from __future__ import annotations

import signal
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import httpx
import pytest

from sandboxes.services.sandboxes import REQUEST_LABEL
from tests.processes import wait_until
from tests.sandboxes.ill_daytona import Daytona, Watched

SANDBOXES = "POST /api/sandbox"
COMMANDS = "POST /toolbox/{sandboxId}/process/session/{sessionId}/exec"
FAULTS = {SANDBOXES: "^POST /api/sandbox$", COMMANDS: "^POST .*/exec$"}


@pytest.fixture(scope="module")
def hub(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Watched]:
    daytona = Daytona(tmp_path_factory.mktemp("daytona"))
    watched = Watched(tmp_path_factory.mktemp("hub"), daytona)
    watched.start_web("one")
    yield watched
    watched.end()
    daytona.close()


def post(hub: Watched, address: str, body: dict[str, Any]) -> httpx.Response:
    headers = {**hub.headers, "Idempotency-Key": "killed"}
    return httpx.post(f"{hub.address('one')}{address}", json=body, headers=headers, timeout=120)


def kill_behind(hub: Watched, route: str, address: str, body: dict[str, Any], is_made: Callable[[], bool]) -> None:
    """Kill the web process when Daytona has made what it was asked for, and the process has not read the answer.

    It is stopped while Daytona takes its time, so that its connection stays open; then it is started again.
    """
    hub.daytona.fault(FAULTS[route], times=1, hang_s=5)
    with ThreadPoolExecutor(1) as pool:
        before = hub.daytona.requests().get(route, 0)
        first = pool.submit(post, hub, address, body)
        wait_until(lambda: hub.daytona.requests().get(route, 0) > before, "Daytona has the request")
        hub.processes["one"].signal(signal.SIGSTOP)
        assert not is_made()
        wait_until(is_made, "Daytona has made it")
        hub.processes["one"].signal(signal.SIGKILL)
        with pytest.raises(httpx.HTTPError):
            first.result()
    hub.start_web("one")


def expire_reservation(hub: Watched) -> None:
    """As after the longest time that a request may take at Daytona."""
    hub.ask("IdempotencyKey.objects.update(reserved_until=None)")


def code(answer: httpx.Response) -> tuple[int, str]:
    return answer.status_code, answer.json()["error"]["code"]


def test_a_sandbox_is_made_once_and_found_again_by_its_label(hub: Watched) -> None:
    def kept() -> list[Any]:
        found = hub.daytona.call("GET", "/api/sandbox")["items"]
        return [sandbox for sandbox in found if sandbox["name"] == "only"]

    kill_behind(hub, SANDBOXES, "/api/sandboxes/", {"name": "only"}, lambda: bool(kept()))
    assert code(post(hub, "/api/sandboxes/", {"name": "only"})) == (409, "in_progress")
    expire_reservation(hub)
    made = post(hub, "/api/sandboxes/", {"name": "only"})
    assert made.status_code == 201
    (only,) = kept()
    assert made.json()["id"] == only["id"]
    assert REQUEST_LABEL in only["labels"]
    assert post(hub, "/api/sandboxes/", {"name": "only"}).json() == made.json()
    assert len(kept()) == 1


def test_a_command_is_not_run_twice(hub: Watched) -> None:
    sandbox_id = hub.daytona.sandbox()
    hub.daytona.session(sandbox_id)
    commands = f"/api/sandboxes/{sandbox_id}/sessions/s/commands"

    def ran() -> list[Any]:
        (session,) = hub.daytona.call("GET", f"/toolbox/{sandbox_id}/process/session")
        return list(session["commands"] or [])

    kill_behind(hub, COMMANDS, commands, {"command": "echo once"}, lambda: bool(ran()))
    assert code(post(hub, commands, {"command": "echo once"})) == (409, "in_progress")
    expire_reservation(hub)
    assert code(post(hub, commands, {"command": "echo once"})) == (409, "outcome_unknown")
    assert len(ran()) == 1
