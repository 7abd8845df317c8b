"""What only people do on a task's page: answer a question, release a claim, waive a blocker that came to nothing."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import httpx
import pytest
from hub_pages import PASSWORD, TaskPage, make_account
from live_client import HubClient

from tests.processes import RunningHub

if TYPE_CHECKING:
    from playwright.sync_api import Page

pytestmark = pytest.mark.browser


@pytest.fixture(scope="module")
def session(hub: RunningHub) -> str:
    """The cookie of a person who has signed in: with a token the page would be an agent."""
    make_account(hub, "paula", "agent")
    with httpx.Client(base_url=hub.address, trust_env=False) as browser:
        token = browser.get("/login/").cookies["csrftoken"]
        form = {"username": "paula", "password": PASSWORD, "csrfmiddlewaretoken": token}
        answer = browser.post("/login/", data=form, headers={"Origin": hub.address})
        assert answer.status_code == 302, answer.text
        return str(browser.cookies["sessionid"])


@pytest.fixture
def person(page: Page, hub: RunningHub, session: str) -> Page:
    page.context.add_cookies([{"name": "sessionid", "value": session, "url": hub.address}])
    return page


def post(client: HubClient, address: str, body: Any) -> Any:
    answer = client.http.post(address, json=body)
    assert answer.status_code < 300, answer.text
    return answer.json()


def notes(client: HubClient, task_id: str) -> list[tuple[str, str, int | None]]:
    found = client.http.get(f"/api/tasks/{task_id}/notes").json()["results"]
    return [(note["kind"], note["author"], note["question"]) for note in found]


def test_a_question_is_answered_by_one_of_its_options(
    person: Page, hub: RunningHub, client: HubClient, complaints: list[str]
) -> None:
    task_id = client.create_task("asked", assignee="")
    TaskPage(person, hub, task_id).open()
    assert person.locator("#asks").is_hidden()
    # The agent asks, and goes on to write more than the page shows of it at a glance, while the page is open.
    address = f"/api/tasks/{task_id}/notes?as=one"
    question = {"kind": "question", "text": "Which *region*?", "options": ["eu", "us"], "deadline_s": 3600}
    asked = post(client, address, {**question, "assumes": "us"})["id"]
    for n in range(11):
        post(client, address, {"text": f"note {n}"})
    person.locator("#question", has_text="Which region?").wait_for()
    assert person.locator("#question em").inner_text() == "region"
    assert "“us” in 59 min" in person.locator("#question").inner_text()
    assert person.locator("#needs").inner_text() == "an answer"
    assert person.locator("#question-of").inner_text().startswith("one (")
    person.get_by_role("button", name="eu", exact=True).click()  # it answers at once
    person.locator("#asks").wait_for(state="hidden")
    person.locator("#timeline li", has_text="paula answered").get_by_text("eu", exact=True).wait_for()
    assert notes(client, task_id)[0] == ("answer", "paula", asked)
    assert person.evaluate("document.activeElement.id") == "title"  # not lost with the box
    assert complaints == []


def test_an_answer_is_for_the_question_that_was_shown(person: Page, hub: RunningHub, client: HubClient) -> None:
    task_id = client.create_task("asked twice")
    first = post(client, f"/api/tasks/{task_id}/notes", {"kind": "question", "text": "First?"})["id"]
    person.route("**/api/events/stream*", lambda route: route.abort())
    person.goto(f"{hub.address}/tasks/{task_id}/")
    person.locator("#question", has_text="First?").wait_for()
    # Meanwhile another one answers it, and the agent asks the next; this page was not told.
    post(client, f"/api/tasks/{task_id}/notes", {"kind": "answer", "text": "yes"})
    post(client, f"/api/tasks/{task_id}/notes", {"kind": "question", "text": "Second?"})
    person.locator("#answer-text").fill("an answer to the first")
    person.get_by_role("button", name="Answer", exact=True).click()
    person.locator("#answer-problem:visible", has_text="answered already").wait_for()
    assert person.locator("#answer-text").input_value() == "an answer to the first"
    assert [kind for kind, *_ in notes(client, task_id)] == ["question", "answer", "question"]
    assert notes(client, task_id)[1][2] == first


def test_a_claim_is_released(person: Page, hub: RunningHub, client: HubClient) -> None:
    task_id = client.create_task("held")
    shown = TaskPage(person, hub, task_id).open()
    release = person.get_by_role("button", name="Release", exact=True)
    assert not release.is_visible()
    lease = post(client, f"/api/tasks/{task_id}/claim?as=one", {})["lease"]["token"]
    person.wait_for_selector('#holder:text-is("operator/one")')
    release.click()
    person.wait_for_selector('#holder:text-is("no agent")')
    person.wait_for_selector('#status:text-is("To do")')
    assert not release.is_visible()
    assert shown.task_id in person.url
    # Its agent is told at its next call, and by whom.
    refused = client.http.patch(f"/api/tasks/{task_id}/?as=one", json={"title": "u"}, headers={"TaskHub-Lease": lease})
    assert (refused.status_code, refused.json()["error"]["code"]) == (409, "lease_lost")
    assert refused.json()["error"]["details"]["by"] == "paula"


def test_blockers_that_came_to_nothing_are_waived(person: Page, hub: RunningHub, client: HubClient) -> None:
    blockers = [client.create_task(f"blocker {n}") for n in range(2)]
    task_id = client.create_task("waits", blocked_by=blockers)
    TaskPage(person, hub, task_id).open()
    waive = person.get_by_role("button", name="Waive", exact=True)
    assert person.locator("#blockers li").count() == 2
    assert waive.count() == 0
    for blocker in blockers:
        closed = {"new_status": "done", "closed_as": "cancelled"}
        assert client.http.put(f"/api/tasks/status/{blocker}", json=closed).status_code == 200
    person.reload()
    for left in (1, 0):
        waive.first.click()
        person.wait_for_function("left => document.querySelectorAll('#blockers button').length === left", arg=left)
        assert client.http.get(f"/api/tasks/{task_id}/").json()["ready"] is (left == 0)
    assert person.locator("#blockers li", has_text="waived by paula").count() == 2
