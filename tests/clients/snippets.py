"""The snippets of docs/clients.md, run as they stand there: only what they leave open is put before them."""

from __future__ import annotations

import json
import os
import re
import sys
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Final, NamedTuple

from tests.clients.environments import HERE, NPM, node, python
from tests.clients.pages import serving
from tests.clients.targets import PATIENCE_S, Target
from tests.processes import ROOT, Process, wait_until
from tests.receiver import Received

DOCUMENT: Final = ROOT / "docs" / "clients.md"
_HEADING: Final = re.compile(r"^(#{2,3}) ([^\n]+)$|^```(\w+)\n(.*?)^```$", re.MULTILINE | re.DOTALL)


class Snippet(NamedTuple):
    """A block of code, below the last heading before it."""

    heading: str
    language: str
    code: str


class Open(NamedTuple):
    """What the snippets leave open: the address of a stream, one with a ticket, and a token."""

    url: str
    with_ticket: str
    token: str


def snippets() -> list[Snippet]:
    found, heading = [], ""
    for match in _HEADING.finditer(DOCUMENT.read_text()):
        if match[1]:
            heading = match[2]
        else:
            found.append(Snippet(heading, match[3], match[4]))
    return found


@dataclass(frozen=True)
class InNode:
    """`installed_as`: the packages it imports, and the folders of ours in which their version is."""

    installed_as: dict[str, str]


@dataclass(frozen=True)
class InPage:
    """`modules`: the packages it imports, and where the pages' server has them, as a bundler would."""

    modules: dict[str, str]
    ticket: bool = False


@dataclass(frozen=True)
class InPython:
    environment: str


@dataclass(frozen=True)
class InShell:
    pass


STREAMS: Final[dict[str, InNode | InPage | InPython | InShell]] = {
    "EventSource": InPage({}, ticket=True),
    "eventsource 2 (Node.js)": InNode({"eventsource": "eventsource-2"}),
    "eventsource 4 (Node.js)": InNode({"eventsource": "eventsource-4"}),
    "eventsource-client": InNode({"eventsource-client": "eventsource-client"}),
    "eventsource-parser": InNode({"eventsource-parser": "eventsource-parser"}),
    "@microsoft/fetch-event-source": InPage({"@microsoft/fetch-event-source": "/fetch-event-source/index.js"}),
    "event-source-polyfill": InPage({"event-source-polyfill": "/event-source-polyfill.mjs"}),
    "sse.js": InPage({"sse.js": "/sse.js/lib/sse.js"}, ticket=True),
    "httpx-sse": InPython("httpx-sse"),
    "sseclient": InPython("sseclient"),
    "sseclient-py": InPython("sseclient-py"),
    "aiohttp-sse-client2": InPython("aiohttp-sse-client2"),
    "launchdarkly-eventsource": InPython("launchdarkly-eventsource"),
    "requests": InPython("requests"),
    "aiohttp": InPython("aiohttp"),
    "curl": InShell(),
}
"""How the snippet below each heading is run."""
WEBHOOKS: Final = "Webhooks"
# It has no module for browsers; a bundler makes one of it.
_POLYFILL: Final = """import "/event-source-polyfill/src/eventsource.js";
export const { EventSourcePolyfill } = globalThis;
"""
_PAGE: Final = """<!doctype html>
<script type="importmap">%s</script>
<script type="module">
const URL = %s, token = %s;
%s</script>
"""


