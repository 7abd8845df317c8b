"""The pages of agents and of sandboxes in a real browser: live, with a question before each end, for each role."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from axe_playwright_python.sync_playwright import Axe
from hub_pages import PATIENCE_MS, make_account, new_context, pressed, sign_in, tab_to, wait_for_stream
from live_client import HubClient
from playwright.sync_api import expect

from tests.processes import RunningHub

if TYPE_CHECKING:
    from collections.abc import Iterator

    from playwright.sync_api import Browser, Locator, Page

pytestmark = pytest.mark.browser
OPERATOR, VIEWER = "people-operator", "people-viewer"
PHONE_BY_NIGHT = {"viewport": {"width": 360, "height": 740}, "color_scheme": "dark"}


@pytest.fixture(scope="module")
def accounts(hub: RunningHub) -> None:
    make_account(hub, OPERATOR, "operator")
    make_account(hub, VIEWER, "viewer")


@pytest.fixture
def people(page: Page, hub: RunningHub, accounts: None) -> Page:
    sign_in(page, hub, OPERATOR)
    return page


@pytest.fixture
def viewer(chromium: Browser, hub: RunningHub, accounts: None) -> Iterator[Page]:
    context = new_context(chromium, **PHONE_BY_NIGHT)
    page = context.new_page()
    sign_in(page, hub, VIEWER)
    yield page
    context.close()


def assert_accessible(page: Page) -> None:
    results = Axe().run(page)
    assert results.violations_count == 0, results.generate_report()
    assert page.evaluate("document.documentElement.scrollWidth <= innerWidth")


def answered(page: Page, press: Locator, title: str, action: str) -> None:
    """Press, and answer the question: first no, with Escape, then yes; by the keyboard alone."""
    dialog = page.locator("dialog[open]")
    for says_yes in (False, True):
        tab_to(page, press, most=200)
        pressed(page, "Enter")
        expect(dialog.get_by_role("heading")).to_contain_text(title, timeout=PATIENCE_MS)
        assert_accessible(page)
        if says_yes:
            tab_to(page, dialog.get_by_role("button", name=action))
            pressed(page, "Enter")
        else:
            pressed(page, "Escape")
            expect(press).to_be_focused(timeout=PATIENCE_MS)
        dialog.wait_for(state="detached")


def test_agents_are_seen_working_and_are_ended(
    people: Page, viewer: Page, hub: RunningHub, client: HubClient, complaints: list[str]
) -> None:
    page = people
    for each in (page, viewer):
        each.goto(f"{hub.address}/agents/")
        each.wait_for_selector("#agents:not([aria-busy])", state="attached")
        wait_for_stream(each)
    # What an agent does is seen without a press.
    name = "a-worker-with-a-name-that-is-quite-long-" + "x" * 40
    made = client.http.post("/api/tokens/", json={"name": name, "role": "agent"}).json()
    agent = {"Authorization": f"Bearer {made['token']}"}
    ids = [client.create_task(f"held {n} of the agents page", priority="high") for n in range(2)]
    for task_id in ids:
        assert client.http.post(f"/api/tasks/{task_id}/claim/", json={}, headers=agent).status_code == 200
    body = {"script_content": "sleep 600"}
    assert client.http.post(f"/api/exec/{ids[0]}/", json=body, headers=agent).status_code == 202
    shown = page.locator(".agent", has=page.get_by_role("heading", name=name))
    expect(shown.locator(".holds li")).to_have_count(2, timeout=PATIENCE_MS)
    expect(shown.locator(".now")).to_have_text("1 now", timeout=PATIENCE_MS)
    expect(shown.locator(".today")).to_have_text("1 run today", timeout=PATIENCE_MS)
    assert f"token “{name}”" in shown.locator(".token").inner_text()
    assert_accessible(page)
    seen = viewer.locator(".agent", has=viewer.get_by_role("heading", name=name))
    expect(seen.locator(".holds li")).to_have_count(2, timeout=PATIENCE_MS)
    assert seen.locator(".token").inner_text() == ""
    assert viewer.locator("#agents").get_by_role("button").count() == 0
    assert_accessible(viewer)
    # Each is asked first.
    answered(page, shown.get_by_role("button", name="Stop executions"), "Stop all executions of", "Stop executions")
    expect(page.locator("#toasts")).to_contain_text("1 execution is being stopped.", timeout=PATIENCE_MS)
    client.wait_for_end(ids[0])
    expect(shown.locator(".now")).to_have_text("0 now", timeout=PATIENCE_MS)
    answered(page, shown.get_by_role("button", name="Release"), "Release what", "Release")
    expect(page.locator("#toasts")).to_contain_text("2 tasks were released.", timeout=PATIENCE_MS)
    expect(shown.locator(".holds > .note")).to_have_text("nothing", timeout=PATIENCE_MS)
    answered(page, shown.get_by_role("button", name="Stop agent"), "Stop ", "Stop agent")
    expect(page.locator("#toasts")).to_contain_text("was stopped.", timeout=PATIENCE_MS)
    assert client.http.get("/api/me/", headers=agent).status_code == 401
    expect(shown.locator(".token")).to_have_text("its token has ended", timeout=PATIENCE_MS)
    expect(shown.get_by_role("button")).to_have_count(0, timeout=PATIENCE_MS)
    assert complaints == []


def sandbox_made_by(page: Page) -> str:
    """The id of one that the page's account makes."""
    made: str = page.evaluate(
        """async () => {
            const token = document.querySelector("meta[name=csrf-token]").content;
            const headers = {"Content-Type": "application/json", "X-CSRFToken": token};
            const made = await fetch("/api/sandboxes/", {method: "POST", headers, body: "{}"});
            return (await made.json()).id;
        }"""
    )
    return made


