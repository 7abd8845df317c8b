"""Pages in Firefox."""

from __future__ import annotations

import json

import pytest
from firefox import Firefox
from live_client import HubClient
from log_page import ODD, ROWS, WAIT, let_go

from tests.processes import RunningHub, wait_until

pytestmark = pytest.mark.browser

SHOWN = """[...document.querySelectorAll("#log .row:not([data-missing])")].some(row => {
    const [place, view] = [row.getBoundingClientRect(), document.getElementById("log").getBoundingClientRect()];
    return row.querySelector(".text").textContent === %s
        && place.top >= view.top - 1 && place.bottom <= view.bottom + 1;
})"""


def shown_in(firefox: Firefox, text: str) -> None:
    firefox.wait_for(SHOWN % json.dumps(text))


def open_signed_in(firefox: Firefox, hub: RunningHub, page: str) -> None:
    """Open a page with a session that its token has begun."""
    firefox.open(f"{hub.address}/login/")
    # Not submitted: what waits in a page that is left is never answered.
    sent = """(async () => {
        const form = new FormData(document.querySelector("form[action$='/token/']"));
        form.set("token", %s);
        return (await fetch("/login/token/", {method: "POST", body: form})).ok;
    })()"""
    assert firefox.evaluate(sent % json.dumps(hub.token))
    firefox.open(hub.address + page)
    firefox.wait_for("document.querySelector('#state')?.dataset.state === 'connected'")


def test_firefox_opens_searches_and_follows_a_log(firefox: Firefox, hub: RunningHub, client: HubClient) -> None:
    task_id = client.create_task("in Firefox")
    client.execute(task_id, f"seq -f 'line %.0f' 20000 | sed -e '{ODD}'; {WAIT}; echo the end")
    client.wait_for_step(task_id, "started")
    wait_until(lambda: [line["n"] for line in client.log(task_id, 1)] == [20_000], "all lines are there")
    firefox.open(f"{hub.address}/tasks/{task_id}/")
    shown_in(firefox, "line 20000")
    assert firefox.evaluate("document.querySelectorAll('#log .row').length") <= ROWS
    let_go(hub, client, task_id)
    shown_in(firefox, "the end")
    firefox.evaluate("document.getElementById('log').focus()")
    firefox.press("Home")
    shown_in(firefox, "line 1")
    firefox.press("/", *"LINE 777")
    firefox.wait_for("document.getElementById('found').value === '1 of 11'")
    shown_in(firefox, "line 777")
    firefox.press("Enter")
    shown_in(firefox, "line 7770")
    firefox.press("Shift+Enter")
    shown_in(firefox, "line 777")
    firefox.evaluate("document.getElementById('first-error').click()")
    shown_in(firefox, "ValueError: it does not work")
    firefox.press("Escape", "End")
    shown_in(firefox, "the end")
    firefox.open(f"{hub.address}/tasks/{task_id}/#L120")
    shown_in(firefox, "line 120")
    copied = """(() => {
        const texts = [...document.querySelectorAll("#log .text")];
        const at = texts.findIndex(text => text.textContent === "line 120");
        getSelection().setBaseAndExtent(texts[at].firstChild, 5, texts[at + 2].firstChild, 6);
        const event = new ClipboardEvent("copy", {bubbles: true, clipboardData: new DataTransfer()});
        texts[at].dispatchEvent(event);
        return event.clipboardData.getData("text/plain");
    })()"""
    assert firefox.evaluate(copied) == "120\nline 121\nline 1"
    assert firefox.complaints == []


