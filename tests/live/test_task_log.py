"""The log on a task's page in a real browser: of any size, addressed by line, live."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest
from hub_pages import PATIENCE_MS, TaskPage
from live_client import HubClient
from log_page import ROWS, WAIT, in_order, in_view, let_go, numbers, rows
from playwright.sync_api import expect

from tests.processes import RunningHub, wait_until

if TYPE_CHECKING:
    from playwright.sync_api import Page

pytestmark = pytest.mark.browser

LONG_TASKS = 5
"""Of more than 50 ms, on a machine that does other things as well."""
LATER = "(() => { const now = Date.now; Date.now = () => now() + 60_000; })()"
"""The page's clock: a log that began a minute ago is not read from its beginning."""


def transferred(page: Page) -> list[int]:
    """Bytes of each answer, with its headers, as they came over the network."""
    sizes: list[int] = []
    session = page.context.new_cdp_session(page)
    session.send("Network.enable")
    session.on("Network.loadingFinished", lambda event: sizes.append(int(event["encodedDataLength"])))
    return sizes


WATCH = "window.tasks = []; new PerformanceObserver(all => tasks.push(...all.getEntries())).observe({type: 'longtask'})"


def test_twenty_thousand_lines_open_as_fast_as_a_few(
    page: Page, hub: RunningHub, long_log: str, complaints: list[str]
) -> None:
    """It was 4,345 KiB and 6,720 ms of blocking, with every line as an event and 3,000 rows."""
    page.add_init_script(WATCH)
    sizes = transferred(page)
    streams: list[str] = []
    page.on("request", lambda asked: streams.append(asked.url) if "/stream?" in asked.url else None)
    shown = TaskPage(page, hub, long_log).open()
    shown.wait_for_line("line 20000")
    assert rows(page) <= ROWS
    blocking = page.evaluate("tasks.reduce((sum, {duration}) => sum + Math.max(0, duration - 50), 0)")
    print(f"{sum(sizes) / 1024:.0f} KiB, {page.evaluate('tasks.length')} long tasks, {blocking:.0f} ms")  # noqa: T201
    assert sum(sizes) <= 300 * 1024
    assert page.evaluate("tasks.length") <= LONG_TASKS
    assert [url for url in streams if "/exec/logs/" in url] == []  # a finished log needs none
    assert page.locator("#outcome").inner_text().startswith("completed, exit code 0")
    assert page.locator("#count").inner_text() == "20,000 lines"
    assert complaints == []


def test_every_line_is_reached_by_scrolling(page: Page, hub: RunningHub, long_log: str, complaints: list[str]) -> None:
    shown = TaskPage(page, hub, long_log).open()
    shown.wait_for_line("line 20000")
    log = page.locator("#log")
    log.press("Home")
    in_view(page, 1)
    assert page.locator("#to-end").is_visible()
    last = 1
    for _ in range(20):
        log.press("PageDown")
        page.wait_for_function(
            "last => Number(document.querySelector('#log .row .number').textContent) >= last", arg=last
        )
        in_order(page)
        last = numbers(page)[0]
    # As by the scrollbar: to the middle of all lines.
    log.evaluate("log => log.scrollTop = log.scrollHeight / 2")
    page.wait_for_function("() => Math.abs(document.querySelector('#log .number').textContent - 10000) < 300")
    page.wait_for_selector("#log .row [class=text]")
    in_order(page)
    log.press("End")
    in_view(page, 20_000)
    page.wait_for_selector("#to-end", state="hidden")
    in_order(page)
    assert complaints == []


