"""`/sse-demo.html` in a real browser, under the strict policy of `demo_page`."""

from __future__ import annotations

import os
import re
import signal
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

import pytest
from demo_page import LEAST_CONTRAST, Demo, make_sandbox, serve_strictly
from live_client import HubClient

from tests.processes import RunningHub

if TYPE_CHECKING:
    from pathlib import Path

    from playwright.sync_api import Page, Route

pytestmark = pytest.mark.browser

MANY = "for n in $(seq 1000); do echo line $n; done; while [ ! -e go ]; do sleep 0.1; done; echo the end"


@pytest.fixture
def demo(page: Page, client: HubClient) -> Demo:
    serve_strictly(page)
    return Demo(page, client)


@pytest.fixture
def sandbox_id(client: HubClient) -> Iterator[str]:
    made = make_sandbox(client)
    yield made
    client.http.delete(f"/api/sandboxes/{made}/")


def test_page_shows_a_sandbox_from_its_creation_to_its_end(demo: Demo, complaints: list[str]) -> None:
    demo.open()
    demo.use_token()
    demo.page.fill("#name", "from-the-page")
    demo.find("Create").click()
    demo.wait_for_sandbox("started")
    demo.wait_for_state("status", "connected")
    demo.wait_for_state("sessions", "connected")
    assert "from-the-page" in demo.page.locator("#sandbox option:checked").inner_text()
    assert re.search(r"\?sandboxId=[0-9a-f-]{36}\Z", demo.page.url)
    demo.find("Stop").click()
    demo.wait_for_sandbox("stopped")
    demo.find("Start").click()
    demo.wait_for_sandbox("started")
    demo.find("Delete …").click()
    demo.page.get_by_role("dialog").get_by_role("button", name="Delete").click()
    demo.wait_for_sandbox("destroyed")
    demo.wait_for_state("status", "ended", "the sandbox was deleted")
    demo.wait_for_state("sessions", "ended", "the sandbox was deleted")
    assert complaints == []


def test_thousand_lines_appear_all_once_and_in_order(demo: Demo, sandbox_id: str, complaints: list[str]) -> None:
    demo.show(sandbox_id)
    demo.run(MANY)
    demo.wait_for_line("line 1000")
    assert demo.page.locator('#log-stream [data-state="connected"]').count() == 1
    demo.run_elsewhere("touch go")
    demo.wait_for_end("Ended with exit code 0 after 1,001 lines.")
    demo.wait_for_line("the end")
    assert demo.lines() == [f"line {n}" for n in range(1, 1001)] + ["the end"]
    numbers = demo.page.locator("#log .number").all_text_contents()
    assert numbers == [str(n) for n in range(1, 1002)]
    demo.wait_for_state("log", "ended", "the command has ended")
    demo.page.wait_for_selector('#command option:checked:has-text("exit 0: for n in")', state="attached")
    # It follows the end.
    assert demo.page.evaluate("log.scrollHeight - log.scrollTop - log.clientHeight") < 8
    # Again, from the start.
    demo.find("Connect log").click()
    demo.page.wait_for_selector("#log > :nth-child(1001)")
    assert demo.page.locator("#count").inner_text() == "1,001 lines"
    assert complaints == []


def test_long_log_keeps_the_page_small(demo: Demo, sandbox_id: str, complaints: list[str]) -> None:
    demo.show(sandbox_id)
    demo.run("seq 50000")
    demo.wait_for_end("after 50,000 lines.")
    demo.wait_for_line("50000")
    shown = demo.lines()
    assert 1000 <= len(shown) <= 3000
    assert shown == [str(n) for n in range(50_001 - len(shown), 50_001)]
    assert demo.page.locator("#count").inner_text() == "50,000 lines"
    whole = demo.page.get_by_role("link", name="The whole log").get_attribute("href")
    assert demo.client.http.get(str(whole)).json()["stdout"].count("\n") == 50_000
    demo.page.wait_for_selector("#raw > :nth-child(200)", state="attached")
    assert demo.page.locator("#raw > li").count() == 200
    assert complaints == []