def test_firefox_changes_runs_and_answers_a_task(firefox: Firefox, hub: RunningHub, client: HubClient) -> None:
    description = "- [ ] a box\n- [ ] another\n\n```bash\necho ran in Firefox\n```"
    task_id = client.create_task("worked on in Firefox", description=description, tags=["one", "two"])
    open_signed_in(firefox, hub, f"/tasks/{task_id}/")
    focused = "document.activeElement.textContent.includes(%s)"
    # Choices: gone through by arrows, left by Escape; the focus goes back to what opened them.
    firefox.click("#status-property > button")
    firefox.wait_for("document.activeElement.matches('.choice')")
    firefox.press("Escape")
    firefox.wait_for(focused % "'To do'")
    firefox.click("#status-property > button")
    firefox.wait_for("document.activeElement.matches('.choice')")
    firefox.press("ArrowDown")
    firefox.wait_for(focused % "'In progress'")
    firefox.click("#status-property .choices li:nth-child(2) button")
    firefox.wait_for("document.getElementById('status').textContent === 'In progress'")
    firefox.wait_for(focused % "'In progress'")
    firefox.click("#tags button")
    firefox.wait_for("document.querySelectorAll('#tags li').length === 1")
    firefox.wait_for("document.activeElement.ariaLabel === 'Remove the tag two'")
    for line in (0, 1):  # the second one while the first is being saved
        firefox.click(f"#description [data-line='{line}']")
    address = f"/api/tasks/{task_id}/"
    wait_until(lambda: client.http.get(address).json()["description"].count("[x]") == 2, "both boxes are ticked")
    # A run, from the dialog to its log and its script.
    firefox.click("#run")
    firefox.wait_for("document.querySelector('#run-dialog').open")
    firefox.click("#run-form .primary")
    shown_in(firefox, "ran in Firefox")
    firefox.wait_for("document.querySelector('#executions strong')?.textContent === 'completed'")
    firefox.click("#run-facts summary")
    firefox.wait_for("document.getElementById('run-script').textContent.includes('ran in Firefox')")
    firefox.click("#run-facts summary")
    firefox.wait_for("!document.getElementById('run-facts').open")
    # A question is answered by a press on one of its choices.
    question = {"kind": "question", "text": "Which *region*?", "options": ["eu", "us"]}
    client.http.post(f"/api/tasks/{task_id}/notes/", json=question).raise_for_status()
    firefox.click("#answer-options button")
    firefox.wait_for("document.querySelector('#timeline .answers')?.textContent.includes('eu')")
    assert firefox.evaluate("document.activeElement.id") == "title"  # not lost with the box
    assert firefox.complaints == []


def test_firefox_moves_selects_and_finds_cards_by_the_keyboard(
    firefox: Firefox, hub: RunningHub, client: HubClient
) -> None:
    for n in range(2):
        client.create_task(f"foxy {n}")
    open_signed_in(firefox, hub, "/?q=foxy")
    firefox.wait_for("document.querySelectorAll('#board .card').length === 2")
    of_card = "document.activeElement.closest('section')?.dataset.status === '%s'"
    firefox.press_on("#main", "j")
    firefox.wait_for(of_card % "todo")
    firefox.press("Shift+ArrowRight")
    firefox.wait_for("document.querySelectorAll('[data-status=inprogress] .card').length === 1")
    firefox.wait_for(of_card % "inprogress")
    firefox.wait_for("document.querySelector('#toasts .toast') !== null")  # the move has been saved
    firefox.press("z")
    firefox.wait_for("document.querySelectorAll('[data-status=todo] .card').length === 2")
    firefox.press("m")
    firefox.wait_for("document.getElementById('card-dialog').open")
    firefox.press("Escape")
    firefox.wait_for(of_card % "todo")
    firefox.press("x")
    firefox.wait_for("document.getElementById('bulk-count').textContent === '1 task selected'")
    firefox.press("Escape")
    firefox.wait_for("document.getElementById('bulk').hidden")
    firefox.press("Control+k", *"foxy 0")
    firefox.wait_for("document.querySelector('.palette [aria-selected=true]')?.textContent.startsWith('foxy 0')")
    firefox.press("Enter")
    firefox.wait_for("document.getElementById('title')?.textContent === 'foxy 0'")
    assert firefox.complaints == []
