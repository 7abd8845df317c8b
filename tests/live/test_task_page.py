"""A task's page in a real browser: the task, its history, its executions with their logs and files."""

from __future__ import annotations

import zipfile
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from axe_playwright_python.sync_playwright import Axe
from hub_pages import TaskPage, use_token, wait_for_stream
from live_client import HubClient

from tests.processes import RunningHub

if TYPE_CHECKING:
    from playwright.sync_api import Page

pytestmark = pytest.mark.browser


def test_a_run_is_watched_from_its_start_to_its_files(
    page: Page, hub: RunningHub, client: HubClient, complaints: list[str]
) -> None:
    task_id = client.create_task("watched", description="what it is")
    shown = TaskPage(page, hub, task_id).open()
    use_token(page, hub)
    shown.open()
    assert page.locator("#description").inner_text() == "what it is"
    shown.run(
        """printf '\\033[31mred\\033[0m\\n'; echo 'of <b>no</b> bold' >&2
        mkdir -p out; echo 12345 > 'out/ü result.txt'; read -r line < <(tail -F go 2>/dev/null)"""
    )
    page.wait_for_selector('#log :text-is("red")')
    shown.wait_for_execution("running")
    red = page.locator('#log :text-is("red")').last
    plain = page.locator('#log .text:text-is("of <b>no</b> bold")')
    colour = "element => getComputedStyle(element).color"
    assert red.evaluate(colour) != plain.evaluate(colour)
    assert page.locator("#log b").count() == 0
    assert page.locator("#executions .elapsed").first.inner_text().count(":") == 1
    assert not page.get_by_role("button", name="Run", exact=True).is_visible()
    page.get_by_role("button", name="Stop", exact=True).click()
    shown.wait_for_execution("stopped")
    assert page.get_by_role("button", name="Run", exact=True).is_visible()
    assert not page.get_by_role("button", name="Stop", exact=True).is_visible()
    with page.expect_download() as started:
        page.get_by_role("link", name="out/ü result.txt").click()
    assert started.value.suggested_filename == "ü result.txt"
    assert Path(started.value.path()).read_text() == "12345\n"
    assert "1 more" not in page.locator("#files-part").inner_text()
    # What was done stands in the timeline, with who did it.
    history = page.locator("#timeline").inner_text()
    assert "operator" in history
    assert complaints == []


DOT = "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mNkYPhfDwAChwGA60e6kgAAAABJRU5ErkJggg=="
FILES = f"""
printf '# Done\\n\\n- [x] all of it\\n' > report.md; printf '\\033[31mred\\033[0m <b>text</b>\\n' > out.log
echo {DOT} | base64 -d > plot.png; echo '<svg xmlns="http://www.w3.org/2000/svg" width="9" height="9"/>' > plot.svg
head -c 2000 /dev/urandom > core; printf '\\211PNG\\r\\n\\032\\nno' > broken.png
"""


def test_readers_look_at_the_files_of_a_run(
    page: Page, hub: RunningHub, client: HubClient, complaints: list[str]
) -> None:
    task_id, _ = client.run(FILES)
    TaskPage(page, hub, task_id).open()  # without a token
    dialog, shown = page.get_by_role("dialog"), page.locator("#file-shown")

    def preview(path: str) -> None:
        page.get_by_role("button", name=f"Preview of {path}").click()
        dialog.get_by_role("heading", name=path).wait_for()

    preview("report.md")
    assert shown.get_by_role("heading", name="Done").is_visible()
    assert shown.get_by_role("checkbox").is_disabled()
    results = Axe().run(page)
    assert results.violations_count == 0, results.generate_report()
    dialog.get_by_role("button", name="Close").click()
    preview("out.log")
    assert shown.inner_text() == "red <b>text</b>\n"
    page.keyboard.press("Escape")
    assert page.evaluate("document.activeElement.textContent") == "Preview of out.log"
    for name in ("plot.png", "plot.svg"):
        preview(name)
        assert shown.get_by_role("img", name=name).evaluate("image => image.complete && image.naturalWidth > 0")
        page.keyboard.press("Escape")
    preview("core")
    assert shown.is_hidden()
    assert "no preview" in dialog.inner_text()
    page.keyboard.press("Escape")
    page.get_by_role("button", name="Preview of broken.png").click()
    page.wait_for_selector('#files-problem:has-text("broken.png is damaged")')
    assert not dialog.is_visible()
    with page.expect_download() as started:
        page.get_by_role("button", name="Download all as zip").click()
    with zipfile.ZipFile(started.value.path()) as archive:
        assert sorted(archive.namelist()) == ["broken.png", "core", "out.log", "plot.png", "plot.svg", "report.md"]
    for name in ("Run", "Edit", "Run again", "Rename", "Status", "Assignee", "Remove", "Add note", "Delete"):
        assert page.get_by_role("button", name=name).filter(visible=True).count() == 0
    assert complaints == []


