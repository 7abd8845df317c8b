"""The example pages of both specs, and `test_sse.html` from a file, in Chromium and Firefox.

From another port of this machine they work as written (spec 000's relative address with the hub's in front); from a
file and from another origin with a ticket in the address as well.
"""

from __future__ import annotations

import os
import shutil
import sys
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import httpx

from tests.clients.environments import HERE, NPM, node
from tests.clients.pages import serving
from tests.clients.targets import PATIENCE_S, Target
from tests.processes import ROOT, Process, wait_until
from tests.spec_examples import SPEC_000_ADDRESS, SPEC_000_BROWSER, SPEC_003_ADDRESS, SPEC_003_BROWSER

# The console of Firefox shows an object without its fields.
_PAGE: Final = """<!doctype html>
<title>An example of the specs</title>
<script>
  const { log } = console;
  console.log = (...said) => log(...said.map((one) => (typeof one === "object" ? JSON.stringify(one) : one)));
</script>
<script>
%s</script>
"""


@dataclass(frozen=True)
class Case:
    """A page, and what it says at once, and after a task was created."""

    name: str
    url: str
    first: tuple[str, ...]
    then: str


def check(targets: list[Target], scratch: Path) -> int:
    """Returns how many pages were opened in each browser. Raises AssertionError."""
    scratch.mkdir()
    pages: dict[str, str] = {}
    with ExitStack() as stack:
        loopback = stack.enter_context(serving("127.0.0.1", pages))
        elsewhere = stack.enter_context(serving("127.0.0.2", pages))
        clients = {target.name: stack.enter_context(target.client()) for target in targets}
        places = {"another port": loopback, "another origin": elsewhere, "a file": scratch.as_uri()}
        cases = [case for target in targets for case in _cases(target, clients[target.name], places, pages)]
        for path, text in pages.items():
            (scratch / path.lstrip("/")).write_text(text, encoding="utf-8")
        browsers = [_browse(browser, cases, scratch, stack) for browser in ("chromium", "firefox")]
        for browser in browsers:
            for number, case in enumerate(cases):
                for words in case.first:
                    _wait(browser, number, case, words)
        made = {
            name: client.post("/api/tasks/", json={"title": "seen"}).json()["id"] for name, client in clients.items()
        }
        assert len(made) == len(targets)
        for browser in browsers:
            for number, case in enumerate(cases):
                _wait(browser, number, case, case.then)
    return len(cases)


def _cases(target: Target, client: httpx.Client, places: dict[str, str], pages: dict[str, str]) -> Iterator[Case]:
    sandbox = client.post("/api/sandboxes/", json={}).json()["id"]
    events, status = (
        {"kind": "events"},
        {"kind": "sse", "params": {"sandboxId": sandbox, "eventType": "sandbox-status"}},
    )
    for where, origin in places.items():
        openly = where == "another port" and target.open_reading
        address = f"{target.address}/api/events/stream" if openly else _ticket(client, events)
        path = _put(pages, SPEC_003_BROWSER.replace(SPEC_003_ADDRESS, address))
        name = f"{target.name}, {where}"
        yield Case(f"spec 003, {name}", f"{origin}{path}", ('"event":"connected"',), '"event":"task_created"')
        named = SPEC_000_ADDRESS.replace("your-sandbox-id", sandbox)
        address = f"{target.address}{named}" if openly else _ticket(client, status)
        path = _put(pages, SPEC_000_BROWSER.replace(SPEC_000_ADDRESS, address))
        first = ("Connected to SSE stream", "Sandbox status: {")
        yield Case(f"spec 000, {name}", f"{origin}{path}", first, f'"sandboxId":"{sandbox}"')
    file = (ROOT / "test_sse.html").as_uri()
    address = f"{file}#{_ticket(client, events)}"
    yield Case(f"test_sse.html, {target.name}", address, ('"event":"connected"',), '"event":"task_created"')


def _ticket(client: httpx.Client, body: dict[str, object]) -> str:
    return str(client.post("/api/tickets/", json=body).json()["url"])


def _put(pages: dict[str, str], script: str) -> str:
    path = f"/example-{len(pages)}.html"
    pages[path] = _PAGE % script
    return path


def _browse(browser: str, cases: list[Case], scratch: Path, stack: ExitStack) -> Process:
    urls = [case.url for case in cases]
    command = [sys.executable, str(HERE / "chromium.py"), *urls]
    if browser == "firefox":
        profile = scratch / "firefox"
        profile.mkdir()
        command = [node(), str(NPM / "firefox.mjs"), str(shutil.which("firefox-esr")), str(profile), *urls]
    process = Process(command, {**os.environ, "PYTHONUNBUFFERED": "1", "HOME": str(scratch)})
    stack.callback(process.end)
    return process


def _wait(browser: Process, number: int, case: Case, words: str) -> None:
    def said() -> bool:
        return any(line.startswith(f"{number}\t") and words in line for line in browser.output)

    try:
        wait_until(said, f"{case.name}: {words}", PATIENCE_S)
    except AssertionError as error:
        raise AssertionError(f"{error}\n" + "\n".join(browser.output[-20:])) from None
