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
    asked: list[str] = []

    def answer(accept: bool) -> None:
        page.once(
            "dialog", lambda dialog: (asked.append(dialog.message), dialog.accept() if accept else dialog.dismiss())
        )
        page.get_by_role("button", name="Save", exact=True).click()

    page.get_by_role("button", name="Edit", exact=True).click()
    page.locator("#edit-form [name=description]").fill("clean")
    page.locator("#edit-form [name=private]").uncheck()
    answer(accept=False)
    assert client.http.get(f"/api/tasks/{task_id}/").json()["private"] is True
    answer(accept=True)
    page.wait_for_selector('#seen-by:text-is("everyone")')
    assert len(asked) == 2
    assert "What was made while it was private" in asked[0]
    # An operator sees what was changed, and that it was private.
    page.wait_for_selector('#history li:has-text("· private") >> text=SECRET-XYZ')

    # Signed out, the page shows what everyone on this machine may read.
    page.context.clear_cookies()
    page.goto(f"{hub.address}/tasks/{task_id}/")
    page.wait_for_selector("#history li >> nth=1")
    history = page.locator("#history").inner_text()
    assert history.count("Something happened while the task was private") == 2
    assert "SECRET-XYZ" not in page.content()
