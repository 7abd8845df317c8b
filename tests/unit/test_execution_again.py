"""Executions that are repeated: script, environment and plain variables; secret values are given anew."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest
from django.contrib.auth.models import User
from django.utils import timezone
from rest_framework.test import APIClient

from taskhub.auth.actor import SYSTEM, Actor
from taskhub.models import Execution, Task
from taskhub.services.environments import environment_create, environment_delete, environment_update
from taskhub.services.log_retention import logs_trim
from taskhub.services.tasks import task_create, task_update
from taskhub.worker.starting import launch_of
from tests.conftest import client_of, make_account
from tests.evidence import ended, verified

pytestmark = [pytest.mark.django_db, pytest.mark.sqlite_suffices]

TOKEN = "s3cr3t-v4lue"
SECRET = {"value": TOKEN, "secret": True}


@pytest.fixture
def task() -> Task:
    return task_create(actor=SYSTEM, title="t")


def execute(client: APIClient, task: Task, **body: Any) -> Execution:
    answer = client.post(f"/api/exec/{task.pk}/", body, format="json")
    assert answer.status_code == 202, answer.json()
    return Execution.objects.get(pk=answer.json()["execution_id"])


def ran(client: APIClient, task: Task, **body: Any) -> str:
    return str(ended(execute(client, task, script_content="make", **body)).pk)


def refused(client: APIClient, task: Task, **body: Any) -> tuple[int, str]:
    answer = client.post(f"/api/exec/{task.pk}/", body, format="json")
    return answer.status_code, answer.json()["error"]["code"]


def test_all_that_a_run_was_given_is_repeated_but_secret_values(api: APIClient, task: Task) -> None:
    environment_create(actor=SYSTEM, name="backend", env={"A": "of the environment"})
    given = {"environment": "backend", "timeout_s": 77, "merge_output": True, "all_files": True}
    run = ran(api, task, env={"A": "1", "B": "2", "TOKEN": SECRET}, **given)
    answer = api.post(f"/api/exec/{task.pk}/", {"again": run, "env": {"B": "3"}}, format="json")
    assert (answer.status_code, answer.json()["error"]) == (
        400,
        {
            "code": "values_needed",
            "message": "Secret values are not kept; give these anew in env: TOKEN.",
            "details": {"env": {"TOKEN": ['Send {"value": …, "secret": true}.']}},
        },
    )
    assert refused(api, task, again=run, env={"TOKEN": "as a plain value it would be kept"})[1] == "values_needed"
    again = execute(api, task, again=run, env={"B": "3", "TOKEN": {"value": "another", "secret": True}})
    assert (again.script, again.timeout_s, again.merge_output, again.all_files) == ("make", 77, True, True)
    assert str(again.environment) == "backend 1"
    assert launch_of(again).env == {"A": "1", "B": "3", "TOKEN": "another"}
    once_more = execute(
        client_of(make_account("bob", "agent")), task, again=str(ended(again).pk), env={"TOKEN": SECRET}
    )
    assert launch_of(once_more).env == {"A": "1", "B": "3", "TOKEN": TOKEN}


def test_what_the_request_gives_is_taken_instead(api: APIClient, task: Task) -> None:
    environment_create(actor=SYSTEM, name="backend")
    run = ran(api, task, timeout_s=77, merge_output=True)
    given = {"script_content": "true", "timeout_s": 5, "merge_output": False, "environment": "backend"}
    again = execute(api, task, again=run, **given)
    assert (again.script, again.timeout_s, again.merge_output, str(again.environment)) == (
        "true",
        5,
        False,
        "backend 1",
    )


def test_names_of_variables_are_shown_and_no_value(api: APIClient, operator: User, task: Task) -> None:
    run = ran(api, task, env={"PLAIN": "plain-value", "TOKEN": SECRET})
    for client in (api, client_of(operator)):
        shown = client.get(f"/api/executions/{run}/")
        assert shown.json()["variables"] == [{"name": "PLAIN", "secret": False}, {"name": "TOKEN", "secret": True}]
        assert not any(value in shown.content.decode() for value in ("plain-value", TOKEN))
    assert ran(api, task)
    Execution.objects.filter(pk=run).update(variables=None)  # as a release before this one left it
    assert api.get(f"/api/executions/{run}/").json()["variables"] is None
    assert execute(api, task, again=run).env == {"PLAIN": "plain-value"}


def test_environment_that_was_changed_meanwhile_is_that_of_now(api: APIClient, task: Task) -> None:
    environment_create(actor=SYSTEM, name="backend", env={"A": "1", "C": "3"})
    run = ran(api, task, environment="backend", timeout_s=500)
    environment_update(actor=SYSTEM, name="backend", env={"A": "2"}, timeout_max_s=60)
    assert refused(api, task, again=run) == (400, "timeout_above_maximum")
    again = execute(api, task, again=run, timeout_s=60)
    assert str(again.environment) == "backend 2"
    assert launch_of(again).env == {"A": "2"}


def test_environment_that_was_withdrawn_or_deleted_is_not_found(api: APIClient, operator: User, task: Task) -> None:
    environment_create(actor=SYSTEM, name="backend")
    run = ran(api, task, environment="backend")
    make_account("carol", "agent")
    environment_update(actor=SYSTEM, name="backend", allowed=["carol"])
    assert refused(api, task, again=run) == (404, "environment_not_found")
    execute(client_of(operator), task, again=run, env={})
    ended(Execution.objects.latest("queued_at"))
    environment_delete(actor=SYSTEM, name="backend")
    environment_create(actor=SYSTEM, name="backend", description="another one of this name")
    for client in (api, client_of(operator)):
        assert refused(client, task, again=run) == (404, "environment_not_found")
    assert str(execute(api, task, again=run, environment="backend").environment) == "backend 1"


def test_run_without_environment_is_not_repeated_in_one_unasked(
    api: APIClient, operator: User, task: Task, settings: Any
) -> None:
    run = ran(api, task)
    assert execute(api, task, again=run).environment is None
    ended(Execution.objects.latest("queued_at"))
    environment_create(actor=SYSTEM, name="usual")
    settings.TASKHUB_DEFAULT_ENVIRONMENT = "usual"
    assert refused(api, task, again=run) == (403, "environment_required")
    assert execute(client_of(operator), task, again=run).environment is None
    ended(Execution.objects.latest("queued_at"))
    settings.TASKHUB_DEFAULT_ENVIRONMENT = ""
    task_update(actor=SYSTEM, task_id=task.pk, environment="usual")
    assert refused(api, task, again=run) == (403, "environment_required")
    assert str(execute(api, task, again=run, environment="usual").environment) == "usual 1"


def test_only_a_run_of_the_task_that_the_caller_may_see_is_repeated(actor: Actor, api: APIClient, task: Task) -> None:
    other = task_create(actor=SYSTEM, title="other", verify="true", verify_policy="warn")
    verified(actor, other.pk)
    verification = str(Execution.objects.get().pk)
    run = ran(api, other)
    for again in (verification, str(task.pk)):
        assert refused(api, other, again=again) == (404, "execution_not_found")
    assert refused(api, task, again=run) == (404, "execution_not_found")
    mine = client_of(make_account("carol", "agent"))
    private = task_create(actor=SYSTEM, title="p", private=True, assignee="carol")
    hidden = ran(mine, private, env={"A": "of a private run"})
    task_update(actor=SYSTEM, task_id=private.pk, private=False)
    assert refused(api, private, again=hidden) == (404, "execution_not_found")
    assert execute(mine, private, again=hidden).env == {"A": "of a private run"}


def test_plain_variables_are_deleted_with_the_script(api: APIClient, task: Task) -> None:
    run = ran(api, task, env={"A": "1"})
    assert logs_trim(before=timezone.now() + timedelta(seconds=1)) == 1
    assert (Execution.objects.get().script, Execution.objects.get().env) == ("", {})
    assert refused(api, task, again=run) == (409, "script_expired")
    assert refused(api, task, again=run, script_content="make") == (400, "values_needed")
    assert execute(api, task, again=run, script_content="make", env={"A": "2"}).env == {"A": "2"}
