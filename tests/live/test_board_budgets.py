"""The board of 64 tasks in a browser: requests, bytes, layout shift, long tasks; keys; several cards at once."""

from __future__ import annotations

from contextlib import contextmanager
from typing import TYPE_CHECKING

import pytest
from hub_pages import Board, make_account, new_context, pressed, sign_in, wait_for_stream
from live_client import HubClient

from tests.processes import RunningHub

if TYPE_CHECKING:
    from collections.abc import Iterator

    from playwright.sync_api import Browser, Page, Request

pytestmark = pytest.mark.browser

REQUESTS, KIB, SHIFT, LONG_TASKS = 12, 60, 0.02, 8
SIZES = {"desk": {"width": 1440, "height": 900}, "phone": {"width": 390, "height": 844}}
VIEW = "?q=budgeted"
SCRIPT = "```bash\nread -r line < <(tail -F go 2>/dev/null)\n```\n"
WATCH = """
window.shift = window.longTasks = 0;
new PerformanceObserver((list) => {
    for (const entry of list.getEntries()) if (!entry.hadRecentInput) window.shift += entry.value;
}).observe({ type: "layout-shift", buffered: true });
new PerformanceObserver((list) => { window.longTasks += list.getEntries().length; })
    .observe({ type: "longtask", buffered: true });
"""


@pytest.fixture(scope="module")
def content(hub: RunningHub) -> Iterator[str]:
    """64 tasks, 55 of them in one column, and an account; answers its name."""
    make_account(hub, "budget-agent", "agent")
    client = HubClient(hub)
    bodies = [
        {"title": f"budgeted {n}", "tags": [f"tag {n % 9}"], "priority": ("low", "medium", "high")[n % 3]}
        | {"assignee": f"agent-{n % 5}", "description": f"What is to be done in {n}. {SCRIPT}"}
        | {"status": "todo" if n < 55 else ("inprogress", "review", "done")[n % 3]}
        for n in range(64)
    ]
    client.http.post("/api/tasks/", json=bodies).raise_for_status()
    yield "budget-agent"
    client.http.close()


@contextmanager
def watched_page(chromium: Browser, hub: RunningHub, account: str, size: str) -> Iterator[Page]:
    """A signed-in window whose cache is empty; `WATCH` looks at it."""
    context = new_context(chromium, viewport=SIZES[size])
    sign_in(context.new_page(), hub, account)
    context.pages[0].close()
    context.add_init_script(WATCH)
    page = context.new_page()
    network = context.new_cdp_session(page)
    network.send("Network.enable")
    network.send("Network.setCacheDisabled", {"cacheDisabled": True})
    yield page
    context.close()


@pytest.fixture(params=SIZES)
def watched(request: pytest.FixtureRequest, chromium: Browser, hub: RunningHub, content: str) -> Iterator[Page]:
    with watched_page(chromium, hub, content, request.param) as page:
        yield page


def test_the_first_visit_is_small_and_nothing_moves(
    watched: Page, hub: RunningHub, client: HubClient, content: str
) -> None:
    asked: list[Request] = []

    def note(request: Request) -> None:
        asked.append(request)

    watched.on("request", note)
    watched.goto(f"{hub.address}/{VIEW}")
    watched.wait_for_selector("#board:not([aria-busy])")
    before_paint = list(asked)
    wait_for_stream(watched)
    cards = watched.locator("#board section.current .card, #board .card >> visible=true")
    cards.first.wait_for()
    urls = [each.url for each in before_paint]
    weighed = [each for each in before_paint if "/events/stream" not in each.url and "/fonts/" not in each.url]
    assert len(urls) - len(weighed) <= 2  # the stream, and the font: a file of its own, which the browser keeps
    sizes = {each.url: each.sizes()["responseBodySize"] for each in weighed}
    assert len(urls) <= REQUESTS, urls
    assert sum(sizes.values()) <= KIB * 1024, sizes
    # What comes later moves nothing either: a question to the reader, and the next cards of a column.
    asking = client.create_task("asked of the budget", assignee=content)
    client.http.post(f"/api/tasks/{asking}/notes/", json={"kind": "question", "text": "Which?"}).raise_for_status()
    watched.locator("#needs .counts", has_text="1 question").wait_for()
    column = watched.locator('section[data-status="todo"]')
    shown = column.locator(".card").count()
    assert shown in {20, 50}
    assert column.locator("h2 .count").inner_text().startswith("55")
    watched.wait_for_function("document.fonts.status === 'loaded'")
    assert watched.evaluate("window.shift") <= SHIFT
    assert watched.evaluate("window.longTasks") <= LONG_TASKS
    for _ in range(20):
        watched.keyboard.press("End")
        if column.locator(".card").count() == 55:
            break
        watched.wait_for_timeout(200)
    column.locator(".card").nth(54).wait_for()
    client.http.delete(f"/api/tasks/{asking}/")


