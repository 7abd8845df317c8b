"""The first minute in a real browser: a way in, a first task, the snippets of Connect as displayed, the settings."""

from __future__ import annotations

import json
import re
import shlex
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from axe_playwright_python.sync_playwright import Axe
from hub_pages import (
    PATIENCE_MS,
    fetched,
    make_account,
    new_context,
    pressed,
    sign_in,
    tab_to,
    use_token,
    wait_for_stream,
)
from live_client import HubClient
from playwright.sync_api import expect

from tests.mcp_client import rpc
from tests.processes import RunningHub

if TYPE_CHECKING:
    from playwright.sync_api import Browser, BrowserContext, Page

pytestmark = pytest.mark.browser
ACCOUNT = "first-minute"
PHONE_BY_NIGHT = {"viewport": {"width": 360, "height": 740}, "color_scheme": "dark"}


def assert_accessible(page: Page) -> None:
    results = Axe().run(page)
    assert results.violations_count == 0, results.generate_report()
    assert page.evaluate("document.documentElement.scrollWidth <= innerWidth")


def test_a_pasted_token_signs_the_browser_in_by_keyboard_alone(page: Page, hub: RunningHub) -> None:
    page.goto(f"{hub.address}/")
    ways = page.locator("#ways-in")
    assert "make link" in ways.inner_text()
    assert str(hub.data_dir / "token") in ways.inner_text()
    assert_accessible(page)
    tab_to(page, page.get_by_role("button", name="Use a token"))
    pressed(page, "Enter")
    assert_accessible(page)
    page.keyboard.type(hub.token)
    pressed(page, "Enter")
    page.get_by_role("button", name="Sign out").wait_for()
    tab = page.context.new_page()
    tab.goto(f"{hub.address}/")
    tab.get_by_role("button", name="New task").wait_for()
    assert tab.locator("#ways-in").count() == 0


def test_an_empty_board_offers_a_task_and_runs_it(page: Page, hub: RunningHub, complaints: list[str]) -> None:
    page.goto(f"{hub.address}/")
    use_token(page, hub)
    # The hub is shared with other tests: its board is empty for this browser alone.
    statuses = ("todo", "inprogress", "review", "done")
    columns = [{"status": each, "count": 0, "total": 0, "cursor": None, "results": []} for each in statuses]
    summary = {"states": {}, "assignees": [], "accounts": [], "tags": [], "needs": []}
    none = {"columns": columns, "summary": summary}
    page.route("**/api/tasks/board/?*", lambda route: route.fulfill(json=none))
    page.route("**/api/events/stream*", lambda route: route.abort())
    page.goto(f"{hub.address}/")
    press = page.get_by_role("button", name="Create and run it")
    press.wait_for()
    assert_accessible(page)
    page.unroute("**/api/events/stream*")
    tab_to(page, press)
    pressed(page, "Enter")
    page.wait_for_url("**/tasks/**")
    page.wait_for_selector('#log .text:text-is("step 3 of 3")')
    assert [said for said in complaints if "ERR_FAILED" not in said] == []  # of the stream that was withheld


def connected(page: Page, hub: RunningHub) -> dict[str, str]:
    """The snippets as displayed after the press that makes a token."""
    page.goto(f"{hub.address}/")
    use_token(page, hub)
    page.goto(f"{hub.address}/connect/")
    page.get_by_role("button", name="Make a token").click()
    page.get_by_role("button", name="New ticket").wait_for()
    return {
        str(code.get_attribute("id")).removeprefix("code-"): str(code.text_content())
        for code in page.locator(".snippet pre").all()
    }


def json_of(code: str) -> tuple[str, str]:
    """The address and the header that a client reads from its file."""
    server = json.loads(code)["mcpServers"]["taskhub"]
    assert server["type"] == "http"
    return server["url"], server["headers"]["Authorization"]


def claude_of(code: str) -> tuple[str, str]:
    """Likewise, as Claude Code gets them from its command line."""
    *command, header = shlex.split(code)
    assert command[:6] == ["claude", "mcp", "add", "--transport", "http", "taskhub"]
    assert command[-1] == "--header"
    return command[6], header.removeprefix("Authorization: ")


