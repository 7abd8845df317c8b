"""How the admin looks in Chromium with long texts in every list: all columns are in sight, times are plain."""

from __future__ import annotations

import json
import os
import re
import sqlite3
from collections.abc import Iterator
from contextlib import closing
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from django.contrib.admin import site

from tests.servers.hubs import Installation

if TYPE_CHECKING:
    from playwright.sync_api import Page

pytestmark = pytest.mark.browser

LISTS = {
    "taskhub/task": "Tasks",
    "taskhub/claim": "Claims",
    "taskhub/agent": "Agents",
    "taskhub/environment": "Environments",
    "oauth2_provider/application": "OAuth clients",
    "taskhub/execution": "Executions",
    "taskhub/announcement": "Announcements",
    "taskhub/auditentry": "Audit entries",
    "taskhub/apitoken": "API tokens",
    "taskhub/admissionrule": "Waiting, limits, pauses",
    "taskhub/streamconnection": "Open streams",
    "taskhub/streamprocess": "Processes",
    "taskhub/webhookendpoint": "Webhook endpoints",
    "taskhub/webhookdelivery": "Webhook deliveries",
    "django_eventstream/event": "Events",
    "auth/user": "Accounts",
    "auth/group": "Roles",
    "sandboxes/sandbox": "Sandboxes",
    "sandboxes/subscription": "Subscriptions",
    "sandboxes/poll": "Polls",
}
DESK = {"width": 1280, "height": 800}
TIME = re.compile(r"\d{4}-\d\d-\d\d \d\d:\d\d:\d\d|-")
OTHER_TIMES = re.compile(r"\b(?:a\.m\.|p\.m\.|noon|midnight|(?:Jan|Feb|Aug|Sept|Oct|Nov|Dec)\.|\d{4}, )")
# The right edge of the last cell of each line, and of what shows them.
EDGES = """() => {
  const table = document.querySelector('#result_list');
  const lines = [...table.querySelectorAll('tr')].map((line) => line.lastElementChild.getBoundingClientRect().right);
  const box = table.closest('[data-simplebar]') ?? table.parentElement;
  return { last: Math.max(...lines), box: box.getBoundingClientRect().right, window: window.innerWidth,
    page: document.documentElement.scrollWidth };
}"""
CELLS = """() => {
  const [head, ...lines] = [...document.querySelectorAll('#result_list tr')];
  const texts = (line) => [...line.children].map((cell) => cell.innerText.trim());
  return { head: texts(head), lines: lines.map(texts) };
}"""


@pytest.fixture(scope="module")
def installation(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Installation]:
    with Installation(tmp_path_factory.mktemp("admin")) as made:
        made.start_web("one")
        yield made


@pytest.fixture(scope="module")
def rows(installation: Installation) -> dict[str, Any]:
    """What `admin_rows.py` has made."""
    code = (Path(__file__).parent / "admin_rows.py").read_text()
    return dict(json.loads(installation.manage("shell", "--no-imports", "-c", code).splitlines()[-1]))


@pytest.fixture
def admin(page: Page, installation: Installation, rows: dict[str, Any]) -> Page:
    address = installation.address("one")
    page.context.add_cookies([{"name": "sessionid", "value": rows["session"], "url": address}])
    page.set_viewport_size({"width": DESK["width"], "height": DESK["height"]})
    return page


def photographed(page: Page, name: str) -> None:
    if folder := os.environ.get("TASKHUB_TEST_SCREENSHOTS"):
        page.screenshot(path=Path(folder) / f"{name}.png", full_page=True)


def opened(page: Page, installation: Installation, path: str) -> None:
    database = Path(installation.env["TASKHUB_DATA_DIR"]) / "taskhub.sqlite3"
    with closing(sqlite3.connect(database, timeout=90, isolation_level=None)) as connection:
        # The process of the open streams is alive.
        now = datetime.now(UTC).replace(tzinfo=None).isoformat(" ")
        connection.execute("UPDATE taskhub_streamprocess SET reported_at = ?", [now])
    page.goto(f"{installation.address('one')}/admin/{path}")
    page.wait_for_selector("#content-main, #content, .hub-dashboard")


def test_every_list_is_looked_at() -> None:
    assert {f"{model._meta.app_label}/{model._meta.model_name}" for model in site._registry} == LISTS.keys()


@pytest.mark.parametrize("path", LISTS)
def test_a_list_fits_says_its_times_plainly_and_has_the_name_of_the_menu(
    admin: Page, installation: Installation, path: str, complaints: list[str]
) -> None:
    opened(admin, installation, f"{path}/")
    photographed(admin, path.replace("/", "-"))
    guard_last_column(admin)
    guard_times(admin)
    guard_head(admin, LISTS[path])
    assert complaints == []


def guard_last_column(page: Page) -> None:
    edges = page.evaluate(EDGES)
    assert edges["last"] <= edges["box"] + 1, edges
    assert edges["last"] <= edges["window"], edges
    assert edges["page"] <= edges["window"], edges


def guard_times(page: Page) -> None:
    """Plain, and the head names their zone."""
    cells = page.evaluate(CELLS)
    assert cells["lines"], "without a row there is nothing to measure"
    times = [n for n, name in enumerate(cells["head"]) if re.search(r"\(\w+\)$", name, re.IGNORECASE)]
    for line in cells["lines"]:
        for n in times:
            assert TIME.fullmatch(line[n]), (cells["head"][n], line[n])
        assert not [cell for cell in line if OTHER_TIMES.search(cell)], line


