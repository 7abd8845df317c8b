"""A browser follows the sign-in link that `make run` prints."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

import pytest
from hub_pages import new_context
from live_client import HubClient

from tests.processes import RunningHub

if TYPE_CHECKING:
    from playwright.sync_api import Browser, Page

pytestmark = pytest.mark.browser


def test_the_link_that_was_printed_leads_to_the_board_as_the_operator_once(
    own_hub: RunningHub, page: Page, chromium: Browser, complaints: list[str]
) -> None:
    own_hub.process.wait_for_line("ends everything")
    links = [match[1] for line in own_hub.process.output if (match := re.search(r"sign in +(\S+)$", line))]
    page.goto(links[0])
    assert page.url == f"{own_hub.address}/"
    assert "operator" in page.locator("header").inner_text()
    task_id = HubClient(own_hub).create_task("seen by a signed-in browser")
    page.locator(f'[href="/tasks/{task_id}/"]').first.wait_for()
    page.reload()
    assert "operator" in page.locator("header").inner_text()
    assert not complaints
    other = new_context(chromium)
    second = other.new_page()
    second.goto(links[0])
    assert "This link does not work any more" in second.locator("main").inner_text()
    second.get_by_text("Sign in with a password").click()
    assert second.url == f"{own_hub.address}/login/"
    other.close()