def test_it_is_edited_while_others_change_it(page: Page, hub: RunningHub, client: HubClient) -> None:
    task_id = client.create_task("to edit", priority="low")
    shown = TaskPage(page, hub, task_id).open()
    use_token(page, hub)
    shown.open()
    page.get_by_role("button", name="Rename", exact=True).click()
    title = page.get_by_role("textbox", name="Title")
    title.fill("edited")
    # Another user is faster: their change is not overwritten unseen. That of other fields is none of this one.
    client.set_status(task_id, "inprogress", assignee="bob")
    client.http.patch(f"/api/tasks/{task_id}/", json={"title": "theirs"})
    page.wait_for_selector('#assignee:text-is("bob")')
    page.get_by_role("button", name="Save", exact=True).click()
    page.locator("#title-form [role=alert]", has_text="operator changed title").wait_for()
    assert client.http.get(f"/api/tasks/{task_id}/").json()["title"] == "theirs"
    page.locator("#title-form summary").click()
    page.locator("#title-form pre", has_text="theirs").wait_for()
    assert title.input_value() == "edited"
    page.get_by_role("button", name="Save", exact=True).click()
    page.wait_for_selector('#title:text-is("edited")')
    task = client.http.get(f"/api/tasks/{task_id}/").json()
    assert (task["title"], task["assignee"], task["status"]) == ("edited", "bob", "inprogress")


def test_it_is_edited_and_deleted_without_a_stream(page: Page, hub: RunningHub, client: HubClient) -> None:
    """As by a client that is faster than the stream, or at its limit."""
    task_id = client.create_task("to edit", description="as the form must show it")
    client.execute(task_id, "true")
    client.wait_for_end(task_id)
    page.goto(f"{hub.address}/")
    use_token(page, hub)
    page.route("**/api/events/stream*", lambda route: route.abort())
    page.goto(f"{hub.address}/tasks/{task_id}/")
    TaskPage(page, hub, task_id).wait_for_execution("completed")
    page.get_by_role("button", name="Edit the description").click()
    description = page.get_by_role("textbox", name="Description")
    description.wait_for()
    assert description.input_value() == "as the form must show it"
    description.fill("# edited")
    page.keyboard.press("Escape")  # nothing: what was written is given up with “Cancel” alone
    page.keyboard.press("Control+Enter")
    page.locator("#description h3", has_text="edited").wait_for()
    assert page.evaluate("document.activeElement.id") == "description-edit"
    assert client.http.get(f"/api/tasks/{task_id}/").json()["description"] == "# edited"
    page.get_by_role("button", name="Delete", exact=False).click()
    dialog = page.get_by_role("dialog", name="Delete “to edit”?")
    dialog.get_by_role("button", name="Delete", exact=True).click()
    page.wait_for_url(f"{hub.address}/")
    assert client.http.get(f"/api/tasks/{task_id}/").status_code == 404


def test_a_task_that_goes_is_said_to_be_gone(page: Page, hub: RunningHub, client: HubClient) -> None:
    task_id = client.create_task("short-lived")
    TaskPage(page, hub, task_id).open()
    assert client.http.delete(f"/api/tasks/{task_id}/").status_code == 204
    page.wait_for_selector("#problem:visible")
    assert "was deleted" in page.locator("#problem").inner_text()
    answer = page.goto(f"{hub.address}/tasks/{task_id}/")
    assert answer is not None
    assert answer.status == 404
    assert "TaskHub" in page.title()


def test_two_runs_are_told_apart_and_each_shows_its_own_log(page: Page, hub: RunningHub, client: HubClient) -> None:
    task_id = client.create_task("run twice")
    for n in (1, 2):
        client.execute(task_id, f"echo run {n}; echo {n} > file{n}")
        client.wait_for_end(task_id)
    shown = TaskPage(page, hub, task_id).open()
    shown.wait_for_line("run 2")
    page.get_by_role("link", name="file2").wait_for()
    page.locator("#executions li").last.get_by_role("button", name="Log").click()
    shown.wait_for_line("run 1")
    page.get_by_role("link", name="file1").wait_for()
    assert shown.lines() == ["run 1"]
    wait_for_stream(page)
