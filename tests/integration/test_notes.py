"""Notes, questions and answers: who may write them, one open question, deadlines, and what private tasks hide."""

from __future__ import annotations

import json
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
from django.contrib.auth.models import User
from django.db import connections
from django_eventstream.models import Event
from rest_framework.test import APIClient

from taskhub.auth.actor import SYSTEM, Actor
from taskhub.errors import Conflict, Held, HubError, Invalid, NotFound
from taskhub.models import Agent, AuditEntry, Note, Task, WebhookEndpoint
from taskhub.models.note import TEXT_LIMIT_BYTES
from taskhub.selectors.notes import notes_for
from taskhub.services import claims
from taskhub.services.notes import AnswerLate, Question, note_add, questions_expire, task_set_status
from taskhub.services.tasks import task_create, task_update
from taskhub.webhooks.queue import deliveries_write
from tests.agents.calls import acting, call_as, requester_for
from tests.conftest import client_of, make_account

pytestmark = pytest.mark.django_db

Advance = Callable[[float], None]


def made(title: str = "t", **fields: Any) -> Task:
    return task_create(actor=SYSTEM, title=title, **fields)


def row(task: Task) -> Task:
    return Task.objects.get(pk=task.pk)


def person(user: User) -> Actor:
    return Actor(door="rest", user=user)


def add(actor: Actor, task: Task, kind: str = "note", text: str = "words", **more: Any) -> Note:
    return note_add(actor=actor, task_id=task.pk, kind=kind, text=text, **more)


def ask(actor: Actor, task: Task, **more: Any) -> Note:
    return add(actor, task, "question", "Which region?", question=Question(**more))


def last_event() -> dict[str, Any]:
    found: dict[str, Any] = json.loads(Event.objects.order_by("-eid")[0].data)
    return found


def test_a_note_has_its_author_agent_and_time_and_changes_nothing(alice: User) -> None:
    task = made()
    note = add(acting(alice, "one"), task, "result", "# Done")
    assert (note.author, note.agent, note.kind) == ("alice", "one", "result")
    assert row(task).version == 1
    event = last_event()
    assert event["event"] == "note_added"
    said = event["data"]
    assert (said["note_id"], said["text"], said["author"], said["agent"]) == (note.pk, "# Done", "alice", "one")
    assert AuditEntry.objects.filter(task_id=task.pk, action="note:add", actor_name="alice").exists()
    assert add(person(alice), task).agent == ""


