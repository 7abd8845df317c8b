"""`/test_sse.html` in a real browser."""

from __future__ import annotations

import os
import signal
from typing import TYPE_CHECKING

import pytest
from hub_pages import new_context
from live_client import HubClient

from tests.processes import RunningHub

if TYPE_CHECKING:
    from pathlib import Path

    from playwright.sync_api import Browser, Page

pytestmark = pytest.mark.browser


def open_monitor(page: Page, address: str) -> None:
    page.goto(f"{address}/test_sse.html")
    page.wait_for_selector('#state[data-state="connected"]')
    page.wait_for_selector('#events li[data-event="connected"]')


def wait_for_task(page: Page, task_id: str, event: str = "task_created") -> None:
    page.wait_for_selector(f'#events li[data-event="{event}"]:has-text("{task_id}")')


def shown_events(page: Page, about: str = "") -> list[str]:
    """Newest first; `about` one task, because executions of other tests may send events in between."""
    found: list[str] = page.locator(f'#events li:has-text("{about}")').evaluate_all(
        "items => items.map(item => item.dataset.event)"
    )
    return found


def test_task_made_over_rest_appears_without_reload(page: Page, client: HubClient, complaints: list[str]) -> None:
    open_monitor(page, client.address)
    task_id = client.create_task("seen on the <b>page</b>")
    wait_for_task(page, task_id)
    assert "seen on the <b>page</b>" in page.locator(f'#events li:has-text("{task_id}")').first.inner_text()
    assert page.locator("#events b").count() == 0
    client.set_status(task_id, "inprogress")
    wait_for_task(page, task_id, "task_updated")
    assert shown_events(page, task_id) == ["task_updated", "task_created"]
    assert int(page.locator("#count").inner_text()) >= 3
    assert page.locator("#last-id").inner_text().startswith("tasks:")
    assert complaints == []


def test_filter_shows_only_the_chosen_type(page: Page, client: HubClient, complaints: list[str]) -> None:
    open_monitor(page, client.address)
    page.select_option("select[name=types]", "task_deleted")
    page.click("#connect")
    page.wait_for_selector('#state[data-state="connected"]')
    page.locator("#events li[data-event=connected]").nth(1).wait_for()
    task_id = client.create_task("filtered")
    assert client.http.delete(f"/api/tasks/{task_id}").status_code == 204
    wait_for_task(page, task_id, "task_deleted")
    assert shown_events(page) == ["task_deleted", "connected", "connected"]
    assert complaints == []


def test_disconnect_and_clear(page: Page, client: HubClient, complaints: list[str]) -> None:
    open_monitor(page, client.address)
    page.click("#disconnect")
    page.wait_for_selector('#state[data-state="offline"]')
    page.click("#clear")
    assert shown_events(page) == []
    assert page.locator("#count").inner_text() == "0"
    client.create_task("while disconnected")
    page.click("#connect")
    page.wait_for_selector('#events li[data-event="connected"]')
    assert shown_events(page)[-1] == "connected"
    assert "while disconnected" not in page.locator("#events").inner_text()
    assert complaints == []


def test_page_resumes_from_an_id(page: Page, client: HubClient) -> None:
    open_monitor(page, client.address)
    first_id = page.locator("#last-id").inner_text()
    page.click("#disconnect")
    missed = [client.create_task(f"missed {n}") for n in range(3)]
    page.fill("input[name=lastEventId]", first_id)
    page.click("#connect")
    for task_id in missed:
        wait_for_task(page, task_id)


def test_page_reconnects_after_the_death_of_the_web_process_and_misses_nothing(
    page: Page, fragile_hub: RunningHub, fragile_client: HubClient
) -> None:
    open_monitor(page, fragile_hub.address)
    before = fragile_client.create_task("before")
    wait_for_task(page, before)
    os.kill(fragile_hub.child_pid("uvicorn"), signal.SIGKILL)
    page.wait_for_selector('#state[data-state="reconnecting"]')
    # The launcher's socket takes the request; the next web process answers it, most likely before the page is back.
    during = fragile_client.create_task("while the page is away")
    page.wait_for_selector('#state[data-state="connected"]')
    after = fragile_client.create_task("after")
    for task_id in (during, after):
        wait_for_task(page, task_id)
    assert shown_events(page).count("task_created") == 3


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("size", [(1280, 800), (390, 844)], ids=["desktop", "phone"])
def test_nothing_is_wider_than_the_window(
    chromium: Browser, client: HubClient, tmp_path: Path, size: tuple[int, int], scheme: str
) -> None:
    context = new_context(chromium, viewport={"width": size[0], "height": size[1]}, color_scheme=scheme)
    page = context.new_page()
    open_monitor(page, client.address)
    task_id = client.create_task(
        "a title of a fair length, as people write them", assignee="alice", tags=["x" * 50] * 3
    )
    client.set_status(task_id, "inprogress", artifacts=["https://example.com/" + "long" * 100])
    wait_for_task(page, task_id, "task_updated")
    target = os.environ.get("TASKHUB_TEST_SCREENSHOTS", str(tmp_path))
    page.screenshot(path=f"{target}/monitor-{size[0]}-{scheme}.png", full_page=False)
    overflow = page.evaluate("document.documentElement.scrollWidth - document.documentElement.clientWidth")
    assert overflow <= 0
    context.close()