def test_every_key_does_what_the_list_says(
    page: Page, hub: RunningHub, client: HubClient, content: str, complaints: list[str]
) -> None:
    for title in ("keyed one", "keyed two"):
        client.create_task(title, priority="high")
    sign_in(page, hub, content)
    board = Board(page, hub).open("?q=keyed")
    pressed(page, "?")
    keys = page.get_by_role("dialog", name="Keys")
    for words in ("Search", "New task", "Next card", "Previous card", "Undo", "Tasks, pages and actions"):
        keys.get_by_text(words).first.wait_for()
    pressed(page, "Escape", "/")
    page.locator("#filters [name=q]:focus").wait_for()
    pressed(page, "j", "Escape")  # a letter of the search, until Escape leads to the cards
    page.locator("#filters [name=q]").fill("keyed")
    page.locator("#filters [name=q]").press("Escape")
    page.locator('.card h3 a:focus:text-is("keyed two")').wait_for()
    pressed(page, "j")
    page.locator('.card h3 a:focus:text-is("keyed one")').wait_for()
    pressed(page, "k")
    page.locator('.card h3 a:focus:text-is("keyed two")').wait_for()
    # What was done is said, and undone; the focus stays with the card.
    pressed(page, "Shift+ArrowRight")
    page.locator("#toasts", has_text="“keyed two” is now in In progress.").wait_for()
    board.wait_for("keyed two", "inprogress")
    pressed(page, "z")
    board.wait_for("keyed two", "todo")
    page.locator("#toasts", has_text="Undone.").wait_for()
    page.locator('.card h3 a:focus:text-is("keyed two")').wait_for()
    # The palette: an action for the card, which gives the focus back, a task, a page.
    pressed(page, "Control+k")
    page.keyboard.type("assign to me")
    pressed(page, "Enter")
    page.locator("#toasts", has_text="“keyed two” is assigned to you.").wait_for()
    page.locator('.card h3 a:focus:text-is("keyed two")').wait_for()
    page.locator("#toasts").get_by_role("button", name="Undo").last.click()
    board.card("keyed two").locator('.assignee[title="unassigned"]').wait_for()
    assert page.evaluate("document.activeElement !== document.body")
    pressed(page, "c")
    page.locator("#new-dialog[open]").wait_for()
    pressed(page, "Escape", "Control+k")
    page.keyboard.type("keyed one")
    page.locator('.palette [aria-selected="true"]:has-text("keyed one")').wait_for()
    pressed(page, "Enter")
    page.wait_for_url("**/tasks/*/")
    wait_for_stream(page)
    pressed(page, "c")
    page.locator("#new-dialog[open]").wait_for()
    assert page.url == f"{hub.address}/"
    assert complaints == []


def test_several_cards_are_assigned_run_and_stopped(
    page: Page, hub: RunningHub, client: HubClient, content: str
) -> None:
    for n in range(2):
        client.create_task(f"together {n}", description=SCRIPT, assignee="bob")
    client.create_task("together without a script")
    sign_in(page, hub, content)
    board = Board(page, hub).open("?q=together")
    for card in page.locator(".card").all():
        card.locator("h3 a").focus()
        pressed(page, "x")
    page.get_by_text("3 tasks selected").wait_for()
    page.get_by_label("Assign to").fill("carol")
    page.get_by_role("button", name="Assign", exact=True).click()
    page.locator("#toasts", has_text="3 tasks assigned to carol.").wait_for()
    board.card("together 0").locator('.assignee[title="carol"]').wait_for()
    page.locator("#toasts").get_by_role("button", name="Undo").click()
    for n in range(2):
        board.card(f"together {n}").locator('.assignee[title="bob"]').wait_for()
    page.locator("#bulk").get_by_role("button", name="Run").click()
    page.locator("#toasts", has_text="2 tasks queued to run.").wait_for()
    page.locator("#problem", has_text="together without a script").wait_for()
    for n in range(2):
        board.card(f"together {n}").locator(".run:not([hidden]) .elapsed:not(:empty)").wait_for()
    page.locator("#bulk").get_by_role("button", name="Stop").click()
    page.locator("#toasts", has_text="2 tasks asked to stop.").wait_for()
    for n in range(2):
        board.card(f"together {n}").locator('.outcome:has-text("stopped")').wait_for()