def test_pause_clear_and_copy(demo: Demo, sandbox_id: str, complaints: list[str]) -> None:
    demo.page.context.grant_permissions(["clipboard-read", "clipboard-write"])
    demo.show(sandbox_id)
    demo.run("echo one; echo two; while [ ! -e go ]; do sleep 0.1; done; seq 3 5; sleep 1; echo six")
    demo.wait_for_line("two")
    demo.find("Copy").click()
    demo.page.wait_for_selector('#copied:has-text("Copied 2 lines.")')
    assert demo.page.evaluate("navigator.clipboard.readText()") == "one\ntwo\n"
    demo.find("Pause").click()
    demo.run_elsewhere("touch go")
    demo.page.wait_for_selector('#count:text-is("6 lines, 4 waiting")')
    assert demo.lines() == ["one", "two"]
    demo.find("Clear").click()
    assert demo.lines() == []
    demo.find("Resume").click()
    demo.wait_for_line("six")
    assert demo.lines() == ["3", "4", "5", "six"]
    assert complaints == []


def test_stderr_and_colours_are_told_apart(demo: Demo, sandbox_id: str, complaints: list[str]) -> None:
    demo.show(sandbox_id)
    demo.run(
        r"printf 'plain \033[1;31mred\033[0m \033[7mturned\033[27m\033]0;title\007 <b>no tag</b>\n'; "
        "echo broken >&2; exit 3"
    )
    demo.wait_for_end("Ended with exit code 3 after 2 lines.")
    demo.wait_for_line("broken")
    out = demo.page.locator("#log [data-stream=stdout]")
    assert out.locator(".text").inner_text() == "plain red turned <b>no tag</b>"
    assert out.locator(".bold.colour-1").inner_text() == "red"
    assert out.locator(".inverse.ground-7").inner_text() == "turned"
    assert out.locator(".source").inner_text() == ""
    assert demo.page.locator("#log [data-stream=stderr] .source").inner_text() == "err"
    assert complaints == []


def test_shared_address_shows_the_same(demo: Demo, sandbox_id: str, complaints: list[str]) -> None:
    demo.show(sandbox_id)
    demo.run("echo shared")
    demo.wait_for_end("Ended")
    address = demo.page.url
    demo.page.goto("about:blank")
    demo.page.goto(address)
    demo.wait_for_line("shared")
    for stream, state in {"status": "connected", "sessions": "connected", "log": "ended"}.items():
        demo.wait_for_state(stream, state)
    demo.page.wait_for_selector('#session option:checked:has-text("(1)")', state="attached")
    demo.page.wait_for_selector('#command option:checked:has-text("echo shared")', state="attached")
    demo.page.wait_for_selector("#raw li[data-event=log-complete]")
    demo.page.select_option("#session", "")
    assert demo.page.url.endswith(f"?sandboxId={sandbox_id}")
    assert demo.lines() == []
    assert complaints == []


def test_disconnect_and_connect(demo: Demo, sandbox_id: str, complaints: list[str]) -> None:
    demo.show(sandbox_id)
    demo.run("echo before; while [ ! -e go ]; do sleep 0.1; done; echo after; sleep 60")
    demo.wait_for_line("before")
    demo.find("Disconnect log").click()
    demo.wait_for_state("log", "offline")
    demo.run_elsewhere("touch go")
    demo.find("Connect log").click()
    demo.wait_for_line("after")
    assert demo.lines() == ["before", "after"]  # it went on where it was
    assert complaints == []


def test_refused_writes_are_explained(demo: Demo, sandbox_id: str) -> None:
    demo.open(f"?sandboxId={sandbox_id}")
    demo.find("Stop").click()
    problem = demo.page.locator("#sandbox-problem")
    problem.wait_for()
    assert "Send Authorization: Bearer <token>" in problem.inner_text()
    assert "Enter an API token under Access." in problem.inner_text()
    demo.page.fill("#token", "0" * 64)
    demo.find("Use token").click()
    demo.page.wait_for_selector('#access-problem:has-text("token")')
    demo.use_token()
    demo.find("Start").click()
    demo.page.wait_for_selector("#sandbox-problem", state="hidden")
    demo.find("Stop").click()
    demo.wait_for_sandbox("stopped")
    demo.run("echo too late")
    demo.page.wait_for_selector("#sessions-problem:visible")
    assert "is it started" in demo.page.locator("#sessions-problem").inner_text()


