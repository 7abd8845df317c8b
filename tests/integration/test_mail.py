"""Mail to people, over a real mail server: for whom and when, and what a dead server delays."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from datetime import timedelta
from email import message_from_bytes
from email.message import Message
from typing import Any

import pytest
from aiosmtpd.controller import Controller
from django.contrib.auth.models import User
from django.test import Client
from django.utils import timezone

from taskhub.auth.actor import Actor
from taskhub.jobs import mails_deliver
from taskhub.models import ApiToken, AuditEntry, Mail, MailPreference, Task
from taskhub.services import mails
from taskhub.services.notes import Question, note_add
from taskhub.services.tasks import task_create, task_update
from tests.conftest import make_account
from tests.processes import free_port

pytestmark = [pytest.mark.django_db, pytest.mark.sqlite_suffices]


class Post:
    """A mail server and what it took."""

    def __init__(self) -> None:
        self.taken: list[Message] = []
        self.refuses: dict[str, str] = {}

    async def handle_RCPT(self, server: Any, session: Any, envelope: Any, address: str, options: Any) -> str:  # noqa: N802
        if address in self.refuses:
            return self.refuses[address]
        envelope.rcpt_tos.append(address)
        return "250 OK"

    async def handle_DATA(self, server: Any, session: Any, envelope: Any) -> str:  # noqa: N802 - the library's name
        self.taken.append(message_from_bytes(envelope.content))
        return "250 OK"

    @property
    def said(self) -> list[tuple[str, str]]:
        return [(str(mail["To"]), str(mail["Subject"])) for mail in self.taken]


@pytest.fixture
def post(settings) -> Iterator[Post]:
    """The mail server that the settings name; a task is a person's own from here on."""
    made = Post()
    server = Controller(made, hostname="127.0.0.1", port=free_port())
    server.start()
    settings.EMAIL_BACKEND = "django.core.mail.backends.smtp.EmailBackend"
    settings.EMAIL_HOST, settings.EMAIL_PORT = "127.0.0.1", server.port
    mails_deliver()  # what was before is not told
    yield made
    server.stop()


def wants_mail(user: User, *kinds: str) -> User:
    user.email = f"{user.username}@example.com"
    user.save()
    MailPreference.objects.create(user=user, **dict.fromkeys(kinds, True))
    return user


def agent_of(user: User) -> Actor:
    token, _ = ApiToken.objects.create(user=user, name="worker")
    return Actor(door="mcp", user=user, token=token, agent_name="worker")


def ask(actor: Actor, task: Task) -> None:
    note_add(
        actor=actor, task_id=task.pk, kind="question", text="Blue or red?", question=Question(options=("blue", "red"))
    )


def deliver_now() -> None:
    """Also what waits for its next attempt."""
    Mail.objects.update(next_attempt_at=timezone.now())
    mails_deliver()


def test_questions_held_back_tasks_and_reviews_of_ones_own_are_told(alice: User, post: Post) -> None:
    wants_mail(alice, "question", "held_back", "review")
    bob = wants_mail(make_account("bob", "agent"), "question")
    wants_mail(make_account("carol", "agent"), "question", "held_back", "review")
    mine = task_create(actor=Actor(door="rest", user=alice), title="Paint\u2028the fence", assignee="bob")
    ask(agent_of(bob), mine)
    task_update(actor=Actor(door="rest", user=bob), task_id=mine.pk, status="inprogress")
    task_update(actor=Actor(door="rest", user=bob), task_id=mine.pk, status="review")
    mails_deliver()
    assert sorted(post.said) == [
        ("alice@example.com", "Questions: Paint the fence"),
        ("alice@example.com", "Reviews: Paint the fence"),
        ("bob@example.com", "Questions: Paint the fence"),
    ]
    body = post.taken[0].get_payload(decode=True).decode()
    assert "bob/worker asks:\r\n\r\nBlue or red?\r\n* blue\r\n* red" in body
    assert f"http://localhost:8000/tasks/{mine.pk}/" in body
    mails_deliver()
    assert len(post.taken) == 3


def test_who_asks_gets_no_mail_of_it(alice: User, post: Post) -> None:
    wants_mail(alice, "question")
    me = Actor(door="rest", user=alice)
    ask(me, task_create(actor=me, title="t"))
    mails_deliver()
    assert post.taken == []


def test_a_dead_mail_server_delays_and_loses_nothing(alice: User, post: Post, settings, caplog) -> None:
    wants_mail(alice, "question")
    port, settings.EMAIL_PORT = settings.EMAIL_PORT, 1
    for number in range(3):
        ask(agent_of(alice), task_create(actor=Actor(door="rest", user=alice), title=f"task {number}"))
    with caplog.at_level(logging.WARNING):
        mails_deliver()
    assert "does not work" in caplog.text
    assert [mail.failures for mail in Mail.objects.all()] == [1, 1, 1]
    assert all(mail.next_attempt_at > timezone.now() for mail in Mail.objects.all())
    settings.EMAIL_PORT = port
    mails_deliver()
    assert post.taken == [], "not before its next attempt"
    deliver_now()
    assert [subject for _, subject in post.said] == [f"Questions: task {number}" for number in range(3)]
    assert not Mail.objects.exists()


