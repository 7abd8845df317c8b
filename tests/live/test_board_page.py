"""The live board in a real browser: what others do moves by itself, and what one may, one does."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from hub_pages import (
    PASSWORD,
    Board,
    TaskPage,
    fetched,
    make_account,
    manage,
    new_context,
    pressed,
    set_hidden,
    sign_in,
    tab_to,
    use_token,
    wait_for_stream,
)
from live_client import HubClient

from tests.processes import RunningHub

if TYPE_CHECKING:
    from collections.abc import Iterator

    from playwright.sync_api import Browser, Page

pytestmark = pytest.mark.browser


@pytest.fixture
def other(chromium: Browser, complaints: list[str]) -> Iterator[Page]:
    """Another user, on another machine."""
    context = new_context(chromium)
    page = context.new_page()
    page.on("console", lambda said: complaints.append(said.text) if said.type in {"error", "warning"} else None)
    yield page
    context.close()


@pytest.fixture(scope="module")
def accounts(hub: RunningHub) -> None:
    for role in ("viewer", "agent"):
        make_account(hub, f"board-{role}", role)


def test_two_browsers_see_each_others_changes(
    page: Page, other: Page, hub: RunningHub, client: HubClient, complaints: list[str]
) -> None:
    mine, theirs = Board(page, hub).open(), Board(other, hub).open()
    use_token(page, hub)
    mine.open()
    page.get_by_role("button", name="New task").click()
    page.locator("#new-form").get_by_label("Title").fill("seen by both")
    page.locator("#new-form [name=assignee]").fill("alice")
    page.locator("#new-form [name=priority]").select_option("high")
    page.get_by_role("button", name="Create", exact=True).click()
    card = theirs.wait_for("seen by both", "todo")
    assert card.locator(".assignee").get_attribute("title") == "alice"
    assert card.locator(".initials").inner_text() == "AL"
    assert card.locator(".priority").get_attribute("data-priority") == "high"
    use_token(other, hub)
    theirs.open()
    theirs.move("seen by both", "In progress")
    mine.wait_for("seen by both", "inprogress")
    # An execution shows on the card, with its time, and then how it ended.
    task_id = str(mine.card("seen by both").get_attribute("data-id"))
    client.execute(task_id, "read -r line < <(tail -F go 2>/dev/null)")
    for board in (mine, theirs):
        board.card("seen by both").locator(".run:not([hidden]) .elapsed:not(:empty)").wait_for()
    assert client.http.post(f"/api/exec/stop/{task_id}").status_code == 202
    for board in (mine, theirs):
        board.card("seen by both").locator('.outcome:has-text("stopped, just now")').wait_for()
        assert not board.card("seen by both").locator(".run").is_visible()
    assert client.http.delete(f"/api/tasks/{task_id}").status_code == 204
    for board in (mine, theirs):
        board.card("seen by both").wait_for(state="detached")
    assert complaints == []


def test_a_card_is_dragged_where_it_may_go(page: Page, hub: RunningHub, client: HubClient) -> None:
    client.create_task("dragged")
    board = Board(page, hub).open()
    use_token(page, hub)
    board.open("?q=dragged")
    board.card("dragged").drag_to(page.locator('section[data-status="cancelled"], section[data-status="review"]').first)
    board.wait_for("dragged", "todo")
    board.card("dragged").drag_to(page.locator('section[data-status="inprogress"]'))
    board.wait_for("dragged", "inprogress")
    assert page.url.endswith("?q=dragged"), "a drag does not open the task"
    board.card("dragged").locator(".age").click()  # which lies above the card's link
    page.wait_for_url("**/tasks/*/")
    assert [row["status"] for row in client.http.get("/api/tasks/?q=dragged").json()["results"]] == ["inprogress"]


def test_filters_are_a_part_of_the_address(page: Page, hub: RunningHub, client: HubClient) -> None:
    client.create_task("filter one", assignee="ann", priority="high", tags=["blue"])
    client.create_task("filter two", assignee="ann", priority="low")
    client.create_task("filter three", assignee="bob", priority="high")
    board = Board(page, hub).open()
    page.get_by_label("Search").fill("filter")
    board.card("filter three").wait_for()
    page.get_by_label("Assignee").first.select_option(label="ann")
    board.card("filter three").wait_for(state="detached")
    for title in ("filter one", "filter two"):  # those that match come from the server, a moment later
        board.card(title).wait_for()
    assert board.titles() == {"filter one", "filter two"}
    page.get_by_label("Priority").first.select_option("high")
    board.card("filter two").wait_for(state="detached")
    address = page.url
    assert "assignee=ann" in address
    page.goto(address)
    board.card("filter one").wait_for()
    assert board.titles() == {"filter one"}
    page.get_by_label("Search").fill("blue ann")
    # What comes later is filtered alike.
    client.create_task("filter four", assignee="ann", priority="high")
    client.create_task("filter five", assignee="ann", priority="high", tags=["blue"])
    page.get_by_label("Search").fill("")
    board.card("filter five").wait_for()
    page.get_by_role("button", name="Clear").click()
    board.card("filter three").wait_for()
    assert "?" not in page.url
    # The browser's own buttons go through the views.
    page.get_by_label("Blocked").check(force=True)
    board.card("filter three").wait_for(state="detached")
    page.go_back()
    board.card("filter three").wait_for()
    assert not page.get_by_label("Blocked").is_checked()
    page.go_forward()
    board.card("filter three").wait_for(state="detached")
    assert page.get_by_label("Blocked").is_checked()


def test_keyboard_is_enough(page: Page, hub: RunningHub, complaints: list[str]) -> None:
    board = Board(page, hub).open()
    use_token(page, hub)
    board.open()
    tab_to(page, page.get_by_role("button", name="New task"))
    page.keyboard.press("Enter")
    page.keyboard.type("by keyboard")
    page.keyboard.press("Enter")
    board.wait_for("by keyboard", "todo")
    menu = board.card("by keyboard").get_by_role("button", name="Actions for")
    tab_to(page, menu, most=400)
    page.keyboard.press("Enter")
    tab_to(page, page.locator("#moves button").first)
    page.keyboard.press("Enter")
    board.wait_for("by keyboard", "inprogress")
    # The focus went along with the card, and its title is one step before the menu; an arrow moves it further.
    page.locator(".card .menu:focus").wait_for()
    page.keyboard.press("Shift+ArrowRight")
    board.wait_for("by keyboard", "review")
    page.keyboard.press("Shift+ArrowLeft")
    board.wait_for("by keyboard", "inprogress")
    page.locator(".card .menu:focus").wait_for()
    page.keyboard.press("Shift+Tab")
    page.keyboard.press("Enter")
    page.wait_for_url("**/tasks/*/")
    wait_for_stream(page)
    tab_to(page, page.get_by_role("button", name="Run", exact=True))
    page.keyboard.press("Enter")
    page.keyboard.type("echo typed; read -r line < <(tail -F go 2>/dev/null)")
    tab_to(page, page.get_by_role("button", name="Run now"))
    page.keyboard.press("Enter")
    page.wait_for_selector('#log .text:text-is("typed")')
    page.locator("#stop:focus").wait_for()  # “Run” has gone
    page.keyboard.press("Enter")
    page.wait_for_selector('#executions strong:text-is("stopped")')
    assert complaints == []


@pytest.mark.usefixtures("accounts")
def test_a_viewer_has_no_button_that_they_may_not_press(page: Page, hub: RunningHub, client: HubClient) -> None:
    task_id = client.create_task("only looked at")
    sign_in(page, hub, "board-viewer")
    board = Board(page, hub).open()
    card = board.wait_for("only looked at", "todo")
    assert not page.get_by_role("button", name="New task").is_visible()
    assert card.get_by_role("button").count() == 0
    assert not card.get_by_role("checkbox").is_visible()
    assert not page.locator("#needs").is_visible()
    card.locator("h3 a").focus()
    pressed(page, "m", "x", "Shift+ArrowRight")
    assert not page.locator("dialog[open], #bulk:not([hidden])").count()
    assert card.get_attribute("draggable") == "false"
    # Pressing them all the same is refused.
    assert fetched(page, "POST", "/api/tasks/", {"title": "by a viewer"}) == 403
    assert fetched(page, "PUT", f"/api/tasks/status/{task_id}/", {"new_status": "inprogress"}) == 403
    page.goto(f"{hub.address}/tasks/{task_id}/")
    wait_for_stream(page)
    for name in ("Edit", "Run", "Stop", "Delete …"):
        assert not page.get_by_role("button", name=name, exact=True).is_visible()
    assert fetched(page, "POST", f"/api/exec/{task_id}/", {"script_content": "true"}) == 403
    assert fetched(page, "DELETE", f"/api/tasks/{task_id}/") == 403
    assert client.http.get(f"/api/tasks/{task_id}/").json()["status"] == "todo"


@pytest.mark.usefixtures("accounts")
def test_what_needs_the_reader_is_answered_above_the_board(page: Page, hub: RunningHub, client: HubClient) -> None:
    asked = client.create_task("asked above", assignee="board-agent")
    back = client.create_task("sent back above", assignee="board-agent")
    client.create_task("of another", assignee="bob")
    client.set_status(back, "inprogress")
    handed = {"new_status": "review", "note": "my **result**"}
    client.http.put(f"/api/tasks/status/{back}", json=handed).raise_for_status()
    sign_in(page, hub, "board-agent")
    Board(page, hub).open("?q=above")
    question = {"kind": "question", "text": "Which <b>region</b>, *please*?", "options": ["eu", "us"]}
    client.http.post(f"/api/tasks/{asked}/notes/", json=question).raise_for_status()
    item = page.locator('.need:has(a:text-is("asked above"))')
    item.filter(has_text="Which <b>region</b>, please?").wait_for()
    assert page.locator("#needs .counts").inner_text() == "1 question, 1 to review."
    item.get_by_role("button", name="Answer").click()
    item.locator(".refusal", has_text="Write an answer.").wait_for()
    assert item.locator(".text em").inner_text() == "please"
    item.get_by_label("Answer").fill("for now")
    client.create_task("meanwhile above", assignee="board-agent")
    page.locator('.card:has(a:text-is("meanwhile above"))').wait_for()
    assert page.evaluate("document.activeElement.value") == "for now"  # neither the text nor the focus is lost
    item.get_by_role("button", name="us", exact=True).press("Enter")  # it answers at once
    item.wait_for(state="detached")
    assert page.evaluate("document.activeElement.textContent") == "sent back above"
    item = page.locator('.need:has(a:text-is("sent back above"))')
    item.locator(".text", has_text="handed it in").locator("strong", has_text="result").wait_for()
    item.get_by_role("button", name="Send back").click()
    item.locator(".refusal", has_text="Write what is to be changed").wait_for()
    item.get_by_label("Remark").fill("Not yet.")
    item.get_by_role("button", name="Send back").click()
    item.wait_for(state="detached")
    said = [client.http.get(f"/api/tasks/{each}/notes/").json()["results"][0] for each in (asked, back)]
    assert [(note["kind"], note["text"]) for note in said] == [("answer", "us\n\nfor now"), ("review", "Not yet.")]
    assert client.http.get(f"/api/tasks/{back}/").json()["status"] == "todo"


def test_a_phone_shows_one_column_and_several_cards_are_moved_at_once(
    page: Page, hub: RunningHub, client: HubClient
) -> None:
    ids = [client.create_task(f"at once {n}") for n in range(2)]
    Board(page, hub).open()
    use_token(page, hub)
    page.set_viewport_size({"width": 360, "height": 740})
    board = Board(page, hub).open("?q=at+once")
    for n in range(2):
        board.card(f"at once {n}").locator("h3 a").focus()
        page.keyboard.press("x")
    page.get_by_text("2 tasks selected").wait_for()
    page.get_by_label("Move to").select_option("inprogress")
    page.locator("#toasts", has_text="2 tasks moved to In progress.").wait_for()
    assert not board.card("at once 0").is_visible()
    page.get_by_role("button", name="In progress 2").click()
    board.card("at once 0").locator("h3 a").focus()
    # Moved out of sight by another: its neighbour has the focus.
    client.set_status(ids[0], "review")
    board.card("at once 1").locator("h3 a:focus").wait_for()
    assert "column=inprogress" in page.url
    page.get_by_role("button", name="Clear selection").click()
    assert not page.locator("#bulk").is_visible()


@pytest.mark.usefixtures("accounts")
def test_who_is_not_signed_in_reads_and_who_is_works(page: Page, hub: RunningHub, client: HubClient) -> None:
    task_id = client.create_task("of a session")
    board = Board(page, hub).open()
    assert not page.get_by_role("button", name="New task").is_visible()
    assert fetched(page, "POST", "/api/tasks/", {"title": "anonymous"}) == 401
    assert fetched(page, "DELETE", f"/api/tasks/{task_id}/") == 401
    sign_in(page, hub, "board-agent")
    board.open()
    board.move("of a session", "In progress")
    board.wait_for("of a session", "inprogress")
    # Without the session's own word a write is refused, whatever cookies come with it.
    bare = page.evaluate(
        """async (id) => (await fetch(`/api/tasks/${id}/`, {method: "DELETE"})).status""",
        task_id,
    )
    assert bare == 403
    history = client.http.get(f"/api/tasks/{task_id}/history/").json()["results"]
    assert [(entry["actor"], entry["action"]) for entry in history][:1] == [("board-agent", "task:update")]
    assert PASSWORD not in page.content()


def test_an_open_board_lives_through_a_restart_and_a_lost_history(
    page: Page, own_hub: RunningHub, complaints: list[str]
) -> None:
    client = HubClient(own_hub)
    client.create_task("stays")
    gone = client.create_task("goes")
    board = Board(page, own_hub).open()
    board.wait_for("goes", "todo")
    page.evaluate("window.sameDocument = true")

    own_hub.process.end()
    wait_for_stream(page, "reconnecting")
    own_hub.start()
    own_hub.wait_ready()
    client.create_task("made in between")
    board.wait_for("made in between", "todo", timeout_ms=60_000)

    # What happened while the page was away is not kept: the stream says so, and the page reads everything anew.
    seen: list[str] = []
    page.on("request", lambda request: seen.append(request.url))
    own_hub.process.end()
    wait_for_stream(page, "reconnecting")
    manage(
        own_hub,
        f"""