def ended(page: Page, viewer: Page) -> None:
    """Stop and delete the sandbox that both look at."""
    actions = page.get_by_role("group", name="This sandbox")
    answered(page, actions.get_by_role("button", name="Stop"), "Stop the sandbox", "Stop")
    for each in (page, viewer):
        expect(each.locator("#state")).to_have_text("stopped", timeout=PATIENCE_MS)
    expect(page.locator("#facts")).to_contain_text("no CPU, no memory", timeout=PATIENCE_MS)
    assert actions.get_by_role("button", name="Start").is_visible()
    answered(page, actions.get_by_role("button", name="Delete"), "Delete the sandbox", "Delete")
    expect(page.locator("#state")).to_have_text("destroyed", timeout=PATIENCE_MS)
    expect(actions.get_by_role("button")).to_have_count(0, timeout=PATIENCE_MS)
    expect(page.locator("#history")).to_contain_text(f"delete, asked for by {OPERATOR}", timeout=PATIENCE_MS)


def test_sandboxes_are_listed_opened_and_ended(
    people: Page, viewer: Page, hub: RunningHub, client: HubClient, complaints: list[str]
) -> None:
    page = people
    others = client.http.post("/api/sandboxes/", json={}).json()["id"]
    page.goto(f"{hub.address}/sandboxes/")
    page.wait_for_selector("#sandboxes:not([aria-busy])", state="attached")
    # One's own come first, though another is more recent.
    own = sandbox_made_by(page)
    client.http.post(f"/api/sandboxes/{others}/sessions/", json={"sessionId": "s"}).raise_for_status()
    page.reload()
    first = page.locator(".sandbox").first
    expect(first.locator(".own")).to_be_visible(timeout=PATIENCE_MS)
    assert first.locator("h2 a").get_attribute("href") == f"/sandboxes/{own}/"
    assert "CPU" in first.locator(".size").inner_text()
    assert_accessible(page)
    # A page for each.
    session = f"/api/sandboxes/{own}/sessions/"
    client.http.post(session, json={"sessionId": "build"}).raise_for_status()
    line = "echo one line; echo kept > file.txt; exit 3"
    client.http.post(f"{session}build/commands/", json={"command": line}).raise_for_status()
    first.locator("h2 a").click()
    page.wait_for_url(f"**/sandboxes/{own}/")
    page.locator("#sessions .badge", has_text="exit 3").wait_for()
    tab_to(page, page.get_by_role("button", name="Log of echo one line"), most=200)
    pressed(page, "Enter")
    page.wait_for_selector('#log .text:text-is("one line")')
    page.wait_for_selector('#outcome:has-text("Ended with exit code 3")')
    expect(page.locator("#history")).to_contain_text(f"create, asked for by {OPERATOR}", timeout=PATIENCE_MS)
    page.get_by_role("button", name="Open the folder").click()  # it was read before the command had ended
    with page.expect_download() as download:
        page.get_by_role("button", name="file.txt", exact=True).click()
    assert download.value.path().read_text() == "kept\n"
    expect(page.locator("#facts")).to_contain_text(f"{OPERATOR} (", timeout=PATIENCE_MS)
    assert_accessible(page)
    # A viewer reads, and is offered nothing.
    viewer.goto(f"{hub.address}/sandboxes/{own}/")
    viewer.locator("#sessions .badge", has_text="exit 3").wait_for()
    expect(viewer.locator("#facts")).to_contain_text("GiB of memory", timeout=PATIENCE_MS)
    assert viewer.locator("#actions button:visible").count() == 0
    assert viewer.locator("#files-part").is_hidden()
    assert_accessible(viewer)
    ended(page, viewer)
    viewer.goto(f"{hub.address}/sandboxes/")
    viewer.wait_for_selector("#sandboxes:not([aria-busy])", state="attached")
    assert viewer.locator("#sandboxes button:visible").count() == 0
    assert_accessible(viewer)
    client.http.delete(f"/api/sandboxes/{others}/")
    assert [words for words in complaints if "404" not in words] == []