def check(target: Target, scratch: Path) -> int:
    """Every snippet of a stream prints `connected`, and a task that is created then. Raises AssertionError."""
    scratch.mkdir()
    pages = {"/event-source-polyfill.mjs": _POLYFILL}
    with ExitStack() as stack:
        http = stack.enter_context(target.client())
        origin = stack.enter_context(serving("127.0.0.2", pages))
        ticket = http.post("/api/tickets/", json={"kind": "events"}).json()["url"]
        given = Open(f"{target.address}/api/events/stream", ticket, target.headers["Authorization"].split()[1])
        env = {**os.environ, **target.trust, "PYTHONUNBUFFERED": "1", "HOME": str(scratch)}

        def run(command: list[str], **more: str) -> Process:
            process = Process(command, {**env, **more})
            stack.callback(process.end)
            return process

        said: dict[str, Callable[[], str]] = {}
        urls: dict[str, str] = {}
        for number, snippet in enumerate(each for each in snippets() if each.heading in STREAMS):
            how = STREAMS[snippet.heading]
            if isinstance(how, InPage):
                pages[f"/snippet-{number}.html"] = _page(snippet, how, given)
                urls[snippet.heading] = f"{origin}/snippet-{number}.html"
            else:
                folder = scratch / str(number)
                folder.mkdir()
                process = run(_command(snippet, how, given, folder), URL=given.url, TOKEN=given.token)
                said[snippet.heading] = lambda process=process: "\n".join(process.output)  # type: ignore[misc]
        chromium = run([sys.executable, str(HERE / "chromium.py"), *urls.values()])
        for number, heading in enumerate(urls):
            said[heading] = lambda number=number: _of_page(chromium, number)  # type: ignore[misc]
        _wait_for(said, "connected")
        http.post("/api/tasks/", json={"title": "seen by every snippet"}).raise_for_status()
        _wait_for(said, "task_created")
    return len(said)


def check_webhooks(request: Received, secret: str, scratch: Path) -> None:
    """The snippets about webhooks verify what the hub has sent. Raises AssertionError."""
    headers = {name: value for name, value in request.headers.items() if name.startswith("webhook-")}
    given = {"secret": secret, "body": request.body, "headers": headers}
    for snippet in (each for each in snippets() if each.heading == WEBHOOKS):
        folder = scratch / f"webhook-{snippet.language}"
        folder.mkdir(parents=True)
        if snippet.language == "python":
            before = "".join(f"{name} = {value!r}\n" for name, value in given.items())
            program = _written(folder / "snippet.py", before + snippet.code)
            process = Process([python("webhooks"), program], os.environ)
        else:
            (folder / "node_modules").symlink_to(NPM / "node_modules")
            before = "".join(f"const {name} = {json.dumps(value)};\n" for name, value in given.items())
            process = Process([node(), _written(folder / "snippet.mjs", before + snippet.code)], os.environ)
        try:
            assert process.wait(120) == 0, process.output
            assert process.output[0].startswith("task_created "), process.output
        finally:
            process.end()


def _command(snippet: Snippet, how: InNode | InPython | InShell, given: Open, folder: Path) -> list[str]:
    if isinstance(how, InShell):
        return ["sh", "-c", snippet.code]
    if isinstance(how, InPython):
        before = f"URL = {given.url!r}\ntoken = {given.token!r}\n"
        return [python(how.environment), _written(folder / "snippet.py", before + snippet.code)]
    (folder / "node_modules").mkdir()
    for package, installed in how.installed_as.items():
        (folder / "node_modules" / package).symlink_to(NPM / "node_modules" / installed)
    before = f"const URL = {json.dumps(given.url)}, token = {json.dumps(given.token)};\n"
    return [node(), _written(folder / "snippet.mjs", before + snippet.code)]


def _written(path: Path, text: str) -> str:
    path.write_text(text, encoding="utf-8")
    return str(path)


def _page(snippet: Snippet, how: InPage, given: Open) -> str:
    url = given.with_ticket if how.ticket else given.url
    return _PAGE % (json.dumps({"imports": how.modules}), json.dumps(url), json.dumps(given.token), snippet.code)


def _of_page(browser: Process, number: int) -> str:
    return "\n".join(line for line in browser.output if line.startswith(f"{number}\t"))


def _wait_for(said: dict[str, Callable[[], str]], words: str) -> None:
    def missing() -> dict[str, str]:
        return {heading: read()[-1500:] for heading, read in said.items() if words not in read()}

    try:
        wait_until(lambda: not missing(), words, PATIENCE_S)
    except AssertionError:
        raise AssertionError(f"the snippets below these headings do not print {words}: {missing()}") from None
