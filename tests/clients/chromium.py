"""Pages in Chromium: `python chromium.py <url> …`. Prints `<number of the page>\\t<console line>`."""

from __future__ import annotations

import sys
from functools import partial

from playwright.sync_api import ConsoleMessage, sync_playwright


def told(number: int, message: ConsoleMessage) -> None:
    print(f"{number}\t{message.text}", flush=True)


def main(urls: list[str]) -> None:
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path="/usr/bin/chromium", args=["--no-sandbox"])
        # The certificate of the tests vouches for itself.
        context = browser.new_context(ignore_https_errors=True)
        for number, url in enumerate(urls):
            page = context.new_page()
            page.on("console", partial(told, number))
            page.goto(url)
        page.wait_for_timeout(3_600_000)


if __name__ == "__main__":
    main(sys.argv[1:])
