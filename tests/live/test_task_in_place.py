"""A task's page in real browsers: properties changed by the keyboard, seen by others at once; the timeline; budgets."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from hub_pages import PATIENCE_MS, TaskPage, make_account, new_context, pressed, sign_in, wait_for_stream
from live_client import HubClient
from playwright.sync_api import expect
from test_board_budgets import SIZES, watched_page

from tests.processes import RunningHub

if TYPE_CHECKING:
    from collections.abc import Iterator

    from playwright.sync_api import Browser, Page, Request

pytestmark = pytest.mark.browser

REQUESTS, KIB, SHIFT = 12, 72, 0.02
BEFORE_PAINT = """() => {
    const [{ startTime: painted }] = performance.getEntriesByName("first-contentful-paint");
    return performance.getEntriesByType("resource").filter(({ startTime }) => startTime < painted).length + 1;
}"""
FOCUSED = "document.activeElement.getAttribute('aria-label') || document.activeElement.textContent"


@pytest.fixture(scope="module")
def name(hub: RunningHub) -> str:
    make_account(hub, "tina", "agent")
    return "tina"


@pytest.fixture
def others(chromium: Browser, hub: RunningHub) -> Iterator[Page]:
    """The browser of a reader who is not signed in."""
    context = new_context(chromium)
    yield context.new_page()
    context.close()


def test_properties_are_changed_by_the_keyboard_and_seen_at_once(
    page: Page, others: Page, hub: RunningHub, client: HubClient, name: str
) -> None:
    task_id = client.create_task("by keys", tags=["one", "two"])
    sign_in(page, hub, name)
    TaskPage(page, hub, task_id).open()
    TaskPage(others, hub, task_id).open()
    behind = client.create_task("behind it", blocked_by=[task_id])  # the pages follow the events of other tasks, too
    page.locator("#dependents").get_by_role("link", name="behind it").wait_for()
    page.get_by_role("button", name="Status").focus()
    pressed(page, "Enter")
    page.locator(".choice:focus").wait_for()
    pressed(page, "ArrowDown", "Enter")
    others.wait_for_selector('#status:text-is("In progress")')
    page.locator("#status-property .popup").wait_for(state="hidden")
    assert "In progress" in page.evaluate(FOCUSED)
    # Another changes the same field before the choice is made: it is shown, and only then overwritten.
    page.get_by_role("button", name="Priority").focus()
    pressed(page, "Enter")
    page.locator(".choice:focus").wait_for()
    page.route("**/api/events/stream*", lambda route: route.abort())
    client.http.patch(f"/api/tasks/{task_id}/", json={"priority": "high", "tags": ["one", "two", "theirs"]})
    low = page.locator("#priority-property").get_by_role("button", name="Low", exact=True)
    low.click()
    page.locator("#priority-property [role=alert]", has_text="operator changed").wait_for()
    low.click()
    others.wait_for_selector('#priority:text-is("low")')
    # Tags are joined, and the focus goes to the next chip.
    page.get_by_role("button", name="Remove the tag one").focus()
    pressed(page, "Enter")
    others.wait_for_selector("#tags li:has-text('theirs')")
    for each in (others, page):
        each.locator("#tags li", has_text="one").wait_for(state="detached")
    assert page.evaluate(FOCUSED) == "Remove the tag two"
    page.get_by_role("button", name="Tags").focus()
    pressed(page, "Enter")
    page.get_by_label("A new tag").fill("new 🏷️")
    pressed(page, "Enter")
    others.wait_for_selector("#tags li:has-text('new 🏷️')")
    pressed(page, "Escape")
    page.get_by_role("button", name="Assignee").focus()
    pressed(page, "Enter")
    page.get_by_role("button", name=f"me ({name})", exact=True).click()
    others.wait_for_selector(f'#assignee:text-is("{name}")')
    page.locator("#assignee-property .popup").wait_for(state="hidden")
    task = client.http.get(f"/api/tasks/{task_id}/").json()
    assert (task["status"], task["priority"], task["assignee"]) == ("inprogress", "low", name)
    assert task["tags"] == ["two", "theirs", "new 🏷️"]
    pressed(page, "z")
    others.wait_for_selector('#assignee:text-is("unassigned")')
    page.locator("#toasts", has_text="Undone.").wait_for()
    assert others.locator("main").get_by_role("button", name="Status").count() == 0
    assert client.http.delete(f"/api/tasks/{behind}/").status_code == 204


def test_the_timeline_has_all_and_is_read_in_pages(
    page: Page, hub: RunningHub, client: HubClient, name: str, complaints: list[str]
) -> None:
    task_id = client.create_task("long story", assignee=name)
    for n in range(40):
        client.http.post(f"/api/tasks/{task_id}/notes", json={"text": f"note {n}"}).raise_for_status()
    client.execute(task_id, "exit 3")
    client.wait_for_end(task_id)
    client.set_status(task_id, "review")
    sign_in(page, hub, name)
    TaskPage(page, hub, task_id).open()
    timeline = page.locator("#timeline > li")
    timeline.filter(has_text="ran a script").get_by_text("failed").wait_for()
    assert timeline.filter(has_text="note 39").locator("time").get_attribute("datetime")
    assert timeline.filter(has_text="created the task").count() == 0
    while page.locator("#more-timeline").is_visible():
        page.locator("#more-timeline").click()
        page.locator("#more-timeline:not([aria-busy])").wait_for(state="attached")
    assert timeline.last.inner_text().count("created the task") == 1
    assert sum(text.strip().startswith("note ") for text in timeline.locator(".markdown").all_inner_texts()) == 40
    # It is sent back with a remark; then a question is asked.
    page.get_by_label("Remark").fill("Not **yet**.")
    page.get_by_role("button", name="Send back").click()
    page.locator("#asks").wait_for(state="hidden")
    timeline.filter(has_text=f"{name} remarked").locator("strong", has_text="yet").wait_for()
    page.get_by_label("It is a question").check()
    page.locator("#note-text").fill("Which one?")
    page.locator("#note-options").fill("a, b")
    page.get_by_role("button", name="Ask", exact=True).click()
    # It waits for others: no answer is asked of the one who asks.
    page.locator("#asks-title", has_text="Your question").wait_for()
    assert page.locator("#answer-form").is_hidden()
    page.get_by_role("button", name="Answer it yourself").click()
    page.locator("#answer-text").fill("b")
    # Another answers first: what was written here is kept.
    client.http.post(f"/api/tasks/{task_id}/notes", json={"kind": "answer", "text": "a"}).raise_for_status()
    expect(page.locator("#note-text")).to_have_value("b", timeout=PATIENCE_MS)
    assert complaints == []


def test_the_first_visit_is_small_and_nothing_moves(
    chromium: Browser, hub: RunningHub, client: HubClient, name: str
) -> None:
    task_id = client.create_task("budgeted", assignee=name, tags=["a", "b"], description="- [ ] a box\n" * 8)
    client.execute(task_id, "seq 300; echo > left")
    client.wait_for_end(task_id)
    client.http.post(f"/api/tasks/{task_id}/notes", json={"kind": "question", "text": "Which?"}).raise_for_status()
    for size in SIZES:
        with watched_page(chromium, hub, name, size) as page:
            asked: list[Request] = []
            page.on("request", lambda request, asked=asked: asked.append(request))
            page.goto(f"{hub.address}/tasks/{task_id}/")
            page.locator("#files a").wait_for()
            page.locator("#log .text", has_text="300").wait_for()
            wait_for_stream(page)
            sizes = {
                each.url: each.sizes()["responseBodySize"]
                for each in asked
                if not each.url.endswith(".woff2") and "/stream" not in each.url
            }
            assert page.evaluate(BEFORE_PAINT) <= REQUESTS
            assert sum(sizes.values()) <= KIB * 1024, sizes
            assert page.evaluate("window.shift") <= SHIFT
