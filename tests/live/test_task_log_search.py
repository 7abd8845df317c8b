"""Search, first error, copies and downloads of the log on a task's page, in a real browser."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from hub_pages import TaskPage
from live_client import HubClient
from log_page import in_view

from tests.processes import RunningHub

if TYPE_CHECKING:
    from playwright.sync_api import Page

pytestmark = pytest.mark.browser


def test_the_whole_log_is_searched_by_the_hub(
    page: Page, hub: RunningHub, long_log: str, complaints: list[str]
) -> None:
    shown = TaskPage(page, hub, long_log).open()
    shown.wait_for_line("line 20000")
    sought = page.get_by_label("Search the whole log")
    sought.fill("LINE 777")
    page.wait_for_selector('#found:text-is("1 of 11")')
    in_view(page, 777)
    assert page.locator("#log .current .text").inner_text() == "line 777"
    sought.press("Enter")
    page.wait_for_selector('#found:text-is("2 of 11")')
    in_view(page, 7770)
    assert page.locator("#log .found").count() == 10
    page.get_by_role("button", name="Previous").click()
    page.get_by_role("button", name="Previous").click()
    page.wait_for_selector('#found:text-is("11 of 11")')
    in_view(page, 7779)
    page.get_by_role("button", name="Next", exact=True).click()
    page.wait_for_selector('#found:text-is("1 of 11")')
    sought.fill("reddish")  # it has colours in it
    page.wait_for_selector('#found:text-is("1 of 1")')
    in_view(page, 7000)
    sought.fill("line")  # more than one answer names
    page.wait_for_selector('#found:has-text("of 19,998")')
    page.get_by_role("button", name="First error").click()
    in_view(page, 12_345)
    assert page.locator("#log .current .text").inner_text() == "ValueError: it does not work"
    sought.fill("not to be found")
    page.wait_for_selector('#found:text-is("0 found")')
    assert complaints == []


def test_first_error_of_a_log_without_error_words_is_on_stderr(page: Page, hub: RunningHub, client: HubClient) -> None:
    task_id, _ = client.run("seq 500; ls nothing-of-this-name; seq 500")
    TaskPage(page, hub, task_id).open()
    page.get_by_role("button", name="First error").click()
    page.wait_for_selector('#log .current[data-stream="stderr"]')
    task_id, _ = client.run("seq 500")
    TaskPage(page, hub, task_id).open()
    page.get_by_role("button", name="First error").click()
    page.wait_for_selector('#found:text-is("No line looks like an error.")')


WORD_IN_VIEW = """() => {
    const row = document.querySelector("#log .current:not([data-missing]) .text");
    const at = row?.textContent.indexOf("needle") ?? -1;
    if (at < 0) return false;
    const range = document.createRange();
    range.setStart(row.firstChild, at);
    range.setEnd(row.firstChild, at + 6);
    const [word, view] = [range.getBoundingClientRect(), document.getElementById("log").getBoundingClientRect()];
    return word.top >= view.top && word.bottom <= view.bottom && word.left >= view.left && word.right <= view.right;
}"""


def test_a_search_by_the_keyboard_shows_the_words_that_it_found(
    page: Page, hub: RunningHub, client: HubClient, complaints: list[str]
) -> None:
    task_id, _ = client.run("seq 300; printf 'x %.0s' {1..9000}; echo needle, NÉEDLE; seq 300")
    shown = TaskPage(page, hub, task_id).open()
    shown.wait_for_line("300")
    log, sought = page.locator("#log"), page.get_by_label("Search the whole log")
    log.focus()
    log.press("/")
    page.keyboard.type("needle")
    page.wait_for_selector('#found:text-is("1 of 1")')
    page.wait_for_function(WORD_IN_VIEW)  # far below the beginning of its line
    words = "({startContainer, startOffset, endOffset}) => startContainer.data.slice(startOffset, endOffset)"
    assert page.evaluate(f"[...CSS.highlights.get('log-found')].map({words})") == ["needle", "NÉEDLE"]
    sought.press("Escape")
    assert page.evaluate("document.activeElement.id") == "log"
    page.get_by_label("Wrap").uncheck()
    log.focus()
    log.press("Control+f")
    assert sought.evaluate("field => field === document.activeElement && field.selectionEnd === 6")
    sought.press("Enter")
    page.wait_for_function(WORD_IN_VIEW)  # far to the right of it
    sought.fill("30")
    page.wait_for_selector('#found:has-text("of 8")')
    at = page.locator("#found").inner_text()
    sought.press("Enter")
    page.wait_for_function("at => document.getElementById('found').value !== at", arg=at)
    sought.press("Shift+Enter")
    page.wait_for_selector(f'#found:text-is("{at}")')
    sought.fill("")
    page.wait_for_function("() => !CSS.highlights.has('log-found')")
    page.get_by_role("textbox", name="Line").fill("602")
    page.get_by_role("textbox", name="Line").press("Enter")
    page.wait_for_selector('#copied:text-is("The log has 601 lines.")')
    page.get_by_role("textbox", name="Line").fill("10-12")
    page.get_by_role("textbox", name="Line").press("Enter")
    in_view(page, 12)
    assert page.locator("#log .picked .text").all_text_contents() == ["10", "11", "12"]
    assert page.url.endswith("#L10-L12")
    assert complaints == []


def test_the_whole_log_is_downloaded_and_copied(page: Page, hub: RunningHub, long_log: str) -> None:
    page.context.grant_permissions(["clipboard-read", "clipboard-write"])
    shown = TaskPage(page, hub, long_log).open()
    shown.wait_for_line("line 20000")
    with page.expect_download() as started:
        page.get_by_role("button", name="Download", exact=True).click()
    lines = Path(started.value.path()).read_text().splitlines()
    assert (len(lines), lines[0], lines[6999]) == (20_000, "line 1", "\x1b[31mred\x1b[0mdish")
    page.get_by_role("button", name="Copy", exact=True).click()
    page.wait_for_selector('#copied:text-is("Copied 20,000 lines.")')
    copied = page.evaluate("navigator.clipboard.readText()").splitlines()
    assert (len(copied), copied[6999]) == (20_000, "reddish")


def test_selected_lines_are_copied_as_they_are(page: Page, hub: RunningHub, client: HubClient) -> None:
    page.context.grant_permissions(["clipboard-read", "clipboard-write"])
    task_id, _ = client.run(r"echo one; echo; printf '\033[1mtwo\033[0m and\n'; echo three")
    shown = TaskPage(page, hub, task_id).open()
    shown.wait_for_line("three")
    page.get_by_label("Times").check()
    page.wait_for_selector("#log .time")
    page.evaluate(
        """() => {
            const [one, , , three] = [...document.querySelectorAll("#log .text")].map(({firstChild}) => firstChild);
            getSelection().setBaseAndExtent(one, 1, three, 2);
        }"""
    )
    page.keyboard.press("Control+c")
    assert page.evaluate("navigator.clipboard.readText()") == "ne\n\ntwo and\nth"
