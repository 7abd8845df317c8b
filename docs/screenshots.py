"""Screenshots: `make screenshots` takes them from real hubs with a real browser. Needs Chromium.

Starts a hub on a free port with a temporary data folder, creates example tasks, runs a script, and writes README's
docs/images/board.png and docs/images/log.png; then another hub for var/screenshots/ (`docs/every_page.py`), unless
`--readme` is given. `--only overfull-phone-dark` takes some of those.
"""

from __future__ import annotations

import argparse
import re
import shutil
import sys
import tempfile
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import httpx

from docs.every_page import take_every_page
from tests.processes import ROOT, RunningHub, running_hub

if TYPE_CHECKING:
    from collections.abc import Iterator

    from playwright.sync_api import Browser, Page

IMAGES = ROOT / "docs" / "images"
EVERY_PAGE = ROOT / "var" / "screenshots"
BOARD = {"width": 1200, "height": 720}
LOG = {"width": 1200, "height": 860}
Example = tuple[str, str, str, str, list[str]]
"""Title, status, priority, assignee, tags."""
TASKS: list[Example] = [
    ("Upgrade the payment client", "todo", "high", "", ["backend"]),
    ("Translate the onboarding mails", "todo", "low", "", ["content"]),
    ("Find the slow query on /orders", "inprogress", "high", "agent-2", ["database"]),
    ("Write tests for the importer", "review", "medium", "agent-1", ["tests"]),
    ("Remove the old feature flags", "done", "low", "agent-3", ["cleanup"]),
    ("Nightly dependency report", "done", "medium", "agent-1", ["ci"]),
]
FAILING = "Find the slow query on /orders"
QUESTION = ("Upgrade the payment client", "Which region should the new bucket be in?", ["eu-central-1", "us-east-1"])
RUNNING: Example = ("Run the test suite", "inprogress", "high", "agent-1", ["ci", "tests"])
SCRIPT = r"""
printf '\033[1mcollected 48 items\033[0m\n'
for module in accounts catalogue checkout importer mails orders payments search; do
  printf 'tests/test_%s.py \033[32m......\033[0m\n' "$module"
  sleep 0.2
done
printf '\033[33mwarning: search index is rebuilt for each test\033[0m\n'
until [ -e go-on ]; do sleep 0.2; done
"""


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m docs.screenshots", description="Take screenshots.")
    parser.add_argument("--readme", action="store_true", help="README's alone")
    parser.add_argument("--only", metavar="PART", help="not README's; of the others those with this in their name")
    asked = parser.parse_args()
    chromium = shutil.which("chromium")
    if chromium is None:
        print("Chromium is not installed.", file=sys.stderr)
        return 1
    if asked.only is None:
        with pictured(chromium) as (browser, hub):
            take(browser.new_context(color_scheme="light").new_page(), hub)
    if not asked.readme:
        with pictured(chromium, TASKHUB_COMPONENTS="1") as (browser, hub):
            take_every_page(browser, hub, EVERY_PAGE, asked.only or "")
        print(f"{EVERY_PAGE}/index.html shows them all.")
    return 0


@contextmanager
def pictured(chromium: str, **env: str) -> Iterator[tuple[Browser, RunningHub]]:
    """A browser, and a hub of its own."""
    from playwright.sync_api import sync_playwright  # noqa: PLC0415 - only where there is a browser

    with (
        tempfile.TemporaryDirectory() as folder,
        running_hub(Path(folder), env) as hub,
        sync_playwright() as playwright,
    ):
        browser = playwright.chromium.launch(executable_path=chromium, args=["--no-sandbox", "--disable-gpu"])
        yield browser, hub
        browser.close()


def take(page: Page, hub: RunningHub) -> None:
    with httpx.Client(base_url=hub.address, headers=hub.headers, timeout=30) as http:
        ids = {task[0]: create(http, task) for task in TASKS}
        http.post(f"/api/exec/{ids[FAILING]}", json={"script_content": "exit 3"}).raise_for_status()
        http.get(f"/api/exec/status/{ids[FAILING]}", params={"wait_s": 50}, timeout=60).raise_for_status()
        title, text, options = QUESTION
        question = {"kind": "question", "text": text, "options": options}
        http.post(f"/api/tasks/{ids[title]}/notes", json=question).raise_for_status()
        task_id = create(http, RUNNING)
        http.post(f"/api/exec/{task_id}", json={"script_content": SCRIPT}).raise_for_status()
        sign_in(page, hub)
        page.goto(f"{hub.address}/tasks/{task_id}/")
        page.wait_for_selector('#log .text:has-text("warning: search index")', timeout=60_000)
        save(page, "log.png", LOG, scrolled_to="#log-title")
        page.goto(f"{hub.address}/")
        page.wait_for_selector("#board:not([aria-busy])")
        page.wait_for_selector('#state[data-state="connected"]')
        page.get_by_text(QUESTION[1]).wait_for()
        save(page, "board.png", BOARD)
        http.post(f"/api/exec/stop/{task_id}").raise_for_status()


def create(http: httpx.Client, example: Example) -> str:
    title, status, priority, assignee, tags = example
    values: dict[str, Any] = {"title": title, "priority": priority, "assignee": assignee, "tags": tags}
    task = http.post("/api/tasks/", json=values).raise_for_status().json()
    path = ["inprogress", "review"] if status == "review" else [status]
    for step in path if status != "todo" else []:
        http.put(f"/api/tasks/status/{task['id']}", json={"new_status": step}).raise_for_status()
    return str(task["id"])


def sign_in(page: Page, hub: RunningHub) -> None:
    """With the token: the buttons of an account are then in the picture."""
    page.goto(f"{hub.address}/")
    page.get_by_role("button", name="Use a token").click()
    page.get_by_role("textbox", name="API token").fill(hub.token)
    page.get_by_label("Sign this browser in").uncheck()
    page.get_by_role("button", name=re.compile(r"^Use (it|token)$")).click()
    page.get_by_role("button", name="Forget the token").wait_for()


def save(page: Page, name: str, size: dict[str, int], *, scrolled_to: str = "") -> None:
    page.set_viewport_size(size)  # type: ignore[arg-type]
    if scrolled_to:
        page.locator(scrolled_to).evaluate("it => it.closest('section').scrollIntoView()")
    page.screenshot(path=IMAGES / name, animations="disabled")


if __name__ == "__main__":
    sys.exit(main())
