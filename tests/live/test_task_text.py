"""Texts on a task's page in a real browser: Markdown, check boxes, links; and a run that is repeated."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from axe_playwright_python.sync_playwright import Axe
from hub_pages import TaskPage, use_token
from live_client import HubClient

from tests.processes import RunningHub

if TYPE_CHECKING:
    from playwright.sync_api import Page

pytestmark = pytest.mark.browser

TEXT = """# Plan

Look at https://example.org/a, then **decide**.

- [ ] first
- [x] second

| file | state |
|---|---|
| `a.py` | <img src=x onerror="document.title='hit'"> |

```bash
make test
```
"""


def description(client: HubClient, task_id: str) -> str:
    return str(client.http.get(f"/api/tasks/{task_id}/").json()["description"])


def opened(page: Page, hub: RunningHub, task_id: str) -> TaskPage:
    shown = TaskPage(page, hub, task_id).open()
    use_token(page, hub)
    return shown.open()


def test_markdown_is_rendered_and_is_no_markup_of_the_page(
    page: Page, hub: RunningHub, client: HubClient, complaints: list[str]
) -> None:
    task_id = client.create_task("text", description=TEXT)
    assert client.http.post(f"/api/tasks/{task_id}/notes/", json={"text": TEXT}).status_code == 201
    opened(page, hub, task_id)
    page.wait_for_selector("#timeline .markdown table")
    for place in ("#description", "#timeline .markdown"):
        text = page.locator(place)
        assert text.locator("h3").inner_text() == "Plan"
        assert text.locator("strong").inner_text() == "decide"
        assert text.get_by_role("link").get_attribute("href") == "https://example.org/a"
        assert text.locator("td").last.inner_text().startswith("<img src=x")
        assert text.locator("pre").inner_text().strip() == "make test"
        assert text.locator("img").count() == 0
    assert page.title().endswith("text · TaskHub")
    # What was said is said: only the description's boxes may be ticked.
    assert page.locator("#timeline input:disabled").count() == 2
    assert page.locator("#description input:enabled").count() == 2
    results = Axe().run(page)
    assert results.violations_count == 0, results.generate_report()
    assert complaints == []


def test_boxes_are_ticked_by_the_keyboard_and_keep_the_focus(
    page: Page, hub: RunningHub, client: HubClient, complaints: list[str]
) -> None:
    task_id = client.create_task("boxes", description=TEXT)
    opened(page, hub, task_id)
    page.get_by_role("checkbox", name="first").focus()
    page.keyboard.press("Space")
    page.wait_for_selector('#version:text-is("2")')
    page.wait_for_selector('#description input[data-line="4"][checked]')  # as the hub rendered it
    assert page.evaluate("document.activeElement.dataset.line") == "4"
    page.get_by_role("checkbox", name="second").uncheck()
    page.get_by_role("checkbox", name="first").uncheck()  # before the answer to the other
    page.wait_for_selector('#version:text-is("4")')
    assert description(client, task_id) == TEXT.replace("[x]", "[ ]")
    assert complaints == []


def test_box_is_not_ticked_over_a_change_of_another(page: Page, hub: RunningHub, client: HubClient) -> None:
    task_id = client.create_task("boxes", description="- [ ] one")
    opened(page, hub, task_id)
    page.route("**/api/events/stream*", lambda route: route.abort())
    page.reload()
    page.get_by_role("checkbox", name="one").wait_for()
    page.wait_for_selector("#description input:enabled")
    assert client.http.patch(f"/api/tasks/{task_id}/", json={"description": "- [ ] two\n- [ ] one"}).status_code == 200
    page.locator("#description input").click()
    page.wait_for_selector('#problem:has-text("Not ticked")')
    page.get_by_role("checkbox", name="two").wait_for()
    assert page.get_by_role("checkbox", checked=True).count() == 0
    assert description(client, task_id) == "- [ ] two\n- [ ] one"


def test_a_reader_cannot_tick(page: Page, hub: RunningHub, client: HubClient) -> None:
    task_id = client.create_task("boxes", description="- [ ] one")
    TaskPage(page, hub, task_id).open()
    page.wait_for_selector("#description input:disabled")
    assert page.locator("#description input:enabled").count() == 0


def test_addresses_in_artifacts_and_announcements_are_links(page: Page, hub: RunningHub, client: HubClient) -> None:
    task_id = client.create_task("links", artifacts=["out/a.txt", "PR: https://example.org/pull/1"])
    said = client.http.post("/api/announcements/", json={"text": "See https://example.org/b.", "level": "info"}).json()
    TaskPage(page, hub, task_id).open()
    found = page.locator("#artifacts a")
    assert [found.inner_text(), found.get_attribute("href")] == ["https://example.org/pull/1"] * 2
    assert page.locator("#artifacts li").all_inner_texts() == ["out/a.txt", "PR: https://example.org/pull/1"]
    banner = page.locator('#announcements li:has-text("See https://example.org/b.") a')
    assert banner.get_attribute("href") == "https://example.org/b"
    client.http.delete(f"/api/announcements/{said['id']}/")


def test_a_run_is_repeated_with_a_changed_script(
    page: Page, hub: RunningHub, client: HubClient, complaints: list[str]
) -> None:
    made = client.http.post("/api/environments/", json={"name": "of-a-page", "env": {"WHO": "environment"}})
    assert made.status_code == 201, made.text
    task_id = client.create_task("again", description="```bash\necho mine\n```")
    given = {"PLAIN": "kept", "TOKEN": {"value": "first-secret", "secret": True}}
    client.execute(task_id, "echo first; exit 3", timeout_s=77, environment="of-a-page", env=given)
    client.wait_for_end(task_id)
    shown = opened(page, hub, task_id)
    shown.wait_for_line("first")
    page.locator("#executions li", has_text="environment of-a-page 1").wait_for()
    page.get_by_role("button", name="Run again").click()
    page.wait_for_selector("#run-dialog[open]")
    script = page.get_by_label("Script", exact=True)
    assert script.input_value() == "echo first; exit 3"
    assert page.get_by_label("Timeout").input_value() == "77"
    assert page.get_by_label("Environment, by its name").input_value() == "of-a-page"
    page.get_by_role("button", name="Cancel").last.click()
    page.get_by_role("button", name="Run", exact=True).click()
    assert script.input_value() == "echo mine\n"  # another run begins anew, with the description's own
    page.locator("#run-script-note", has_text="first bash block").wait_for()
    script.fill("")
    client.http.patch(f"/api/tasks/{task_id}/", json={"description": "none"}).raise_for_status()
    page.get_by_role("button", name="Run now").click()
    page.locator("#run-problem", has_text="There is nothing to run. Write a script here").wait_for()
    script.fill("echo mine\n")
    page.get_by_role("button", name="Cancel").last.click()
    page.get_by_role("button", name="Run again").click()
    page.wait_for_selector("#run-dialog[open]")
    assert "Variables as they were: PLAIN." in page.locator("#run-variables").inner_text()
    script.fill("echo second, in the $WHO, $PLAIN and ${TOKEN/second-/}")
    page.get_by_label("Secret value of TOKEN").fill("no")
    page.get_by_role("button", name="Run now").click()
    page.locator("#run-problem", has_text="at least 4 characters").wait_for()
    page.get_by_label("Secret value of TOKEN").fill("second-secret")
    page.get_by_role("button", name="Run now").click()
    shown.wait_for_line("second, in the environment, kept and secret")
    page.wait_for_selector('#outcome:has-text("completed")')
    assert page.get_by_role("button", name="Run again").count() == 2
    assert all("400 (Bad Request)" in each for each in complaints)  # the refusal above
    client.http.delete("/api/environments/of-a-page/")