def test_refused_stream_is_explained(demo: Demo) -> None:
    demo.open("?sandboxId=nobody-knows-it")
    demo.wait_for_state("status", "offline", "Refused: Sandbox not found.")
    demo.wait_for_state("sessions", "offline", "Refused: Sandbox not found.")


def test_page_comes_back_when_the_server_says(demo: Demo, sandbox_id: str) -> None:
    """A stream that is renewed, one that is refused for the moment, and then one that works."""
    busy = '{"error": {"code": "too_many_streams", "message": "No more streams now."}}'
    recycled = 'event: disconnected\ndata: {"reason": "recycled", "reconnect_in_ms": 1500}\n\n'
    answers: list[dict[str, Any]] = [{"content_type": "text/event-stream", "body": recycled}]
    # The page is refused, and asks once more to learn why.
    answers += 2 * [{"status": 503, "headers": {"Retry-After": "2"}, "body": busy}]

    def answer(route: Route) -> None:
        if answers:
            route.fulfill(**answers.pop(0))
        else:
            route.continue_()

    demo.page.route("**/sse?eventType=sandbox-status*", answer)
    demo.open(f"?sandboxId={sandbox_id}")
    demo.wait_for_state("status", "reconnecting", "The server renews the stream. Trying again in 2 s.")
    demo.wait_for_state("status", "reconnecting", "No more streams now. Try again in 2 s.")
    demo.wait_for_state("status", "connected")
    demo.wait_for_sandbox("started")
    assert answers == []


def test_signed_in_people_need_no_token(demo: Demo, complaints: list[str]) -> None:
    said = next(line for line in demo.client.hub.process.output if "Operator account" in line)
    password = re.search(r"password: (\S+)", said)
    assert password is not None
    demo.page.goto(f"{demo.client.address}/login/?next=/")
    demo.page.get_by_label("Account").fill("operator")
    demo.page.get_by_label("Password").fill(password[1])
    demo.page.get_by_role("button", name="Sign in").click()
    demo.page.wait_for_url(f"{demo.client.address}/")
    demo.open()
    demo.page.wait_for_selector('text="Signed in as"')
    assert demo.page.locator("#token").count() == 0
    demo.find("Create").click()
    demo.wait_for_sandbox("started")
    demo.find("Delete …").click()
    demo.page.get_by_role("dialog").get_by_role("button", name="Delete").click()
    demo.wait_for_state("status", "ended")
    assert complaints == []


def test_death_of_the_web_process_loses_nothing(page: Page, fragile_hub: RunningHub, fragile_client: HubClient) -> None:
    serve_strictly(page)
    demo = Demo(page, fragile_client)
    demo.show(make_sandbox(fragile_client))
    demo.run("echo one; while [ ! -e go ]; do sleep 0.1; done; echo two")
    demo.wait_for_line("one")
    os.kill(fragile_hub.child_pid("uvicorn"), signal.SIGKILL)
    demo.wait_for_state("log", "reconnecting", "Trying again in")
    demo.wait_for_state("log", "connected")
    demo.run_elsewhere("touch go")
    demo.wait_for_end("Ended with exit code 0 after 2 lines.")
    demo.wait_for_line("two")
    assert demo.lines() == ["one", "two"]
    demo.wait_for_state("status", "connected")


def test_silent_sandbox_service_is_told_in_words(
    page: Page, fragile_hub: RunningHub, fragile_client: HubClient
) -> None:
    serve_strictly(page)
    demo = Demo(page, fragile_client)
    demo.show(make_sandbox(fragile_client))
    service = fragile_hub.child_pid("sandboxes.local")
    os.kill(service, signal.SIGSTOP)
    try:
        demo.wait_for_state("status", "connected", "The server tries again in")
        page.wait_for_selector("#raw li[data-event=error]")
    finally:
        os.kill(service, signal.SIGCONT)
    page.wait_for_selector("#status-stream .words:empty", state="attached")


