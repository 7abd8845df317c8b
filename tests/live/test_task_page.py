"""A task's page in a real browser: the task, its history, its executions with their logs and files."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import pytest
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
    # What was done stands in the history, with who did it.
    history = page.locator("#history").inner_text()
    assert "operator" in history
    assert complaints == []


def test_the_log_is_searched_paused_and_downloaded(
    page: Page, hub: RunningHub, client: HubClient, complaints: list[str]
) -> None:
    task_id = client.create_task("a long log")
    shown = TaskPage(page, hub, task_id).open()
    client.execute(task_id, "seq -f 'line %.0f' 2000; read -r line < <(tail -F go 2>/dev/null)")
    shown.wait_for_line("line 2000")
    page.get_by_label("Search the log").fill("line 777")
    page.get_by_role("button", name="Next", exact=True).click()
    page.wait_for_selector("#found:not(:empty)")
    assert "1" in page.locator("#found").inner_text()
    page.get_by_role("button", name="Pause", exact=True).click()
    assert client.http.post(f"/api/exec/stop/{task_id}").status_code == 202
    shown.wait_for_execution("stopped")
    with page.expect_download() as started:
        page.get_by_role("button", name="Download", exact=True).click()
    lines = Path(started.value.path()).read_text().splitlines()
    assert lines == [f"line {n}" for n in range(1, 2001)]
    assert complaints == []


def test_search_and_download_reach_lines_that_have_left_the_page(
    page: Page, hub: RunningHub, client: HubClient, complaints: list[str]
) -> None:
    task_id, _ = client.run("seq -f 'line %.0f' 20000")
    shown = TaskPage(page, hub, task_id).open()
    shown.wait_for_line("line 20000")
    assert page.locator("#log .number").last.get_attribute("title")  # when it was written
    page.get_by_label("Search the log").fill("LINE 777")
    page.wait_for_selector("#earlier-found:visible")
    found = page.locator("#earlier-lines li")
    assert found.all_inner_texts() == [f"line {n}" for n in range(1, 17_000) if str(n).startswith("777")]
    assert found.first.evaluate("item => item.value") == 777
    page.get_by_label("Search the log").fill("line 1")
    more = page.get_by_role("button", name="More earlier lines")
    more.wait_for()
    more.click()
    page.wait_for_selector("#earlier-lines li:nth-child(200)")
    page.get_by_label("Search the log").fill("")
    page.wait_for_selector("#earlier-found", state="hidden")
    with page.expect_download() as started:
        page.get_by_role("button", name="Download", exact=True).click()
    assert Path(started.value.path()).read_text() == "".join(f"line {n}\n" for n in range(1, 20_001))
    assert complaints == []


def test_it_is_edited_while_others_change_it(page: Page, hub: RunningHub, client: HubClient) -> None:
    task_id = client.create_task("to edit", priority="low")
    shown = TaskPage(page, hub, task_id).open()
    use_token(page, hub)
    shown.open()
    page.get_by_role("button", name="Edit", exact=True).click()
    page.locator("#edit-form [name=title]").fill("edited")
    # Another user is faster: their change is not overwritten unseen.
    client.set_status(task_id, "inprogress", assignee="bob")
    page.wait_for_selector('#assignee:text-is("bob")')
    page.get_by_role("button", name="Save", exact=True).click()
    page.wait_for_selector("#edit-problem:visible")
    assert client.http.get(f"/api/tasks/{task_id}/").json()["title"] == "to edit"
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
    page.get_by_role("button", name="Edit", exact=True).click()
    description = page.locator("#edit-form [name=description]")
    description.wait_for()
    assert description.input_value() == "as the form must show it"
    page.locator("#edit-form [name=title]").fill("edited")
    page.get_by_role("button", name="Save", exact=True).click()
    page.wait_for_selector('#title:text-is("edited")')
    assert client.http.get(f"/api/tasks/{task_id}/").json()["title"] == "edited"
    asked: list[str] = []
    page.on("dialog", lambda dialog: (asked.append(dialog.message), dialog.accept()))
    page.get_by_role("button", name="Delete", exact=False).click()
    page.wait_for_url(f"{hub.address}/")
    assert asked == ["Delete “edited”?"]
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


def test_a_log_of_thousands_of_lines_is_followed_to_its_end(
    page: Page, hub: RunningHub, client: HubClient, complaints: list[str]
) -> None:
    task_id, _ = client.run(r"for n in $(seq 5000); do printf '\033[3%dmline %d\033[0m\n' $((n % 8)) $n; done")
    page.set_viewport_size({"width": 1280, "height": 900})
    TaskPage(page, hub, task_id).open()
    page.wait_for_selector('#log > :last-child .number:text-is("5000")')
    at_its_end = "() => log.scrollHeight - log.scrollTop - log.clientHeight < 8"
    page.wait_for_function(at_its_end)
    page.set_viewport_size({"width": 360, "height": 740})  # its lines break elsewhere
    page.wait_for_function(at_its_end)
    assert page.locator("#to-end").is_hidden()
    page.locator("#log").press("Home")
    page.wait_for_selector("#to-end:visible")
    page.locator("#to-end").click()
    page.wait_for_function(at_its_end)
    assert complaints == []


def test_a_paused_log_shows_what_came_once_it_goes_on(page: Page, hub: RunningHub, client: HubClient) -> None:
    task_id = client.create_task("paused")
    client.execute(task_id, "echo one; until [ -e ~/go ]; do sleep 0.05; done; echo two")
    shown = TaskPage(page, hub, task_id).open()
    shown.wait_for_line("one")
    page.get_by_role("button", name="Pause", exact=True).click()
    sandbox = client.wait_for_step(task_id, "started")["sandbox_id"]
    (hub.data_dir / "sandboxes" / sandbox / "home" / "go").touch()
    page.wait_for_selector('#count:text-is("2 lines, 1 waiting")')
    assert shown.lines() == ["one"]
    page.get_by_role("button", name="Resume", exact=True).click()
    shown.wait_for_line("two")
    assert shown.lines() == ["one", "two"]
