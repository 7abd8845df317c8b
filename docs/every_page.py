"""Screenshots of every page: empty, usual and overfull; on a desk and a phone; light and dark.

`make screenshots` takes them with those of README (`docs/screenshots.py`).
"""

from __future__ import annotations

import html
import subprocess
import sys
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, NamedTuple

import httpx

from tests.processes import ROOT, RunningHub

if TYPE_CHECKING:
    from playwright.sync_api import Browser, Page

PAGES: Final = {
    "board": "/",
    "task": "/tasks/{task}/",
    "events": "/test_sse.html",
    "agents": "/agents/",
    "sandboxes": "/sandboxes/",
    "sandbox": "/sandboxes/{sandbox}/",
    "demo": "/sse-demo.html",
    "connect": "/connect/",
    "settings": "/settings/",
    "components": "/components/",
    "api": "/api/docs/",
    "admin": "/admin/",
    "login": "/login/",
    "used-link": "/sign-in/?token=1.used.up",
    "no-task": "/tasks/00000000-0000-4000-8000-000000000000/",
    "no-page": "/there/is/nothing",
}
KEYS: Final = {"new-task": "c", "keys": "?", "palette": "Control+k"}
"""Dialogs of the board, by what opens them."""
SIGNED_OUT: Final = ("login", "used-link")
SIZES: Final = {"desk": (1440, 900), "phone": (390, 844)}
SCHEMES: Final = ("light", "dark")
TALLEST: Final = 2600
"""Pixels of a page that are kept."""
SETTLES_MS: Final = 900
"""After the page has what it asked for: the stream's first events, fonts, pictures."""

_STYLE: Final = """\
<style>
  body { display: flex; flex-wrap: wrap; gap: 1rem; font: 13px sans-serif; }
  a { display: grid; }
  img { border: 1px solid #999; max-height: 30rem; }
</style>"""

LONG: Final = "A title that is as long as titles are allowed to be, without-any-place-to-break-it-" + "x" * 110
TITLES: Final = (
    LONG,
    "👩‍🚀🚀 Ship the release 🎉 — and tell everyone 👨‍👩‍👧‍👦",
    "إصلاح صفحة الدخول قبل نهاية الأسبوع (login.html)",
    "לתקן את דף הכניסה לפני סוף השבוע",
    "登録画面の文言を見直す。改行の位置も確かめること",
    "<b>Not bold</b> & \"quoted\" 'words'",
)
DESCRIPTION: Final = (
    """\
# What is to be done

Some *words*, a [link](https://example.com/), `code`, and a_word_that_is_long_"""
    + "y" * 120
    + """.

- [x] Find it
- [ ] Mend it
  - below it

| file | lines | what it is |
| --- | ---: | --- |
| parser.py | 1200 | the one that fails |
| a_path/that/is/long/and/longer/and/longer/still.py | 3 | another |

> A quotation, مرحبا بالعالم.

```python
for each in everything: print(each)  # a line that is longer than its place, which scrolls beside and not below """
    + "z" * 80
    + """
```
"""
)
SCRIPT: Final = r"""
for n in $(seq 400); do
  printf '\033[3%dmline %d of a log\033[0m %s\n' $((n % 8)) $n "$(printf 'w%.0s' $(seq $((n % 40 * 6))))"
done
echo 'Traceback: it failed' >&2; echo left > "a file with a name that is long and has spaces.txt"; exit 3
"""


class _Looker(NamedTuple):
    browser: Browser
    address: str
    cookies: Any


def take_every_page(browser: Browser, hub: RunningHub, folder: Path, only: str) -> None:
    """With an `index.html` that shows all side by side. `only`: the looks whose names have this part."""
    folder.mkdir(parents=True, exist_ok=True)
    cookies = _signed_in(browser, hub)
    with httpx.Client(base_url=hub.address, headers=hub.headers, timeout=90) as http:
        for state, fill in (("empty", _fill_nothing), ("usual", _fill_usual), ("overfull", _fill_overfull)):
            ids = fill(http)
            for size in SIZES:
                for scheme in SCHEMES:
                    if only not in f"{state}-{size}-{scheme}":
                        continue
                    _take(_Looker(browser, hub.address, cookies), folder, (state, size, scheme), ids)
    _write_index(folder)


def _signed_in(browser: Browser, hub: RunningHub) -> Any:
    command = [sys.executable, "-m", "config.launcher", "link"]
    link = subprocess.run(command, cwd=ROOT, env=hub.env, capture_output=True, text=True, check=True).stdout.split()[0]
    context = browser.new_context()
    context.new_page().goto(link)
    state = context.storage_state()
    context.close()
    return state


def _take(looker: _Looker, folder: Path, kind: tuple[str, str, str], ids: dict[str, str]) -> None:
    state, size, scheme = kind
    width, height = SIZES[size]
    looks: Any = {"viewport": {"width": width, "height": height}, "color_scheme": scheme}
    signed_in, signed_out = (
        looker.browser.new_context(storage_state=looker.cookies, **looks),
        looker.browser.new_context(**looks),
    )
    for name, address in PAGES.items():
        if "{" in address and not ids:
            continue
        # Who comes for the first time has not signed in.
        context = signed_out if name in SIGNED_OUT or (name == "board" and state == "empty") else signed_in
        page = context.new_page()
        _open(page, looker.address + address.format(**ids))
        _save(page, folder / f"{name}-{state}-{size}-{scheme}.png")
        page.close()
    for name, key in KEYS.items() if state != "empty" else ():
        page = signed_in.new_page()
        _open(page, looker.address + "/")
        page.keyboard.press(key)
        page.locator("dialog[open]").wait_for()
        page.screenshot(path=folder / f"{name}-{state}-{size}-{scheme}.png", animations="disabled")
        page.close()
    signed_in.close()
    signed_out.close()