from django.utils import timezone
from taskhub.events import outbox
from taskhub.services import tasks
from taskhub.auth.actor import SYSTEM
tasks.task_delete(actor=SYSTEM, task_id={gone!r})
tasks.task_create(actor=SYSTEM, title="never told")
outbox.trim(timezone.now())
""",
    )
    own_hub.start()
    own_hub.wait_ready()
    board.wait_for("never told", "todo", timeout_ms=60_000)
    board.card("goes").wait_for(state="detached")
    wait_for_stream(page)
    assert any("/api/tasks/board/?" in url for url in seen)
    assert page.evaluate("window.sameDocument")
    assert board.titles() == {"stays", "made in between", "never told"}
    # Only the lost connections were complained of, by the browser itself.
    assert [words for words in complaints if "ERR_CONNECTION_REFUSED" not in words and "net::ERR" not in words] == []
    client.http.close()


def test_a_task_that_two_move_at_once_is_moved_by_one(page: Page, hub: RunningHub, client: HubClient) -> None:
    task_id = client.create_task("moved by two")
    board = Board(page, hub).open()
    use_token(page, hub)
    board.open("?q=moved+by+two")
    set_hidden(page, is_hidden=True)  # its stream is silent: what the other does is not heard of
    client.set_status(task_id, "inprogress", assignee="bob")
    board.move("moved by two", "In progress")
    page.wait_for_selector("#problem:visible")
    assert "“moved by two” was not moved. Meanwhile operator changed " in page.locator("#problem").inner_text()
    set_hidden(page, is_hidden=False)
    board.wait_for("moved by two", "inprogress")


def test_words_of_others_are_no_markup(page: Page, hub: RunningHub, client: HubClient, complaints: list[str]) -> None:
    client.create_task("no markup <img src=x onerror=alert(1)>", assignee="<b>bob</b>", tags=["<i>tag</i>"])
    board = Board(page, hub).open("?q=no+markup")
    page.wait_for_selector(".card")
    assert board.titles() == {"no markup <img src=x onerror=alert(1)>"}
    assert page.locator("#board :is(img, b, i)").count() == 0
    assert complaints == []


def test_an_empty_column_says_what_to_do(page: Page, hub: RunningHub, client: HubClient) -> None:
    client.create_task("the only one")
    Board(page, hub).open("?q=nothing-has-these-words")
    page.wait_for_selector('[data-status="todo"] .empty:has-text("Clear shows all.")')
    page.get_by_role("button", name="Clear").click()
    page.wait_for_selector('[data-status="todo"] .empty', state="hidden")


def test_pages_beside_the_board_live_through_a_restart(page: Page, own_hub: RunningHub) -> None:
    client = HubClient(own_hub)
    task_id = client.create_task("looked at")
    monitor = page.context.new_page()
    monitor.goto(f"{own_hub.address}/test_sse.html")
    wait_for_stream(monitor)
    TaskPage(page, own_hub, task_id).open()
    own_hub.process.end()
    for each in (page, monitor):
        wait_for_stream(each, "reconnecting")
    own_hub.start()
    own_hub.wait_ready()
    client.set_status(task_id, "inprogress")
    page.wait_for_selector('#status:text-is("In progress")', timeout=60_000)
    page.wait_for_selector('#timeline > li:has-text("In progress")')
    monitor.wait_for_selector(f'#events li[data-event="task_updated"]:has-text("{task_id}")', timeout=60_000)
    client.http.close()