def test_a_line_has_an_address(page: Page, hub: RunningHub, long_log: str, complaints: list[str]) -> None:
    desk = page.viewport_size
    page.set_viewport_size({"width": 360, "height": 740})  # much stands above the log
    page.goto(f"{hub.address}/tasks/{long_log}/#L120")
    in_view(page, 120)
    expect(page.locator("#log .picked")).to_be_in_viewport(timeout=PATIENCE_MS)
    assert desk
    page.set_viewport_size(desk)
    assert page.locator("#log .picked .text").all_text_contents() == ["line 120"]
    page.get_by_role("textbox", name="Line").fill("9000")
    page.get_by_role("textbox", name="Line").press("Enter")
    in_view(page, 9000)
    page.locator('#log .number:text-is("9002")').click(modifiers=["Shift"])
    assert page.locator("#log .picked .text").all_text_contents() == [f"line {n}" for n in (9000, 9001, 9002)]
    assert page.url.endswith("#L9000-L9002")
    page.locator("#log").evaluate("log => log.focus()")
    address = page.url
    page.goto("about:blank")
    page.goto(address)
    in_view(page, 9001)
    assert page.locator("#log .picked").count() == 3
    page.context.grant_permissions(["clipboard-read", "clipboard-write"])
    page.get_by_role("button", name="Copy", exact=True).click()
    page.wait_for_selector('#copied:text-is("Copied 3 lines.")')
    assert page.evaluate("navigator.clipboard.readText()") == "line 9000\nline 9001\nline 9002\n"
    # The address of an older run names it.
    page.locator("#executions li").last.get_by_role("button", name="Log").click()
    page.wait_for_selector('#count:text-is("3 lines")')
    page.locator('#log .number:text-is("2")').click()
    address = page.url
    page.goto("about:blank")
    page.goto(address)
    in_view(page, 2)
    assert page.locator("#log .picked .text").all_text_contents() == ["2"]
    assert page.locator("#count").inner_text() == "3 lines"
    assert complaints == []


def test_lines_wrap_and_show_times_on_a_switch(page: Page, hub: RunningHub, client: HubClient) -> None:
    task_id, _ = client.run("seq 300; printf 'long %.0s' {1..200}; echo; printf 'x%.0s' {1..60000}; echo; seq 300")
    shown = TaskPage(page, hub, task_id).open()
    shown.wait_for_line("300")
    log = page.locator("#log")
    page.get_by_role("textbox", name="Line").fill("301")
    page.get_by_role("textbox", name="Line").press("Enter")
    # Asked of whatever row is there then: rows that were just read replace those that stood for them.
    height = """(isHigh) => [...document.querySelectorAll("#log .row")].some(
        row => row.querySelector(".number")?.textContent === "301" && row.clientHeight > 0
            && row.clientHeight > 40 === isHigh)"""
    page.wait_for_function(height, arg=True)
    assert log.evaluate("log => log.scrollWidth <= log.clientWidth")
    page.get_by_label("Wrap").uncheck()
    page.wait_for_function("() => log.scrollWidth > 3 * log.clientWidth")
    page.wait_for_function(height, arg=False)
    assert page.locator("#log .time").count() == 0
    page.get_by_label("Times").check()
    page.wait_for_selector("#log .time")
    assert page.locator("#log .time").first.inner_text().count(":") == 2
    page.reload()
    page.wait_for_selector("#log .time")
    assert not page.get_by_label("Wrap").is_checked()
    assert page.get_by_label("Times").is_checked()


def test_selected_text_stays_selected_while_the_log_is_scrolled(page: Page, hub: RunningHub, long_log: str) -> None:
    page.goto(f"{hub.address}/tasks/{long_log}/#L5000")
    in_view(page, 5000)
    page.evaluate(
        """() => {
            const row = [...document.querySelectorAll("#log .row")].find(row => row.innerText.includes("line 5000"));
            getSelection().selectAllChildren(row.querySelector(".text"));
        }"""
    )
    page.locator("#log").evaluate("log => log.scrollBy(0, 4000)")
    page.wait_for_selector('#log .number:text-is("5200")')
    assert page.evaluate("getSelection().toString()") == "line 5000"


# --- While it runs ------------------------------------------------------------------------------------------


def test_a_running_log_is_followed_from_its_end_on(
    page: Page, hub: RunningHub, client: HubClient, complaints: list[str]
) -> None:
    task_id = client.create_task("runs")
    client.execute(task_id, f"seq -f 'line %.0f' 20000; {WAIT}; echo the end")
    execution = client.wait_for_step(task_id, "started")["execution_id"]
    wait_until(lambda: [line["n"] for line in client.log(task_id, 1)] == [20_000], "all lines are there")
    streams: list[str] = []
    page.on(
        "request",
        lambda asked: streams.append(asked.url) if "/exec/logs/" in asked.url and "/stream" in asked.url else None,
    )
    page.add_init_script(LATER)
    shown = TaskPage(page, hub, task_id).open()
    shown.wait_for_line("line 20000")
    page.wait_for_selector('#log-state [data-state="connected"]')
    assert len(streams) == 1
    assert f"lastEventId={execution}%3A20000" in streams[0]
    assert page.locator("#outcome").inner_text() == "running"
    page.locator("#log").press("Home")
    in_view(page, 1)
    page.get_by_label("Search the whole log").fill("line 10000")
    page.wait_for_selector('#found:text-is("1 of 1")')
    in_view(page, 10_000)
    page.get_by_label("Search the whole log").fill("the end")
    page.wait_for_selector('#found:text-is("0 found")')
    let_go(hub, client, task_id)
    page.wait_for_selector('#found:text-is("1 found")')  # lines that come later are searched too
    page.locator("#to-end").click()
    shown.wait_for_line("the end")
    page.wait_for_selector('#outcome:has-text("completed, exit code 0")')
    page.wait_for_selector("#log-state", state="hidden")
    assert complaints == []