def guard_head(page: Page, name: str) -> None:
    """Not by Django's names of apps and models."""
    head = " ".join(page.locator(".truncate.tracking-tight").all_inner_texts())
    assert name in head, head
    for internal in ("taskhub", "Taskhub", "eventstream", "Authentication", "stream process", "to change", "to view"):
        assert internal not in head
        assert internal not in page.title().replace("TaskHub", "")


def test_the_status_of_a_task_with_a_long_title_is_in_sight(admin: Page, installation: Installation) -> None:
    admin.set_viewport_size({"width": 1440, "height": 900})
    opened(admin, installation, "taskhub/task/")
    box = admin.locator("#result_list td.field-shown_status").first.bounding_box()
    assert box is not None
    assert box["x"] + box["width"] < 1000
    title = admin.locator("#result_list .field-short_title").first
    assert title.inner_text().endswith("…")
    assert len(title.locator("[title]").get_attribute("title") or "") == 190


def test_the_page_of_who_waits(admin: Page, installation: Installation, complaints: list[str]) -> None:
    opened(admin, installation, "taskhub/admissionrule/")
    waits = admin.locator(".hub-waits")
    assert "Starts are paused" in waits.inner_text()
    row = waits.locator("tbody tr")
    assert row.count() == 1
    assert "The limit of executions at once is reached" in row.inner_text()
    assert "an-agent-with-a-name-of-its-own" in row.inner_text()
    row.locator("a").first.click()
    admin.wait_for_url("**/taskhub/task/**")
    opened(admin, installation, "taskhub/admissionrule/_3Ahub/change/")
    admin.click("button[value=resume]")
    admin.wait_for_selector("text=1 of 1 not paused.")
    assert admin.locator("button[value=resume]").count() == 0
    admin.click("button[value=pause]")
    admin.fill("input[name=minutes]", "90")
    admin.click("button[name=_answered]")
    admin.wait_for_selector("text=1 of 1 paused; what runs goes on.")
    assert complaints == []


def test_an_executions_page_is_in_the_order_of_questions(
    admin: Page, installation: Installation, rows: dict[str, Any], complaints: list[str]
) -> None:
    opened(admin, installation, f"taskhub/execution/{rows['runs']['timed_out']}/change/")
    photographed(admin, "execution-ended")
    heads = [head.strip() for head in admin.locator("#content fieldset h2, #content-main h2").all_inner_texts()]
    assert [head for head in heads if head in {"What ran", "How it went", "Inside"}] == [
        "What ran",
        "How it went",
        "Inside",
    ]
    assert admin.locator("button[value=stop]").count() == 0  # it has ended
    opened(admin, installation, f"taskhub/execution/{rows['runs']['running']}/change/")
    photographed(admin, "execution-running")
    button = admin.locator("button[value=stop]")
    colour = button.evaluate("(button) => getComputedStyle(button).backgroundColor")
    red, green, blue = (int(part) for part in re.findall(r"\d+", colour)[:3])
    assert red > 2 * max(green, blue), colour
    assert complaints == []


def test_a_sandbox_has_buttons_that_apply_and_what_it_costs(
    admin: Page, installation: Installation, rows: dict[str, Any]
) -> None:
    opened(admin, installation, "sandboxes/sandbox/")
    line = admin.locator("#result_list tr", has_text="4 CPU, 16 GiB").first.inner_text()
    assert re.search(r"\d+\s(weeks?|months?|days?)", line), line
    opened(admin, installation, f"sandboxes/sandbox/{rows['sandbox'].replace('-', '_2D')}/change/")
    photographed(admin, "sandbox")


def test_the_dashboard_tells_good_from_bad_and_its_axes_have_ticks(
    admin: Page, installation: Installation, complaints: list[str]
) -> None:
    opened(admin, installation, "")
    photographed(admin, "dashboard")
    borders = admin.evaluate(
        "() => ['.hub-good', '.hub-bad'].map((name) => getComputedStyle(document.querySelector(name)).borderColor)"
    )
    assert borders[0] != borders[1]
    failing = admin.locator(".hub-figures > div", has_text="Webhooks failing now")
    assert "hub-bad" in (failing.get_attribute("class") or "")
    ran = admin.locator("section", has=admin.locator("h2", has_text="How long executions took"))
    assert {"Mean", "p50", "p95"} <= set(ran.locator("th").all_inner_texts())
    picture = admin.locator("section", has=admin.locator("h2", has_text="Finished executions by outcome"))
    assert picture.locator(".hub-scale span").count() == 3
    assert picture.locator(".hub-ends span").count() == 5
    assert complaints == []


def test_a_list_is_filtered_by_days_that_a_person_picks(admin: Page, installation: Installation) -> None:
    opened(admin, installation, "taskhub/task/?created_at_from=2020-01-01&created_at_to=2020-01-02")
    assert "No row matches." in admin.locator("#content-main").inner_text()
    photographed(admin, "nothing-matches")
    opened(admin, installation, "taskhub/task/")
    admin.locator("a", has_text="Filters").first.click()
    admin.locator("input[name=created_at_from]").fill("2020-01-01")
    admin.locator("input[name=assignee]").fill("an-agent-with-a-name-of-its-own-and-its-machine")
    photographed(admin, "filters")
    admin.locator("#changelist-filter button[type=submit], #changelist-filter-form button").first.click()
    admin.wait_for_url("**created_at_from=2020-01-01**")
    assert admin.locator("#result_list .field-short_title").count() == 5
