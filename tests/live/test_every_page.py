"""What holds on every page: nothing that axe-core finds, nothing wider than the window, announcements, no complaint."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest
from axe_playwright_python.sync_playwright import Axe
from hub_pages import new_context, set_hidden, use_token
from live_client import HubClient

from tests.processes import RunningHub

if TYPE_CHECKING:
    from collections.abc import Iterator

    from playwright.sync_api import Browser, Page, Request

pytestmark = pytest.mark.browser

PAGES = {
    "board": "/",
    "task": "/tasks/{task_id}/",
    "monitor": "/test_sse.html",
    "demo": "/sse-demo.html",
    "connect": "/connect/",
    "components": "/components/",
    "docs": "/api/docs/",
    "login": "/login/",
    "used link": "/sign-in/?token=1.used.up",
    "missing": "/tasks/00000000-0000-4000-8000-000000000000/",
    "absent": "/there/is/nothing",
}
WITH_ANNOUNCEMENTS = ("board", "task", "monitor", "demo")
SIZES = {"phone": {"width": 360, "height": 740}, "desk": {"width": 1440, "height": 900}}
LONG = "A title that is as long as titles are allowed to be, without-any-place-to-break-it-" + "x" * 110


@pytest.fixture(scope="module")
def content(hub: RunningHub) -> Iterator[str]:
    """Something of everything; answers the id of the task that has most."""
    client = HubClient(hub)
    for n in range(30):
        client.create_task(f"task {n}", tags=[f"tag {n}", "all"], priority=("low", "medium", "high")[n % 3])
    description = "What is to be done, and why, line by line.\n" * 60  # more than its place shows at once
    task_id = client.create_task(LONG, description=description, assignee="a-person-with-a-long-name", tags=["long"] * 7)
    client.execute(
        task_id, r"for n in $(seq 200); do printf '\033[3%dmline %d\033[0m\n' $((n % 8)) $n; done; echo > left"
    )
    client.wait_for_end(task_id)
    said = {"text": "The hub rests tonight from ten to eleven.", "level": "warning"}
    announcement = client.http.post("/api/announcements/", json=said).json()["id"]
    yield task_id
    client.http.delete(f"/api/announcements/{announcement}/")
    client.http.close()


@pytest.fixture(params=["light", "dark"])
def scheme(request: pytest.FixtureRequest) -> Any:
    return request.param


@pytest.fixture(params=SIZES)
def screen(request: pytest.FixtureRequest, chromium: Browser, scheme: Any, complaints: list[str]) -> Iterator[Page]:
    context = new_context(chromium, viewport=SIZES[request.param], color_scheme=scheme)
    page = context.new_page()
    page.on("console", lambda said: complaints.append(said.text) if said.type in {"error", "warning"} else None)
    page.on("pageerror", lambda error: complaints.append(str(error)))
    yield page
    context.close()


def opened(page: Page, hub: RunningHub, name: str, task_id: str) -> None:
    page.goto(hub.address + PAGES[name].format(task_id=task_id))
    if name in WITH_ANNOUNCEMENTS:
        page.wait_for_selector('#announcements li:has-text("The hub rests tonight")')


@pytest.mark.parametrize("name", PAGES)
def test_it_is_accessible_and_fits(
    screen: Page, hub: RunningHub, content: str, name: str, complaints: list[str]
) -> None:
    screen.goto(f"{hub.address}/")
    use_token(screen, hub)
    opened(screen, hub, name, content)
    if name == "task":
        screen.wait_for_selector('#log :text-is("line 200")')
        screen.wait_for_selector("#files a")
    if name == "board":
        screen.wait_for_selector("#board .card .tags")
    if name == "docs":
        screen.wait_for_selector('#swagger-ui h3[aria-level="2"]')
    results = Axe().run(screen)
    assert results.violations_count == 0, results.generate_report()
    for width in (screen.evaluate("innerWidth"), 768, 1920):
        screen.set_viewport_size({"width": width, "height": 900})
        assert screen.evaluate("document.documentElement.scrollWidth") <= width
    refused = [words for words in complaints if "404" in words or "400" in words]
    assert len(refused) == (1 if name in {"missing", "absent", "used link"} else 0)
    assert len(complaints) == len(refused)


def test_the_apis_document_has_at_most_600_kib(page: Page, hub: RunningHub) -> None:
    asked: list[Request] = []
    page.on("request", lambda request: asked.append(request))  # noqa: PLW0108 - a method of a list has no signature to look at
    page.goto(f"{hub.address}/api/docs/")
    page.wait_for_selector('#swagger-ui h3[aria-level="2"]')
    sizes = {each.url: each.sizes()["responseBodySize"] for each in asked if "/stream" not in each.url}
    assert any("swagger-ui-bundle" in url for url in sizes)
    assert sum(sizes.values()) <= 600 * 1024, sizes


@pytest.mark.parametrize("name", WITH_ANNOUNCEMENTS)
def test_an_announcement_comes_and_goes_by_itself(
    page: Page, hub: RunningHub, client: HubClient, content: str, name: str
) -> None:
    opened(page, hub, name, content)
    made = client.http.post("/api/announcements/", json={"text": "Now <i>this</i>.", "level": "info"}).json()
    banner = page.locator('#announcements li:has-text("Now <i>this</i>.")')
    banner.wait_for()
    assert client.http.delete(f"/api/announcements/{made['id']}/").status_code == 204
    banner.wait_for(state="detached")


def test_dialogs_are_accessible_too(page: Page, hub: RunningHub, content: str) -> None:
    page.goto(f"{hub.address}/")
    use_token(page, hub)
    opened(page, hub, "board", content)
    page.get_by_role("button", name="New task").click()
    for then in ("#new-dialog .close", "#card-dialog .close", ".keys .close"):
        results = Axe().run(page)
        assert results.violations_count == 0, results.generate_report()
        page.locator(then).click()
        if then.startswith("#new"):
            page.locator(".card .menu").first.click()
        elif then.startswith("#card"):
            page.keyboard.press("?")
    page.keyboard.press("Control+k")
    page.keyboard.type("task 1")
    page.locator('.palette li:has-text("task 12")').wait_for()
    results = Axe().run(page)
    assert results.violations_count == 0, results.generate_report()


def test_forms_of_a_task_are_accessible_too(screen: Page, hub: RunningHub, content: str) -> None:
    screen.goto(f"{hub.address}/")
    use_token(screen, hub)
    opened(screen, hub, "task", content)
    for edit in ("title-edit", "description-edit", "artifacts-edit"):
        screen.locator(f"#{edit}").click()
        screen.wait_for_selector(f"#{edit}", state="hidden")
    screen.locator("#run-facts summary").click()
    screen.locator("#run-script", has_text="seq 200").wait_for()
    screen.get_by_role("button", name="Assignee").click()
    screen.get_by_role("button", name="unassigned", exact=True).wait_for()
    for then in ("#run", ""):
        results = Axe().run(screen)
        assert results.violations_count == 0, results.generate_report()
        assert screen.evaluate("document.documentElement.scrollWidth <= innerWidth")
        if then:
            screen.keyboard.press("Escape")  # the choices may lie above the button
            screen.locator(then).click()
            screen.wait_for_selector(f"{then}-dialog[open]")


@pytest.mark.parametrize("name", WITH_ANNOUNCEMENTS)
def test_it_keeps_one_stream_and_none_in_a_hidden_tab(
    page: Page, hub: RunningHub, client: HubClient, content: str, name: str
) -> None:
    streams: list[str] = []
    page.on("request", lambda asked: streams.append(asked.url) if "/api/events/stream" in asked.url else None)
    opened(page, hub, name, content)
    assert len(streams) == 1
    with page.expect_event("requestfailed", lambda asked: asked.url == streams[0]):
        set_hidden(page, is_hidden=True)
    made = client.http.post("/api/announcements/", json={"text": "While the page was closed.", "level": "info"}).json()
    assert len(streams) == 1
    set_hidden(page, is_hidden=False)
    page.wait_for_selector('#announcements li:has-text("While the page was closed.")')
    page.get_by_role("button", name="Dismiss: While the page was closed.").click()
    page.reload()
    page.wait_for_selector('#announcements li:has-text("The hub rests tonight")')
    assert page.locator('#announcements li:has-text("While the page was closed.")').count() == 0
    assert len(streams) == 3  # at first, on return to the tab, and after the reload
    client.http.delete(f"/api/announcements/{made['id']}/")
