"""Board and task page before a full sandbox service: why executions wait, their position, how they are being ended."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from hub_pages import Board, TaskPage, use_token
from live_client import HubClient

from tests.processes import RunningHub, running_hub
from tests.sandbox_server import running_sandbox_server

if TYPE_CHECKING:
    from playwright.sync_api import Locator, Page

pytestmark = pytest.mark.browser

HOLD = "read -r line < <(tail -F go 2>/dev/null)"
ROOM = 2


@pytest.fixture(scope="module")
def limited_hub(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningHub]:
    folder = tmp_path_factory.mktemp("limited")
    with (
        running_sandbox_server(folder / "sandboxes", "--limit-cpus", str(ROOM)) as sandboxes,
        running_hub(folder / "hub", sandboxes.env) as hub,
    ):
        yield hub


@pytest.fixture
def limited(limited_hub: RunningHub) -> Iterator[HubClient]:
    client = HubClient(limited_hub)
    yield client
    client.http.close()


def state(page: Page) -> Locator:
    """What is said of the newest execution beside its status."""
    return page.locator("#executions li").first.locator(".state")


def says(page: Page, text: str, timeout_ms: float = 30_000) -> None:
    state(page).filter(has_text=text).wait_for(timeout=timeout_ms)


def photographed(page: Page, name: str) -> None:
    if folder := os.environ.get("TASKHUB_TEST_SCREENSHOTS"):
        page.screenshot(path=Path(folder) / f"{name}.png", full_page=True)


def test_waiting_executions_say_why_and_where_they_stand(
    page: Page, limited_hub: RunningHub, limited: HubClient, complaints: list[str]
) -> None:
    running = [limited.create_task(f"running {n}") for n in range(ROOM)]
    for task_id in running:
        limited.execute(task_id, f"echo kept; echo 1 > out.txt; {HOLD}")
        limited.wait_for_step(task_id, "started")
    first, second, urgent = (
        limited.create_task(title, priority=priority)
        for title, priority in (("first", "medium"), ("second", "medium"), ("urgent", "high"))
    )
    for task_id in (first, second):
        limited.execute(task_id, HOLD)
        assert limited.wait_for_step(task_id, "waiting")["reason"] == "capacity"
    TaskPage(page, limited_hub, second).open()
    says(page, "waiting for capacity, 2nd in the queue")
    limited.execute(urgent, HOLD)
    # No event says so: the page looks.
    says(page, "waiting for capacity, 3rd in the queue")
    photographed(page, "task-waiting")

    board_page = page.context.new_page()
    board = Board(board_page, limited_hub).open()
    runs = {title: board.card(title).locator(".run") for title in ("running 0", "first", "second", "urgent")}
    runs["urgent"].filter(has_text="waiting for capacity, 1st in the queue").wait_for()
    runs["first"].filter(has_text="waiting for capacity, 2nd in the queue").wait_for()
    runs["running 0"].filter(has_text="running").wait_for()
    photographed(board_page, "board-waiting")

    assert limited.http.put("/api/admission/", json={"paused": True}).status_code == 200
    says(page, "waiting, starts are paused, 3rd in the queue")
    runs["urgent"].filter(has_text="waiting, starts are paused").wait_for()
    assert limited.http.put("/api/admission/", json={"paused": False}).status_code == 200
    says(page, "waiting for capacity")

    # Its sandbox gives way as soon as its log and files are kept, not after `TASKHUB_SANDBOX_KEEP_S`; each goes one
    # forward.
    assert limited.http.post(f"/api/exec/stop/{running[0]}").status_code == 202
    limited.wait_for_step(urgent, "started")
    assert limited.log_lines(running[0]) == ["kept"]
    files = limited.http.get(f"/api/exec/artifacts/{running[0]}").json()["items"]
    assert [file["path"] for file in files] == ["out.txt"]
    says(page, "2nd in the queue")
    runs["urgent"].filter(has_text="running").wait_for()
    runs["second"].filter(has_text="waiting for capacity, 2nd in the queue").wait_for()
    for task_id in (second, first, urgent, running[1]):
        assert limited.http.post(f"/api/exec/stop/{task_id}").status_code == 202
        limited.wait_for_end(task_id)
    state(page).filter(has_not_text="queue").wait_for(state="attached")
    board_page.close()
    assert complaints == []


def test_an_execution_that_is_being_ended_says_so_and_refuses_others_in_words(
    page: Page, limited_hub: RunningHub, limited: HubClient
) -> None:
    """Its runner is stopped, so that the end takes all rungs."""
    task_id = limited.create_task("stubborn")
    TaskPage(page, limited_hub, task_id).open()
    use_token(page, limited_hub)
    shown = TaskPage(page, limited_hub, task_id).open()
    board_page = page.context.new_page()
    board = Board(board_page, limited_hub).open()
    shown.run("echo begun; kill -STOP $PPID; sleep 900")
    shown.wait_for_line("begun")
    page.get_by_role("button", name="Stop", exact=True).click()
    says(page, "being stopped")
    assert not page.get_by_role("button", name="Stop", exact=True).is_visible()
    photographed(page, "task-ending")
    page.get_by_role("button", name="Delete", exact=False).click()
    page.get_by_role("dialog").get_by_role("button", name="Delete", exact=True).click()
    page.locator("#problem").filter(has_text="is being ended; try again in").wait_for()
    assert page.locator("#problem").inner_text().lower().count("try again") == 1
    board.card("stubborn").locator(".run").filter(has_text="being stopped").wait_for()
    photographed(board_page, "board-ending")
    shown.wait_for_execution("stopped")
    page.locator("#executions .note").filter(has_text="Its sandbox is being stopped.").wait_for()
    photographed(page, "task-leftover")
    # Once the sandbox has stopped, no more of it is said beside the status.
    page.wait_for_function("document.querySelector('#executions .state').textContent === ''")
    page.get_by_role("button", name="Delete", exact=False).click()
    page.get_by_role("dialog").get_by_role("button", name="Delete", exact=True).click()
    page.wait_for_url(f"{limited_hub.address}/")
    board_page.close()
