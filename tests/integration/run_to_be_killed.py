"""Not a part of the suite: runs that `test_killed_runs.py` starts and kills. They write `held` and then wait."""

from __future__ import annotations

import os
import shutil
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.deploy.proxy import Nginx
from tests.processes import RunningHub
from tests.sandboxes.ill_daytona import Daytona

FOLDER = Path(os.environ["TASKHUB_KILLED_RUN"])


def hold() -> None:
    (FOLDER / "held").touch()
    threading.Event().wait()


@pytest.fixture
def daytona(tmp_path: Path) -> Iterator[Daytona]:
    """With a script that runs on, and so a supervisor."""
    made = Daytona(tmp_path / "daytona")
    made.command("exec sleep 12345")
    yield made
    made.close()
    (FOLDER / "fixtures ended").touch()


@pytest.fixture
def nginx() -> Iterator[Nginx]:
    for name in ("nginx", "sockets"):
        (FOLDER / name).mkdir()
    made = Nginx(FOLDER / "nginx", FOLDER / "sockets")
    made.start()
    yield made
    made.end()


def test_holds_one_of_each(hub: RunningHub, postgres_url: str, daytona: Daytona, nginx: Nginx) -> None:
    hold()


def test_holds_a_browser() -> None:
    from playwright.sync_api import sync_playwright  # noqa: PLC0415 - only where there is a browser

    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=shutil.which("chromium"), args=["--no-sandbox"])
        browser.new_page()
        hold()


def test_holds_a_sandbox_server(daytona: Daytona) -> None:
    hold()