def test_a_note_has_at_most_8_kib(alice: User) -> None:
    task = made()
    add(person(alice), task, text="ü" * (TEXT_LIMIT_BYTES // 2))
    with pytest.raises(Invalid):
        add(person(alice), task, text="ü" * (TEXT_LIMIT_BYTES // 2) + "x")


def test_a_question_is_open_until_it_is_answered(alice: User) -> None:
    task = made()
    asked = ask(person(alice), task, options=("eu", "us"))
    assert (row(task).open_question, row(task).waiting_for) == (asked, "answer")
    with pytest.raises(Conflict) as refused:
        ask(person(alice), task)
    assert (refused.value.code, refused.value.details) == ("question_open", {"question": asked.pk})
    given = add(person(alice), task, "answer", "eu")
    assert (given.question, row(task).open_question, row(task).waiting_for) == (asked, None, "")
    for question_id, code in [(asked.pk, "question_answered"), (None, "question_answered")]:
        with pytest.raises(Conflict) as refused:
            add(person(alice), task, "answer", "us", question_id=question_id)
        assert (refused.value.code, refused.value.details) == (code, {"answered_by": "alice"})
    with pytest.raises(Conflict) as refused:
        add(person(alice), made(), "answer", "us")
    assert refused.value.code == "question_not_open"


@pytest.mark.django_db(transaction=True)
def test_of_two_answers_at_once_one_wins(alice: User) -> None:
    task = made()
    ask(person(alice), task)
    start = threading.Barrier(2)

    def answer(text: str) -> str:
        start.wait(60)
        try:
            return str(add(person(alice), task, "answer", text).kind)
        except HubError as error:
            return error.code
        finally:
            connections.close_all()

    with ThreadPoolExecutor(2) as pool:
        said = sorted(pool.map(answer, ["eu", "us"]))
    assert said == ["answer", "question_answered"]
    assert task.notes.filter(kind="answer").count() == 1


def test_after_the_deadline_the_answer_is_what_was_assumed(alice: User, advance: Advance) -> None:
    task = made()
    asked = ask(person(alice), task, deadline_s=60, assumes="eu")
    assert questions_expire() == []
    advance(59)
    assert questions_expire() == []
    advance(1)
    assert questions_expire() == [asked.pk]
    assert questions_expire() == []
    given = task.notes.get(kind="answer")
    assert (given.text, given.assumed, given.author, given.question) == ("eu", True, "", asked)
    assert last_event()["data"]["assumed"] is True
    with pytest.raises(AnswerLate) as refused:
        add(person(alice), task, "answer", "us")
    assert refused.value.details == {"assumed": "eu"}


def test_an_answer_after_the_deadline_writes_the_assumed_one_itself(
    alice: User, advance: Advance, api: APIClient
) -> None:
    for by_rest in (False, True):
        task = made()
        ask(person(alice), task, deadline_s=60, assumes="eu")
        advance(61)
        if by_rest:
            body = {"kind": "answer", "text": "us"}
            answer = api.post(f"/api/tasks/{task.pk}/notes", body, format="json", headers={"Idempotency-Key": "k"})
            assert (answer.status_code, answer.json()["error"]["code"]) == (409, "answer_late")
        else:
            with pytest.raises(AnswerLate):
                add(person(alice), task, "answer", "us")
        assert task.notes.get(kind="answer").text == "eu"


def test_a_deadline_and_what_is_assumed_belong_together(alice: User) -> None:
    task = made()
    for more in ({"deadline_s": 60}, {"assumes": "eu"}):
        with pytest.raises(Invalid):
            ask(person(alice), task, **more)
    with pytest.raises(Invalid):
        add(person(alice), task, "note", question=Question(options=("a",)))


def test_who_may_not_change_a_task_may_not_answer_its_questions(alice: User, operator: User) -> None:
    task = made()
    one, two = acting(alice, "one"), acting(alice, "two")
    claims.task_claim(actor=one)
    ask(one, task)
    for kind in ("answer", "question", "result"):
        with pytest.raises(Held):
            add(two, task, kind)
    for kind in ("note", "review"):
        add(two, task, kind)
    add(person(operator), task, "answer", "eu")
    assert row(task).holder == "alice/one"


def test_a_lease_does_not_run_out_while_its_holders_question_is_open(
    alice: User, operator: User, advance: Advance, settings: Any
) -> None:
    task = made()
    claims.task_claim(actor=acting(alice, "one"))
    ask(acting(alice, "one"), task)
    for _ in range(8):
        advance(600)
        assert claims.claims_expire() == []
    add(person(operator), task, "answer", "eu")
    claims.claims_expire()
    advance(899)
    assert claims.claims_expire() == []
    advance(1)
    assert claims.claims_expire() == [task.pk]


def test_a_lease_says_whose_question_it_is(alice: User, advance: Advance) -> None:
    """Agents that share a token, and that show their lease instead of a name."""
    task = made()
    held = claims.task_claim(actor=acting(alice, "one"))
    assert held is not None
    assert held.claim is not None
    shown = acting(alice, "", lease=held.claim.token)
    assert ask(shown, task).agent == "one"
    assert list(Agent.objects.values_list("name", flat=True)) == ["one"]
    claims.claims_expire()
    advance(901)
    assert claims.claims_expire() == []
    task_set_status(actor=shown, task_id=task.pk, status="review", note="done")
    assert task.notes.get(kind="result").agent == "one"


def test_a_question_keeps_a_lease_for_a_day_at_most(alice: User, operator: User, advance: Advance) -> None:
    task, others = made("a"), made("b")
    for each in (task, others):
        claims.task_claim(actor=acting(alice, "one"), task_id=each.pk)
    ask(acting(alice, "one"), task)
    ask(person(operator), others)  # not the holder: it keeps nothing
    claims.claims_expire()
    advance(900)
    assert claims.claims_expire() == [others.pk]
    advance(86_400 - 901)
    assert claims.claims_expire() == []
    advance(2)
    claims.claims_expire()
    advance(900)
    assert claims.claims_expire() == [task.pk]


def test_an_open_question_is_shown_however_many_notes_came_after_it(alice: User, api: APIClient) -> None:
    task = made()
    asked = ask(person(alice), task)
    others = [add(person(alice), task).pk for _ in range(11)]
    for body in (
        api.get(f"/api/tasks/{task.pk}/").json(),
        call_as(requester_for(alice), "get_task", task_id=str(task.pk)).body,
    ):
        assert [note["id"] for note in body["notes"]] == [*reversed(others[1:]), asked.pk]
    answer = add(person(alice), task, "answer", "eu")
    shown = api.get(f"/api/tasks/{task.pk}/").json()["notes"]
    assert [note["id"] for note in shown] == [answer.pk, *reversed(others[2:])]


def test_a_change_of_status_takes_a_note(alice: User) -> None:
    task = made()
    for status, kind in [("inprogress", "note"), ("review", "result"), ("todo", "review"), ("done", "result")]:
        task_set_status(actor=person(alice), task_id=task.pk, status=status, note=f"to {status}")
        newest = task.notes.first()
        assert newest is not None
        assert (newest.kind, newest.text) == (kind, f"to {status}")
    task_set_status(actor=person(alice), task_id=task.pk, status="todo")
    assert task.notes.count() == 4


def test_a_question_on_a_task_that_is_done_waits_for_no_answer(alice: User) -> None:
    task = made()
    ask(person(alice), task)
    task_update(actor=SYSTEM, task_id=task.pk, status="done")
    assert (row(task).open_question, row(task).waiting_for) == (None, "")


def test_one_filter_finds_all_that_needs_a_person(alice: User, api: APIClient) -> None:
    made("nothing")
    held, asked, review = made("held"), made("asked"), made("review", status="review")
    Task.objects.filter(pk=held.pk).update(held_back=True)
    ask(person(alice), asked)
    for need, titles in {
        "any": {"held", "asked", "review"},
        "person": {"held"},
        "answer": {"asked"},
        "review": {"review"},
    }.items():
        found = api.get(f"/api/tasks/?waiting_for={need}").json()["results"]
        assert {task["title"] for task in found} == titles
        listed = call_as(requester_for(alice), "list_tasks", waiting_for=[need]).body["tasks"]
        assert {task["title"] for task in listed} == titles
    assert {task["waiting_for"] for task in api.get("/api/tasks/").json()["results"]} == {
        *("", "person", "answer", "review")
    }
    assert review.waiting_for == "review"
    assert api.get("/api/tasks/?waiting_for=x").status_code == 400


def test_notes_over_rest(api: APIClient) -> None:
    task = made()
    address = f"/api/tasks/{task.pk}/notes/"
    body = {"kind": "question", "text": "Which?", "options": ["a", "b"], "deadline_s": 60, "assumes": "a"}
    asked = api.post(address, body, format="json")
    assert asked.status_code == 201
    assert (asked.json()["options"], asked.json()["assumes"]) == (["a", "b"], "a")
    answer = api.post(address, {"kind": "answer", "text": "b", "question": asked.json()["id"]}, format="json").json()
    assert (answer["question"], answer["assumed"]) == (asked.json()["id"], False)
    assert [note["kind"] for note in api.get(address).json()["results"]] == ["answer", "question"]
    assert [note["kind"] for note in api.get(f"/api/tasks/{task.pk}/").json()["notes"]] == ["answer", "question"]
    key = {"Idempotency-Key": "once"}
    for _ in range(2):
        assert api.post(address, {"text": "n"}, format="json", headers=key).status_code == 201
    assert task.notes.filter(kind="note").count() == 1
    for wrong in (
        {},
        {"text": ""},
        {"text": " \n"},
        {"text": "\u200b"},
        {"text": "t", "kind": "x"},
        {"text": "t", "deadline_s": 0},
        {"text": "t", "options": "a"},
        {"text": "x" * 8193},
        {"text": "t", "title": "t"},
    ):
        assert api.post(address, wrong, format="json").status_code == 400, wrong
    missing = api.post("/api/tasks/0f0f0f0f-0f0f-4f0f-8f0f-0f0f0f0f0f0f/notes", {"text": "n"}, format="json")
    assert missing.status_code == 404


def test_notes_over_mcp(alice: User) -> None:
    task = made()
    requester = requester_for(alice)
    asked = call_as(requester, "add_note", task_id=str(task.pk), kind="question", text="Which?", **{"as": "one"}).body
    assert asked == {"id": asked["id"], "kind": "question"}
    assert task.notes.get(pk=asked["id"]).agent == "one"
    refused = call_as(requester, "add_note", task_id=str(task.pk), kind="question", text="And?").body["error"]
    assert refused["code"] == "question_open"
    call_as(requester, "add_note", task_id=str(task.pk), kind="answer", text="a")
    assert [note["text"] for note in call_as(requester, "get_task", task_id=str(task.pk)).body["notes"]] == [
        *("a", "Which?")
    ]
    moved = call_as(requester, "set_task_status", task_id=str(task.pk), new_status="done", note="all of it")
    assert not moved.failed
    assert task.notes.filter(kind="result", text="all of it").exists()


def test_a_finished_blockers_result_comes_along(alice: User, api: APIClient) -> None:
    first = made("first")
    last = made("last", blocked_by=[first.pk])
    for text in ("early", "late"):
        add(person(alice), first, "result", text)
    add(person(alice), first, "note", "no result")
    assert api.get(f"/api/tasks/{last.pk}/").json()["blocked_by"][0]["result"] == "late"


def test_notes_of_a_private_time_stay_private(alice: User, operator: User) -> None:
    bob = make_account("bob", "agent")
    task = made(private=True, assignee="bob")
    with pytest.raises(NotFound):
        add(person(alice), task)
    hidden = add(person(bob), task, "result", "secret")
    task_update(actor=person(operator), task_id=task.pk, private=False)
    open_ = add(person(alice), task, text="open")
    assert [note.pk for note in notes_for(user=alice, task_id=task.pk)] == [open_.pk]
    for reader in (bob, operator):
        assert [note.pk for note in notes_for(user=reader, task_id=task.pk)] == [open_.pk, hidden.pk]
    behind = made("behind", blocked_by=[task.pk])
    assert client_of(alice).get(f"/api/tasks/{behind.pk}/").json()["blocked_by"][0]["result"] is None
    assert client_of(bob).get(f"/api/tasks/{behind.pk}/").json()["blocked_by"][0]["result"] == "secret"
    assert "secret" not in client_of(alice).get(f"/api/tasks/{task.pk}/").content.decode()


def test_webhooks_carry_notes_with_the_rules_of_private_tasks(alice: User) -> None:
    endpoint = WebhookEndpoint.objects.create(url="https://a.example/", sealed_secret="x", cursor=0)
    endpoint.cursor = Event.objects.order_by("-eid").values_list("eid", flat=True).first() or 0
    endpoint.save()
    add(person(alice), made(), text="public")
    add(person(alice), made(private=True, assignee="alice"), text="hidden")
    deliveries_write()
    bodies = [delivery.body for delivery in endpoint.deliveries.filter(event_type="note_added")]
    assert len(bodies) == 1
    assert "public" in bodies[0]