def test_a_refused_address_holds_up_no_other(alice: User, post: Post) -> None:
    wants_mail(alice, "question")
    bob = wants_mail(make_account("bob", "agent"), "question")
    post.refuses = {"alice@example.com": "550 no such user", "bob@example.com": "451 try again later"}
    task = task_create(actor=Actor(door="rest", user=alice), title="t", assignee="bob")
    ask(agent_of(bob), task)
    mails_deliver()
    assert [(mail.user, mail.failures) for mail in Mail.objects.all()] == [(bob, 1)]
    post.refuses = {}
    deliver_now()
    assert post.said == [("bob@example.com", "Questions: t")]
    # What nothing takes for days is given up.
    post.refuses = {"bob@example.com": "451 try again later"}
    ask_again = task_create(actor=Actor(door="rest", user=alice), title="u", assignee="bob")
    ask(agent_of(bob), ask_again)
    mails_deliver()
    Mail.objects.update(created_at=timezone.now() - mails.KEPT - timedelta(seconds=1))
    deliver_now()
    assert not Mail.objects.exists()


def test_a_mail_that_ends_the_connection_holds_up_no_other(alice: User, post: Post) -> None:
    wants_mail(alice, "question")
    bob = wants_mail(make_account("bob", "agent"), "question")
    post.refuses = {"alice@example.com": "421 too many connections"}
    ask(agent_of(bob), task_create(actor=Actor(door="rest", user=alice), title="t", assignee="bob"))
    mails_deliver()
    assert post.said == [("bob@example.com", "Questions: t")]
    assert [(mail.user, mail.failures) for mail in Mail.objects.all()] == [(alice, 1)]


def test_a_mail_that_cannot_be_written_holds_up_no_other(alice: User, post: Post) -> None:
    bob = wants_mail(make_account("bob", "agent"), "question")
    client = Client()
    client.force_login(alice)
    # Django takes it for an address; as a header it would be two.
    odd = {"email": '"a\x0bBcc:b"@example.com', "kinds": ["question"]}
    assert client.post("/settings/told/", odd).status_code == 302
    alice.refresh_from_db()
    ask(agent_of(bob), task_create(actor=Actor(door="rest", user=alice), title="t", assignee="bob"))
    mails_deliver()
    assert post.said == [("bob@example.com", "Questions: t")]
    assert [(mail.user, mail.failures) for mail in Mail.objects.all()] == [(alice, 1)]


def test_a_task_that_has_become_private_is_not_told(alice: User, post: Post) -> None:
    wants_mail(alice, "question")
    bob = make_account("bob", "agent")
    task = task_create(actor=Actor(door="rest", user=alice), title="t", assignee="bob")
    ask(agent_of(bob), task)
    mails.mails_write()
    assert Mail.objects.count() == 1
    task_update(actor=Actor(door="rest", user=bob), task_id=task.pk, private=True)
    mails_deliver()
    assert post.taken == []
    assert not Mail.objects.exists()


def test_what_was_asked_of_a_private_task_is_told_to_its_readers_of_then(alice: User, post: Post) -> None:
    wants_mail(alice, "question")
    bob = wants_mail(make_account("bob", "agent"), "question")
    task = task_create(actor=Actor(door="rest", user=alice), title="t", assignee="bob")
    for private in (True, False):
        task_update(actor=Actor(door="rest", user=bob), task_id=task.pk, private=private)
        if private:
            ask(agent_of(bob), task)
    mails_deliver()
    assert post.said == [("bob@example.com", "Questions: t")]


def test_the_settings_say_which_mail(alice: User, settings) -> None:
    client = Client()
    client.force_login(alice)
    assert "EMAIL_HOST" in client.get("/settings/").text
    settings.EMAIL_HOST = "mail.example.com"
    assert "EMAIL_HOST" not in client.get("/settings/").text
    refused = client.post("/settings/told/", {"kinds": ["question"]})
    assert (refused.status_code, "Enter the address" in refused.text) == (400, True)
    for wrong in ({"email": "x"}, {"kinds": ["everything"], "email": "a@example.com"}):
        assert client.post("/settings/told/", wrong).status_code == 400
    assert (
        client.post("/settings/told/", {"email": "a@example.com", "kinds": ["question", "review"]}).status_code == 302
    )
    wanted = MailPreference.objects.get(user=alice)
    assert (wanted.question, wanted.held_back, wanted.review) == (True, False, True)
    alice.refresh_from_db()
    assert alice.email == "a@example.com"
    assert AuditEntry.objects.get(action="account:mail").changes["email"] == ["", "a@example.com"]