def test_keyboard_is_enough(demo: Demo, complaints: list[str]) -> None:
    demo.open()
    keyboard = demo.page.keyboard

    def tab_to(name: str) -> None:
        """Forward from where the focus is, which must be seen at every stop."""
        for _ in range(40):
            keyboard.press("Tab")
            outline = demo.page.evaluate("getComputedStyle(document.activeElement).outlineStyle")
            assert outline == "solid"
            if demo.page.evaluate("document.activeElement.id || document.activeElement.innerText") == name:
                return
        raise AssertionError(f"Tab does not lead to {name!r}")

    tab_to("token")
    keyboard.type(demo.client.hub.token)
    keyboard.press("Enter")
    demo.page.wait_for_selector("#forget:focus")
    tab_to("name")
    keyboard.press("Enter")
    demo.wait_for_sandbox("started")
    tab_to("line")
    keyboard.type("seq 200; sleep 30")
    keyboard.press("Enter")
    demo.wait_for_line("200")
    tab_to("log")
    keyboard.press("Home")
    demo.find("To the end").wait_for()
    tab_to("to-end")
    keyboard.press("Enter")
    demo.find("To the end").wait_for(state="hidden")
    demo.page.wait_for_selector("#log:focus")
    demo.client.http.delete(f"/api/sandboxes/{demo.page.locator('#sandbox').input_value()}/")
    assert complaints == []


def test_structure_says_what_is_what(demo: Demo) -> None:
    demo.open()
    page = demo.page
    assert page.evaluate("document.documentElement.lang") == "en"
    for landmark in ("banner", "main", "navigation"):
        assert page.get_by_role(landmark).count() == 1, landmark  # type: ignore[arg-type]
    headings = page.locator("h1, h2, h3").evaluate_all("all => all.map(each => each.tagName + ' ' + each.innerText)")
    assert headings == ["H1 Sandboxes live", *[f"H2 {name}" for name in REGIONS]]
    for name in REGIONS:
        assert demo.find(name, "region").count() == 1, name
    assert demo.find("Log", "log").get_attribute("aria-live") == "polite"
    # Every control has a name of its own, and is large enough to be touched.
    names = page.locator("button:visible").evaluate_all("all => all.map(each => each.innerText)")
    assert len(set(names)) == len(names)
    unlabelled = page.locator("input, select").evaluate_all("all => all.filter(each => !each.labels.length).length")
    assert unlabelled == 0
    small = page.locator("button:visible, input:visible, select:visible").evaluate_all(
        "all => all.filter(each => each.getBoundingClientRect().height < 24).length"
    )
    assert small == 0
    own = "[style], style, script:not([src]):not([type='application/json']), [onclick]"  # JSON data is no script
    assert page.locator(own).count() == 0


REGIONS = ["Access", "Sandbox", "Sessions and commands", "Log", "Raw events"]


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("size", [(1280, 900), (360, 740)], ids=["desktop", "phone"])
def test_nothing_is_wider_than_the_window(
    demo: Demo, sandbox_id: str, tmp_path: Path, size: tuple[int, int], scheme: Any
) -> None:
    page = demo.page
    page.set_viewport_size({"width": size[0], "height": size[1]})
    page.emulate_media(color_scheme=scheme)
    demo.show(sandbox_id)
    demo.run(f"printf '\\033[32mgreen\\033[0m and {'x' * 500}\\n'; echo {'y' * 300} >&2; exit 1")
    demo.wait_for_end("Ended with exit code 1")
    demo.wait_for_line("y" * 300)
    page.wait_for_selector("#raw li[data-event=log-complete]")
    target = os.environ.get("TASKHUB_TEST_SCREENSHOTS", str(tmp_path))
    page.screenshot(path=f"{target}/demo-{size[0]}-{scheme}.png", full_page=True)
    assert page.evaluate("document.scrollingElement.scrollWidth <= innerWidth")
    assert page.evaluate("[log.scrollWidth <= log.clientWidth, raw.scrollWidth <= raw.clientWidth]") == [True, True]
    assert page.evaluate(LEAST_CONTRAST) >= 4.5
