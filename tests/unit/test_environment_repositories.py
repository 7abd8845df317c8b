"""Repositories of environments: what is refused, and a credential that nothing shows again."""

from __future__ import annotations

from typing import Any

import pytest
from django.contrib.auth.models import User
from django.test import Client
from rest_framework.test import APIClient

from taskhub.auth.actor import SYSTEM
from taskhub.models import AuditEntry, Environment, EnvironmentCredential, EnvironmentVersion, Execution
from taskhub.services.environment_repositories import credentials_trim
from taskhub.services.environments import environment_create, environment_delete
from taskhub.services.executions import execution_queue
from taskhub.services.tasks import task_create
from tests.conftest import client_of

pytestmark = pytest.mark.django_db
PATH = "/api/environments/"
URL = "https://git.example.com/team/app.git"
HOSTS = ["git.example.com"]
CREDENTIAL = {"username": "bot", "token": "t@k/e:n", "hosts": HOSTS}


@pytest.fixture
def rest(operator: User) -> APIClient:
    """The API as an operator."""
    return client_of(operator)


def save(rest: APIClient, **fields: Any) -> Any:
    return rest.post(PATH, {"name": "backend", **fields}, format="json")


@pytest.mark.parametrize(
    ("repository", "words"),
    [
        ({"url": "https://bot:token@git.example.com/app"}, "without user name and token"),
        ({"url": "ssh://git.example.com/app"}, "https, http or git"),
        ({"url": "ext::sh -c id"}, "https, http or git"),
        ({"url": "https://git.example.com/a b"}, "https, http or git"),
        ({"url": "https://[x/y", "credential": CREDENTIAL}, "https, http or git"),
        ({"url": "https://ex\u2100mple.com/x", "credential": CREDENTIAL}, "https, http or git"),
        ({"url": URL, "ref": "--upload-pack=id"}, "ref must be"),
        ({"url": URL, "ref": "a..b"}, "ref must be"),
        ({"url": URL, "path": "../x"}, "path must be"),
        ({"url": URL, "path": "a/.git"}, "path must be"),
        ({"url": URL, "depth": -1}, "greater than or equal"),
        ({"url": URL, "before_lock": True}, "before_lock needs"),
        ({"url": URL, "credential": {"hosts": HOSTS}}, "needs username and token"),
        ({"url": URL, "credential": {"hosts": HOSTS, "token": "x"}}, "needs username and token"),
        ({"url": URL, "credential": {**CREDENTIAL, "hosts": ["example.org"]}}, "must have the host of url"),
        ({"url": URL, "credential": {**CREDENTIAL, "hosts": ["https://git.example.com"]}}, "1 to 10 hosts"),
        ({"url": URL, "credential": {**CREDENTIAL, "token": "a\nb"}}, "one line"),
        ({"url": URL.replace("https", "http"), "credential": CREDENTIAL}, "needs an address of https"),
    ],
)
def test_wrong_repository_is_refused_with_a_sentence(rest: APIClient, repository: Any, words: str) -> None:
    answer = save(rest, repository=repository)
    assert answer.status_code == 400
    assert set(answer.json()["error"]["details"]) == {"repository"}
    assert words in answer.content.decode()
    assert "t@k/e:n" not in answer.content.decode()
    assert not Environment.objects.exists()


def test_sandbox_without_network_fetches_nothing(rest: APIClient) -> None:
    refused = save(rest, repository={"url": URL}, network="none")
    assert (refused.status_code, set(refused.json()["error"]["details"])) == (400, {"network"})
    made = save(rest, repository={"url": URL, "before_lock": True}, network="none")
    assert (made.status_code, made.json()["network_kind"]) == (201, "none")


@pytest.mark.parametrize(
    ("fields", "wrong"),
    [
        ({"setup": "x" * 65_537}, "setup"),
        ({"setup_timeout_s": 0}, "setup_timeout_s"),
        ({"keep": ["/etc/*"]}, "keep"),
        ({"keep": ["../x"]}, "keep"),
        ({"keep": [f"{n}" for n in range(51)]}, "keep"),
    ],
)
def test_wrong_setup_and_patterns_are_refused(rest: APIClient, fields: Any, wrong: str) -> None:
    answer = save(rest, **fields)
    assert (answer.status_code, set(answer.json()["error"]["details"])) == (400, {wrong})


