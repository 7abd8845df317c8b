"""Fixtures of the live tests: a client of the shared hub, a hub whose parts may be killed, a real browser."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from firefox import Firefox, running_firefox
from hub_pages import new_context
from live_client import HubClient
from log_page import LONG

from tests.processes import RunningHub, running_hub

if TYPE_CHECKING:
    from playwright.sync_api import Browser, Page


@pytest.fixture
def client(hub: RunningHub) -> Iterator[HubClient]:
    made = HubClient(hub)
    yield made
    made.http.close()


@pytest.fixture(scope="session")
def fragile_hub(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningHub]:
    """For the tests that kill parts of a hub; the launcher brings them back."""
    with running_hub(tmp_path_factory.mktemp("fragile")) as running:
        yield running


@pytest.fixture
def own_hub(tmp_path: Path) -> Iterator[RunningHub]:
    """For a test that may leave its hub overloaded."""
    with running_hub(tmp_path) as running:
        yield running


@pytest.fixture
def fragile_client(fragile_hub: RunningHub) -> Iterator[HubClient]:
    made = HubClient(fragile_hub)
    yield made
    made.http.close()


@pytest.fixture(scope="module")
def chromium() -> Iterator[Browser]:
    path = shutil.which("chromium") or shutil.which("/usr/bin/chromium")
    if path is None:
        pytest.skip("Chromium is not installed")
    from playwright.sync_api import sync_playwright  # noqa: PLC0415 - only where there is a browser

    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(
            executable_path=path, args=["--no-sandbox", "--disable-background-networking", "--disable-gpu"]
        )
        yield browser
        browser.close()


@pytest.fixture(scope="session")
def firefox(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Firefox]:
    program = shutil.which("firefox-esr") or shutil.which("firefox")
    if program is None:
        pytest.skip("Firefox is not installed")
    with running_firefox(program, tmp_path_factory.mktemp("firefox")) as running:
        yield running


@pytest.fixture(scope="session")
def long_log(hub: RunningHub) -> str:
    """The id of a task with a finished log of 20,000 lines; its run before that has one of 3."""
    client = HubClient(hub)
    task_id = client.create_task("a long log")
    for script in ("seq 3", LONG):
        client.execute(task_id, script)
        client.wait_for_end(task_id)
    client.http.close()
    return task_id


@pytest.fixture
def complaints() -> list[str]:
    """What the page's console said of warnings and errors."""
    return []


@pytest.fixture
def page(chromium: Browser, complaints: list[str]) -> Iterator[Page]:
    context = new_context(chromium)
    page = context.new_page()
    page.on(
        "console", lambda message: complaints.append(message.text) if message.type in {"error", "warning"} else None
    )
    page.on("pageerror", lambda error: complaints.append(str(error)))
    yield page
    context.close()
