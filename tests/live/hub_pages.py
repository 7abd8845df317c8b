"""How tests use the board, the task's page and the rest: what people do on them, by the words they see."""

from __future__ import annotations

import subprocess
import sys
from typing import TYPE_CHECKING, Any

from tests.processes import ROOT, RunningHub

if TYPE_CHECKING:
    from playwright.sync_api import Browser, BrowserContext, Locator, Page

PASSWORD = "a password of the tests"
PATIENCE_MS = 120_000
"""How long a browser waits for what a page is to show; machines differ."""


def new_context(browser: Browser, **options: Any) -> BrowserContext:
    """A window of its own, that waits as long as a busy machine takes."""
    context = browser.new_context(**options)
    context.set_default_timeout(PATIENCE_MS)
    return context


def manage(hub: RunningHub, code: str) -> None:
    """Run Python inside the hub's project, on its data."""
    command = [sys.executable, "manage.py", "shell", "--no-imports", "-c", code]
    env = {**hub.env, "DJANGO_SETTINGS_MODULE": "config.settings.local"}
    done = subprocess.run(command, env=env, cwd=ROOT, check=False, timeout=300, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


def make_account(hub: RunningHub, name: str, role: str) -> None:
    code = f"""
from django.contrib.auth.models import Group, User
user = User.objects.create_user({name!r}, password={PASSWORD!r})
user.groups.set(Group.objects.filter(name={role!r}))
"""
    manage(hub, code)


def sign_in(page: Page, hub: RunningHub, name: str) -> None:
    page.goto(f"{hub.address}/login/?next=/")
    page.get_by_label("Account").fill(name)
    page.get_by_label("Password").fill(PASSWORD)
    page.get_by_role("button", name="Sign in").click()
    page.wait_for_url(f"{hub.address}/")


def use_token(page: Page, hub: RunningHub) -> None:
    page.get_by_role("button", name="Use a token").click()
    page.get_by_role("textbox", name="API token").fill(hub.token)
    page.get_by_label("Sign this browser in").uncheck()
    page.get_by_role("button", name="Use token").click()
    page.get_by_role("button", name="Forget the token").wait_for()


def wait_for_stream(page: Page, state: str = "connected") -> None:
    page.wait_for_selector(f'#state[data-state="{state}"]', timeout=60_000)


class Board:
    def __init__(self, page: Page, hub: RunningHub) -> None:
        self.page = page
        self.hub = hub

    def open(self, query: str = "") -> Board:
        self.page.goto(f"{self.hub.address}/{query}")
        self.page.wait_for_selector("#board:not([aria-busy])")
        wait_for_stream(self.page)
        return self

    def card(self, title: str, status: str = "") -> Locator:
        column = f'section[data-status="{status}"] ' if status else ""
        return self.page.locator(f'#board {column}.card:has(h3 a:text-is("{title}"))')

    def wait_for(self, title: str, status: str, timeout_ms: float = 30_000) -> Locator:
        found = self.card(title, status)
        found.wait_for(timeout=timeout_ms)
        return found

    def move(self, title: str, label: str) -> None:
        self.card(title).get_by_role("button", name="Actions for").click()
        self.page.locator("#moves").get_by_role("button", name=label, exact=True).click()

    def titles(self) -> set[str]:
        return set(self.page.locator("#board .card h3 a").all_text_contents())


class TaskPage:
    def __init__(self, page: Page, hub: RunningHub, task_id: str) -> None:
        self.page = page
        self.hub = hub
        self.task_id = task_id

    def open(self) -> TaskPage:
        self.page.goto(f"{self.hub.address}/tasks/{self.task_id}/")
        wait_for_stream(self.page)
        self.page.locator("#version:not(:empty)").wait_for()
        return self

    def run(self, script: str) -> None:
        self.page.get_by_role("button", name="Run", exact=True).click()
        self.page.get_by_label("Script", exact=True).fill(script)
        self.page.get_by_role("button", name="Run now").click()

    def wait_for_line(self, text: str) -> None:
        self.page.wait_for_selector(f'#log .text:text-is("{text}")')

    def wait_for_execution(self, word: str) -> None:
        self.page.wait_for_selector(f'#executions strong:text-is("{word}")')

    def lines(self) -> list[str]:
        return self.page.locator("#log .text").all_text_contents()


def fetched(page: Page, method: str, address: str, body: Any = None) -> int:
    """The status that the page's own script gets for a request with all it has: cookies and the CSRF token."""
    found: int = page.evaluate(
        """async ([method, address, body]) => {
            const meta = document.querySelector("meta[name=csrf-token]");
            const headers = {"Content-Type": "application/json", ...(meta && {"X-CSRFToken": meta.content})};
            return (await fetch(address, {method, headers, body: body && JSON.stringify(body)})).status;
        }""",
        [method, address, body],
    )
    return found


def set_hidden(page: Page, *, is_hidden: bool) -> None:
    """As if another tab was before this one, or no longer."""
    page.evaluate(
        """(isHidden) => {
            Object.defineProperty(document, "hidden", {configurable: true, get: () => isHidden});
            document.dispatchEvent(new Event("visibilitychange"));
        }""",
        is_hidden,
    )


def pressed(page: Page, *keys: str) -> None:
    for key in keys:
        page.keyboard.press(key)


def tab_to(page: Page, target: Locator, most: int = 60) -> None:
    """Press Tab until the focus is there."""
    for _ in range(most):
        if target.evaluate("element => element === document.activeElement"):
            return
        page.keyboard.press("Tab")
    raise AssertionError("the keyboard does not get there")