def test_credential_is_written_and_never_read(rest: APIClient, api: APIClient) -> None:
    made = save(rest, repository={"url": URL, "ref": "main", "credential": CREDENTIAL}, setup="make", keep=["dist/**"])
    assert made.status_code == 201, made.content
    shown = {"url": URL, "ref": "main", "path": "", "depth": None, "before_lock": False, "credential": {"hosts": HOSTS}}
    assert made.json()["repository"] == rest.get(f"{PATH}backend").json()["repository"] == shown
    row = EnvironmentCredential.objects.get()
    assert row.opened() == ("bot", "t@k/e:n", ("git.example.com",))
    kept = [str(version.document) for version in EnvironmentVersion.objects.all()]
    kept += [row.sealed, *(str(entry.changes) for entry in AuditEntry.objects.all())]
    assert not any(secret in text for secret in ("t@k/e:n", "bot") for text in kept)
    agent = api.get(f"{PATH}backend").json()
    assert agent["repository"] is agent["setup"] is agent["keep"] is None


def test_what_was_read_can_be_sent_back_and_a_new_token_is_a_new_version(rest: APIClient) -> None:
    save(rest, repository={"url": URL, "credential": CREDENTIAL})
    read = rest.get(f"{PATH}backend").json()
    assert rest.patch(f"{PATH}backend", read, format="json").json()["version"] == 1
    moved = {"url": URL.replace("git.", "evil."), "credential": {"hosts": ["evil.example.com"]}}
    assert rest.patch(f"{PATH}backend", {"repository": moved}, format="json").status_code == 400
    fresh = {"url": URL, "credential": {**CREDENTIAL, "token": "second"}}
    assert rest.patch(f"{PATH}backend", {"repository": fresh}, format="json").json()["version"] == 2
    assert EnvironmentCredential.objects.get().opened()[1] == "second"
    assert rest.patch(f"{PATH}backend", {"repository": {"url": URL}}, format="json").json()["version"] == 3
    assert not EnvironmentCredential.objects.exists()


def test_credential_of_a_deleted_environment_goes_with_its_last_execution() -> None:
    environment_create(actor=SYSTEM, name="backend", repository={"url": URL, "credential": CREDENTIAL})
    task = task_create(actor=SYSTEM, title="t")
    execution_queue(actor=SYSTEM, task_id=task.pk, script="true", environment="backend")
    environment_delete(actor=SYSTEM, name="backend")
    assert credentials_trim() == 0
    assert EnvironmentCredential.objects.exists()
    Execution.objects.update(status="stopped")
    assert credentials_trim() == 1


def test_credential_that_was_taken_away_goes_with_the_last_execution(rest: APIClient) -> None:
    for name in ("backend", "other"):
        environment_create(actor=SYSTEM, name=name, repository={"url": URL, "credential": CREDENTIAL})
    task = task_create(actor=SYSTEM, title="t")
    execution_queue(actor=SYSTEM, task_id=task.pk, script="true", environment="backend")
    assert rest.patch(f"{PATH}backend", {"repository": {"url": URL}}, format="json").status_code == 200
    assert credentials_trim() == 0
    Execution.objects.update(status="stopped")
    assert credentials_trim() == 1
    assert EnvironmentCredential.objects.get().environment.name == "other"


def test_form_keeps_a_credential_that_is_not_given_anew(operator: User) -> None:
    environment_create(
        actor=SYSTEM,
        name="backend",
        repository={"url": URL, "depth": 5, "credential": CREDENTIAL},
        setup="a\nb\n",
        dockerfile="FROM a\nRUN b\n",
        keep=[],
        setup_timeout_s=5,
    )
    client = Client()
    client.force_login(operator)
    pk = Environment.objects.get().pk
    address = f"/admin/taskhub/environment/{pk}/change/"
    page = client.get(address)
    assert "t@k/e:n" not in page.content.decode()
    form = page.context["adminform"].form
    given = {name: form.initial.get(name) for name in form.fields if form.initial.get(name) not in (None, False)}
    given |= {"description": "changed", "setup": "a\r\nb\r\n", "env": "{}"}
    given["dockerfile"] = "FROM a\r\nRUN b\r\n"
    answer = client.post(address, given)
    assert answer.status_code == 302, answer.context["errors"]
    first, second = EnvironmentVersion.objects.order_by("number")
    assert second.document == first.document | {"description": "changed"}
    assert EnvironmentCredential.objects.get().opened()[1] == "t@k/e:n"
