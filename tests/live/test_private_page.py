"""A private task on its page: the question before it becomes public, and what others see of its private time."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from hub_pages import make_account, sign_in
from live_client import HubClient

from tests.processes import RunningHub

if TYPE_CHECKING:
    from playwright.sync_api import Page

pytestmark = pytest.mark.browser


def test_the_page_asks_before_a_private_task_becomes_public(page: Page, hub: RunningHub, client: HubClient) -> None:
    task_id = client.create_task("plan", description="SECRET-XYZ", private=True)
    make_account(hub, "olivia", "operator")
    sign_in(page, hub, "olivia")
    page.goto(f"{hub.address}/tasks/{task_id}/")
    page.get_by_role("button", name="Edit the description").click()
    page.get_by_role("textbox", name="Description").fill("clean")
    page.get_by_role("button", name="Save", exact=True).click()
    page.locator("#description", has_text="clean").wait_for()
    for answer in ("Cancel", "Make it public"):
        assert client.http.get(f"/api/tasks/{task_id}/").json()["private"] is True
        page.get_by_role("button", name="Who sees it").click()
        page.get_by_role("button", name="Visible to everyone", exact=True).click()
        asked = page.get_by_role("dialog", name="Make the task public?")
        asked.get_by_text("What was made while it was private").wait_for()
        asked.get_by_role("button", name=answer).click()
        asked.wait_for(state="detached")
        page.locator("#seen-by-property .popup").wait_for(state="hidden")
        assert page.evaluate("document.activeElement.className") == "change"
    page.wait_for_selector('#seen-by:text-is("Visible to everyone")')
    # An operator sees what was changed, and that it was private.
    changed = page.locator("#timeline li", has_text="· private").filter(has=page.get_by_text("SECRET-XYZ")).first
    changed.locator("summary").click()
    changed.get_by_text("SECRET-XYZ").wait_for()

    # Signed out, the page shows what everyone on this machine may read.
    page.context.clear_cookies()
    page.goto(f"{hub.address}/tasks/{task_id}/")
    page.wait_for_selector("#timeline li >> nth=1")
    history = page.locator("#timeline").inner_text()
    assert history.count("Something happened while the task was private") == 3
    assert "SECRET-XYZ" not in page.content()
