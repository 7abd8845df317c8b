"""How tests use the log on a task's page: lines that are in the page, and lines that a person sees."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from live_client import HubClient

from tests.processes import RunningHub

if TYPE_CHECKING:
    from playwright.sync_api import Page

ODD: Final = r"12345s/.*/ValueError: it does not work/; 7000s/.*/\x1b[31mred\x1b[0mdish/"
LONG: Final = f"seq -f 'line %.0f' 20000 | sed -e '{ODD}'"
"""20,000 lines, three of them odd."""
ROWS: Final = 160
"""More are never in the page: those in view, and 30 above and below."""
WAIT: Final = "until [ -e ~/go ]; do sleep 0.05; done"


def rows(page: Page) -> int:
    return page.locator("#log .row").count()


def numbers(page: Page) -> list[int]:
    return [int(text) for text in page.locator("#log .number").all_text_contents()]


def in_view(page: Page, n: int) -> None:
    """Wait until line `n` is read, and is where a person sees it."""
    page.wait_for_function(
        """n => {
            const log = document.getElementById("log").getBoundingClientRect();
            const row = [...document.querySelectorAll("#log .row:not([data-missing])")]
                .find(each => each.querySelector(".number").textContent === String(n));
            const place = row?.getBoundingClientRect();
            return place && place.top >= log.top - 1 && place.bottom <= log.bottom + 1;
        }""",
        arg=n,
    )


def in_order(page: Page) -> None:
    found = numbers(page)
    assert found == list(range(found[0], found[-1] + 1))
    assert len(found) <= ROWS


def let_go(hub: RunningHub, client: HubClient, task_id: str) -> None:
    sandbox = client.wait_for_step(task_id, "started")["sandbox_id"]
    (hub.data_dir / "sandboxes" / sandbox / "home" / "go").touch()