def test_a_progress_bar_is_one_line_that_changes(page: Page, hub: RunningHub, client: HubClient) -> None:
    task_id = client.create_task("progress")
    again = WAIT.replace("/go", "/on")
    script = f"echo begins; printf ' 10%%'; {WAIT}; printf '\\r100%%'; {again}; echo; echo ends"
    client.execute(task_id, script)
    shown = TaskPage(page, hub, task_id).open()
    page.wait_for_selector('#log [data-partial] .text:text-is("10%")')
    assert page.locator("#count").inner_text() == "1 line"
    let_go(hub, client, task_id)
    page.wait_for_selector('#log [data-partial] .text:text-is("100%")')
    assert shown.lines() == ["begins", "100%"]
    sandbox = client.status(task_id)["sandbox_id"]
    (hub.data_dir / "sandboxes" / sandbox / "home" / "on").touch()
    shown.wait_for_line("ends")
    assert shown.lines() == ["begins", "100%", "ends"]
    assert page.locator("#log [data-partial]").count() == 0


def test_a_log_of_thousands_of_lines_is_followed_to_its_end(
    page: Page, hub: RunningHub, client: HubClient, complaints: list[str]
) -> None:
    task_id = client.create_task("fast")
    page.set_viewport_size({"width": 1280, "height": 900})
    shown = TaskPage(page, hub, task_id).open()
    client.execute(task_id, rf"for n in $(seq 5000); do printf '\033[3%dmline %d\033[0m\n' $((n % 8)) $n; done; {WAIT}")
    page.wait_for_selector('#log .row:last-child .number:text-is("5000")')
    at_its_end = "() => log.scrollHeight - log.scrollTop - log.clientHeight < 8"
    page.wait_for_function(at_its_end)
    page.set_viewport_size({"width": 360, "height": 740})  # its lines break elsewhere
    page.wait_for_function(at_its_end)
    assert page.locator("#to-end").is_hidden()
    assert rows(page) <= ROWS
    page.locator("#log").press("Home")
    page.wait_for_selector("#to-end:visible")
    in_view(page, 1)
    page.locator("#to-end").click()
    page.wait_for_function(at_its_end)
    assert page.evaluate("document.activeElement.id") == "log"
    let_go(hub, client, task_id)
    shown.wait_for_execution("completed")
    page.wait_for_function(at_its_end)
    assert complaints == []


def test_a_paused_log_shows_what_came_once_it_goes_on(page: Page, hub: RunningHub, client: HubClient) -> None:
    task_id = client.create_task("paused")
    client.execute(task_id, f"echo one; {WAIT}; echo two")
    shown = TaskPage(page, hub, task_id).open()
    shown.wait_for_line("one")
    page.get_by_role("button", name="Pause", exact=True).click()
    let_go(hub, client, task_id)
    page.wait_for_selector('#count:text-is("2 lines, 1 waiting")')
    assert shown.lines() == ["one"]
    page.get_by_role("button", name="Resume", exact=True).click()
    shown.wait_for_line("two")
    assert shown.lines() == ["one", "two"]


def test_lines_that_cannot_be_read_are_tried_again(page: Page, hub: RunningHub, long_log: str) -> None:
    shown = TaskPage(page, hub, long_log).open()
    shown.wait_for_line("line 20000")
    asked: list[str] = []

    def refuse(route: Any) -> None:
        asked.append(route.request.url)
        route.abort() if len(asked) == 1 else route.continue_()

    page.route("**/api/exec/logs/*/?*", refuse)
    page.locator("#log").press("Home")
    page.wait_for_selector('#log-problem:has-text("Trying again.")')
    in_view(page, 1)
    page.wait_for_selector("#log-problem", state="hidden")
    assert len(asked) >= 2