def _open(page: Page, address: str) -> None:
    page.goto(address)
    page.locator("main [aria-busy=true]:not(button)").first.wait_for(state="detached")
    page.wait_for_timeout(SETTLES_MS)


def _save(page: Page, path: Path) -> None:
    tall = min(TALLEST, page.evaluate("Math.max(document.documentElement.scrollHeight, innerHeight)"))
    width = page.evaluate("innerWidth")
    page.screenshot(
        path=path, full_page=True, animations="disabled", clip={"x": 0, "y": 0, "width": width, "height": tall}
    )


def _fill_nothing(http: httpx.Client) -> dict[str, str]:  # noqa: ARG001 - as the others
    return {}


def _fill_usual(http: httpx.Client) -> dict[str, str]:
    for n, (title, priority) in enumerate(
        (("Upgrade the client", "high"), ("Translate the mails", "low"), ("Nightly report", "medium"))
    ):
        _made(http, title=title, priority=priority, tags=["backend"], assignee=f"agent-{n}")
    task = _made(
        http,
        title="Find the slow query",
        description="It is on `/orders`.\n\n- [ ] Find it\n- [ ] Mend it",
        priority="high",
    )
    _ran(http, task, "echo looking; sleep 1; echo found > found.txt; exit 3")
    _noted(http, task, kind="note", text="It is the join.")
    _noted(http, task, kind="question", text="Which index?", options=["orders", "customers"])
    sandbox = str(http.post("/api/sandboxes/", json={"name": "one-to-look-at"}).raise_for_status().json()["id"])
    session = http.post(f"/api/sandboxes/{sandbox}/sessions/", json={}).raise_for_status().json()["sessionId"]
    http.post(f"/api/sandboxes/{sandbox}/sessions/{session}/commands/", json={"command": "ls -la; echo done"})
    return {"task": task, "sandbox": sandbox}


def _fill_overfull(http: httpx.Client) -> dict[str, str]:
    for n in range(60):
        title = TITLES[n % len(TITLES)] if n % 2 else f"task {n}"
        status = ("todo", "todo", "inprogress", "review", "done")[n % 5]
        tags = [f"tag-{i}-of-many" for i in range(n % 9)]
        _made(http, title=title, tags=tags, assignee=LONG[:60] if n % 7 == 3 else f"agent-{n % 9}", status=status)
    task = _made(http, title=LONG, description=DESCRIPTION, tags=["long", "مرحبا", "🚀"] * 3, assignee="أحمد")
    for blocker in range(3):
        _made(http, title=TITLES[blocker], blocked_by=[task])
    for _ in range(3):
        _ran(http, task, SCRIPT)
    for text in (*TITLES, DESCRIPTION):
        _noted(http, task, kind="note", text=text)
    _noted(http, task, kind="question", text=LONG, options=[LONG[:90], "مرحبا بالعالم", "🚀" * 20])
    for n in range(12):
        http.post("/api/sandboxes/", json={"name": f"sandbox-{n}-{'w' * (n * 10)}"}).raise_for_status()
        agent = {"as": f"agent {n} {TITLES[n % len(TITLES)]}"[:60]}
        with suppress(httpx.HTTPStatusError):  # a name may hold what names may not
            http.post("/api/tasks/claim", json=agent).raise_for_status()
    for level, text in (
        ("info", "Tonight from ten to eleven the hub rests."),
        ("warning", LONG),
        ("critical", TITLES[2]),
    ):
        http.post("/api/announcements/", json={"text": text, "level": level}).raise_for_status()
    sandbox = str(http.get("/api/sandboxes/", params={"limit": 1}).raise_for_status().json()["items"][0]["id"])
    return {"task": task, "sandbox": sandbox}


def _made(http: httpx.Client, **fields: Any) -> str:
    return str(http.post("/api/tasks/", json=fields).raise_for_status().json()["id"])


def _ran(http: httpx.Client, task: str, script: str) -> None:
    http.post(f"/api/exec/{task}", json={"script_content": script}).raise_for_status()
    http.get(f"/api/exec/status/{task}", params={"wait_s": 50}).raise_for_status()


def _noted(http: httpx.Client, task: str, **fields: Any) -> None:
    http.post(f"/api/tasks/{task}/notes/", json=fields).raise_for_status()


def _write_index(folder: Path) -> None:
    names = sorted(path.name for path in folder.glob("*.png"))
    pictures = "".join(
        f'<a href="{html.escape(name)}"><img src="{html.escape(name)}" alt="" loading="lazy">{html.escape(name)}</a>\n'
        for name in names
    )
    (folder / "index.html").write_text(f"<!doctype html><meta charset=utf-8>{_STYLE}\n{pictures}", encoding="utf-8")