def test_the_snippets_work_as_displayed(page: Page, hub: RunningHub, client: HubClient, tmp_path: Path) -> None:
    page.context.grant_permissions(["clipboard-read", "clipboard-write"])
    codes = connected(page, hub)
    assert list(codes) == ["claude", "json", "curl", "python", "page"]
    assert all("YOUR_TOKEN" not in code and "TICKET_URL" not in code for code in codes.values())
    page.get_by_role("button", name="Copy curl").click()
    page.get_by_text("Copied.").wait_for()
    assert page.evaluate("navigator.clipboard.readText()").replace("\r\n", "\n") == codes["curl"]
    assert_accessible(page)
    for command in (["sh", "-eu", "-c", codes["curl"]], [sys.executable, "-c", codes["python"]]):
        done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False, timeout=120)
        assert done.returncode == 0, done.stderr
        assert [f"line {n}" in done.stdout for n in (1, 2, 3)] == [True] * 3
    for url, header in (json_of(codes["json"]), claude_of(codes["claude"])):
        assert rpc(url, path="", Authorization=header).json()["result"]["tools"]
    # Of another origin: a file.
    (tmp_path / "page.html").write_text(codes["page"])
    page.goto((tmp_path / "page.html").as_uri())
    page.locator("#events li", has_text="connected").wait_for()
    client.create_task("seen by a page of one's own")
    page.locator("#events li", has_text="task_created").first.wait_for()


def test_settings_end_a_stream_and_a_session(chromium: Browser, page: Page, hub: RunningHub) -> None:
    make_account(hub, ACCOUNT, "agent")
    sign_in(page, hub, ACCOUNT)
    phone: BrowserContext = new_context(chromium, **PHONE_BY_NIGHT)
    mine = phone.new_page()
    sign_in(mine, hub, ACCOUNT)
    mine.goto(f"{hub.address}/test_sse.html")
    assert fetched(mine, "POST", "/api/tokens/", {"name": "to be revoked", "role": "agent"}) == 201
    wait_for_stream(page)
    mine.goto(f"{hub.address}/settings/")
    streams = mine.locator("section:has(#streams-title) li", has_text="everything")
    # Rows are written, and go, within 2 s, and a page that is rendered on the server shows what there is then. Those of
    # the phone's own pages, which it has left, go.
    while streams.count() != 1:
        mine.reload()
    assert_accessible(mine)
    revoke = mine.get_by_role("button", name="Revoke to be revoked")
    revoke.click()
    mine.get_by_role("dialog", name="Revoke the token “to be revoked”?").wait_for()
    assert_accessible(mine)
    pressed(mine, "Escape")
    expect(revoke).to_be_focused(timeout=PATIENCE_MS)
    revoke.click()
    mine.get_by_role("dialog").get_by_role("button", name="Revoke", exact=True).click()
    mine.get_by_text("The token was revoked.").wait_for()
    streams.get_by_role("button").click()
    mine.get_by_text("The stream is being closed.").wait_for()
    wait_for_stream(page, "ended")
    mine.locator("section:has(#sessions-title) li:not(:has-text('this one'))").get_by_role("button").click()
    mine.get_by_text("The session has ended.").wait_for()
    page.goto(f"{hub.address}/settings/")
    assert re.search(r"/login/", page.url)
    phone.close()


def test_what_waits_is_counted_in_the_tabs_title(page: Page, hub: RunningHub, client: HubClient) -> None:
    page.goto(f"{hub.address}/")
    use_token(page, hub)
    page.goto(f"{hub.address}/")
    wait_for_stream(page)
    task_id = client.create_task("a question waits", assignee=ACCOUNT)
    client.http.post(f"/api/tasks/{task_id}/notes/", json={"kind": "question", "text": "Blue?"}).raise_for_status()
    expect(page).to_have_title(re.compile(r"^\(\d+\) Board"), timeout=PATIENCE_MS)
    client.http.post(f"/api/tasks/{task_id}/notes/", json={"kind": "answer", "text": "Red."}).raise_for_status()
