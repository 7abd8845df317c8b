"""Environments: who writes and who uses them, versions, and what an execution is queued with."""

from __future__ import annotations

from typing import Any

import pytest
from django.contrib.auth.models import User
from django.core.checks import Tags, run_checks
from django.test import Client
from rest_framework.test import APIClient

from taskhub.auth.actor import SYSTEM, Actor
from taskhub.models import AuditEntry, Environment, EnvironmentVersion, Execution, ExecutionStatus
from taskhub.services import executions
from taskhub.services.environments import environment_create
from taskhub.services.executions import Outcome
from taskhub.services.tasks import task_create
from taskhub.worker.starting import launch_of
from tests.agents.calls import result
from tests.conftest import client_of, make_account

pytestmark = pytest.mark.django_db
PATH = "/api/environments/"


@pytest.fixture
def rest(operator: User) -> APIClient:
    """The API as an operator."""
    return client_of(operator)


def environment(name: str = "backend", **fields: Any) -> EnvironmentVersion:
    return environment_create(actor=SYSTEM, name=name, **fields)


def run_of(api: APIClient, task_id: Any = None, **body: Any) -> Any:
    task_id = task_id or task_create(actor=SYSTEM, title="t").pk
    return api.post(f"/api/exec/{task_id}", {"script_content": "true", **body}, format="json")


def queued(api: APIClient, task_id: Any = None, **body: Any) -> Execution:
    answer = run_of(api, task_id, **body)
    assert answer.status_code == 202, answer.content
    return Execution.objects.get(pk=answer.json()["execution_id"])


# --- What operators write ----------------------------------------------------------------------------


def test_each_save_makes_a_version_that_is_never_changed(rest: APIClient) -> None:
    given = {"name": "backend", "image": "python:3.12-slim", "cpu": 2, "env": {"KEY": "value-of-key"}}
    made = rest.post(PATH, given, format="json")
    assert made.status_code == 201, made.content
    assert made.json() | given | {"version": 1, "network": "open", "allowed": None} == made.json()
    changed = rest.patch(f"{PATH}backend", {"cpu": 4}, format="json").json()
    assert (changed["version"], changed["cpu"], changed["image"]) == (2, 4, "python:3.12-slim")
    assert rest.patch(f"{PATH}backend", {"cpu": 4}, format="json").json()["version"] == 2
    assert rest.patch(f"{PATH}backend", rest.get(f"{PATH}backend").json(), format="json").json()["version"] == 2
    assert rest.get(f"{PATH}backend?version=1").json()["cpu"] == 2
    assert rest.get(f"{PATH}backend?version=3").json()["error"]["code"] == "environment_version_not_found"
    assert [each["version"] for each in rest.get(PATH).json()["results"]] == [2]
    entries = AuditEntry.objects.filter(subject="environment:backend").order_by("id")
    assert [(entry.action, entry.changes["version"]) for entry in entries] == [
        ("environment:create", [None, 1]),
        ("environment:update", [1, 2]),
    ]
    assert entries[1].changes["fields"] == [None, ["cpu"]]
    assert "value-of-key" not in str([entry.changes for entry in entries])


def test_deletion_frees_the_name(rest: APIClient) -> None:
    environment()
    assert rest.delete(f"{PATH}backend").status_code == 204
    assert rest.get(f"{PATH}backend").status_code == rest.delete(f"{PATH}backend").status_code == 404
    assert rest.post(PATH, {"name": "backend"}, format="json").json()["version"] == 1
    assert Environment.objects.count() == 2


@pytest.mark.parametrize(
    ("fields", "wrong"),
    [
        ({"snapshot": "s", "image": "i"}, {"snapshot", "image"}),
        ({"image": "i", "dockerfile": "FROM i"}, {"image", "dockerfile"}),
        ({"snapshot": "s", "cpu": 1, "disk": 5}, {"cpu", "disk"}),
        ({"memory": 1}, {"memory"}),
        ({"image": "two words"}, {"image"}),
        ({"timeout_s": 20, "timeout_max_s": 10}, {"timeout_s"}),
        ({"network": {}}, {"network"}),
        ({"network": "closed"}, {"network"}),
        ({"network": {"cidrs": ["10.0.0.1/8"]}}, {"network"}),
        ({"network": {"cidrs": ["::/0"]}}, {"network"}),
        ({"network": {"domains": ["http://example.com"]}}, {"network"}),
        ({"network": {"domains": [f"d{n}.example.com" for n in range(11)]}}, {"network"}),
        ({"env": {"KEY": {"value": "v-secret", "secret": True}}}, {"env"}),
        ({"env": {"1": "x"}}, {"env"}),
        ({"allowed": ["no-such-account"]}, {"allowed"}),
        ({"name": "none"}, {"name"}),
        ({"name": "With Blanks"}, {"name"}),
        ({"of_no_such_name": []}, {"of_no_such_name"}),
    ],
)
def test_what_does_not_go_together_is_refused_by_field(rest: APIClient, fields: Any, wrong: set[str]) -> None:
    answer = rest.post(PATH, {"name": "backend", **fields}, format="json")
    assert answer.status_code == 400
    assert set(answer.json()["error"]["details"]) == wrong
    assert not Environment.objects.exists()


def test_a_name_is_taken_once_and_a_repeat_with_a_key_makes_one(rest: APIClient) -> None:
    given = {"name": "backend"}
    first = rest.post(PATH, given, format="json", headers={"Idempotency-Key": "k"})
    assert rest.post(PATH, given, format="json", headers={"Idempotency-Key": "k"}).json() == first.json()
    again = rest.post(PATH, given, format="json")
    assert (again.status_code, again.json()["error"]["code"]) == (409, "environment_exists")


# --- Who may use it ----------------------------------------------------------------------------------


def test_one_that_is_not_allowed_is_as_if_it_were_not_there(api: APIClient, rest: APIClient) -> None:
    make_account("bob", "agent")
    environment("theirs", allowed=["bob"])
    environment(
        "ours", allowed=["alice", "bob"], image="private.example/i", env={"KEY": "v"}, network={"cidrs": ["10.0.0.0/8"]}
    )
    assert [each["name"] for each in api.get(PATH).json()["results"]] == ["ours"]
    assert api.get(f"{PATH}theirs").json()["error"]["code"] == "environment_not_found"
    assert run_of(api, environment="theirs").status_code == 404
    assert queued(rest, environment="theirs").environment.name == "theirs"
    shown = api.get(f"{PATH}ours").json()
    assert shown | {"network_kind": "listed", "variables": ["KEY"], "image": None, "env": None} == shown
    assert shown["network"] is shown["allowed"] is shown["id"] is None
    assert api.patch(f"{PATH}ours", {"cpu": 1}, format="json").status_code == 403
    assert api.post(PATH, {"name": "x"}, format="json").status_code == 403


def test_open_reading_shows_those_that_are_open_to_all(anonymous: APIClient, settings: Any) -> None:
    settings.TASKHUB_OPEN_READING = True
    make_account("bob", "agent")
    environment("theirs", allowed=["bob"])
    environment("everyones")
    assert [each["name"] for each in anonymous.get(PATH).json()["results"]] == ["everyones"]


# --- What an execution gets --------------------------------------------------------------------------


def test_version_right_and_values_are_fixed_when_it_is_queued(api: APIClient, rest: APIClient) -> None:
    environment(env={"A": "of the environment", "B": "of the environment"}, timeout_s=77, keep_sandbox_s=5)
    execution = queued(api, environment="backend", env={"B": "of the request"})
    rest.patch(f"{PATH}backend", {"env": {}, "allowed": [], "timeout_s": 1}, format="json")
    rest.delete(f"{PATH}backend")
    taken = executions.execution_claim_start(execution_id=execution.pk, lease_s=60, is_queued=True)
    assert taken is not None
    launch = launch_of(taken)
    assert launch.env == {"A": "of the environment", "B": "of the request"}
    assert (launch.timeout_s, launch.environment and launch.environment.keep_sandbox_s) == (77, 5)
    shown = api.get(f"/api/executions/{execution.pk}").json()["environment"]
    assert shown | {"name": "backend", "version": 1, "variables": ["A", "B"], "timeout_s": 77, "cpu": None} == shown
    assert "of the" not in str(shown)
    (row,) = api.get("/api/executions/").json()["results"]
    assert row["environment"] == {"name": "backend", "version": 1}
    assert executions.execution_finish(execution=taken, outcome=Outcome(ExecutionStatus.COMPLETED, exit_code=0))
    ended = Execution.objects.get()
    assert ended.kept_until
    assert ended.finished_at
    assert (ended.kept_until - ended.finished_at).total_seconds() == 5


def test_without_any_it_is_as_before(api: APIClient, settings: Any) -> None:
    execution = queued(api, environment=None)
    assert (execution.environment, execution.timeout_s) == (None, settings.TASKHUB_EXECUTION_TIMEOUT_S)
    assert queued(api, environment="").environment is None


def test_times_above_the_environments_are_refused(api: APIClient, settings: Any) -> None:
    environment(timeout_max_s=60)
    settings.TASKHUB_EXECUTION_TIMEOUT_S = 3600
    assert queued(api, environment="backend").timeout_s == 60
    assert queued(api, environment="backend", timeout_s=59).timeout_s == 59
    answer = run_of(api, environment="backend", timeout_s=61)
    assert (answer.status_code, answer.json()["error"]["code"]) == (400, "timeout_above_maximum")


def test_variables_are_counted_together(api: APIClient) -> None:
    environment(env={f"E{n}": "x" for n in range(60)})
    assert queued(api, environment="backend", env={f"E{n}": "y" for n in range(90)})
    answer = run_of(api, environment="backend", env={f"R{n}": "x" for n in range(41)})
    assert answer.json()["error"]["details"] == {"env": ["At most 100 variables with those of the environment."]}


def test_default_of_the_hub(api: APIClient, rest: APIClient, settings: Any) -> None:
    settings.TASKHUB_DEFAULT_ENVIRONMENT = "usual"
    assert run_of(api).json()["error"]["code"] == "default_environment_missing"
    environment("usual")
    environment("other")
    assert queued(api).environment.name == "usual"
    assert queued(api, environment="").environment.name == "usual"
    assert queued(api, environment="other").environment.name == "other"
    # Only operators may go without, and nothing may take the default away.
    refused = run_of(api, environment="none")
    assert (refused.status_code, refused.json()["error"]["code"]) == (403, "environment_required")
    assert queued(rest, environment="none").environment is None
    for refusal in (
        rest.delete(f"{PATH}usual"),
        rest.patch(f"{PATH}usual", {"allowed": ["alice"]}, format="json"),
    ):
        assert (refusal.status_code, refusal.json()["error"]["code"]) == (409, "default_environment")


@pytest.mark.parametrize(("name", "found"), [("", []), ("everyones", []), ("theirs", ["W001"]), ("gone", ["W001"])])
def test_system_check_of_the_default(settings: Any, name: str, found: list[str]) -> None:
    environment("everyones")
    environment("theirs", allowed=[])
    settings.TASKHUB_DEFAULT_ENVIRONMENT = name
    warned = [each.id for each in run_checks(tags=[Tags.database], databases=["default"]) if each.id]
    assert warned == [f"taskhub.{each}" for each in found]


# --- Of a task ---------------------------------------------------------------------------------------


def made_task(api: APIClient, **fields: Any) -> Any:
    answer = api.post("/api/tasks/", {"title": "t", **fields}, format="json")
    assert answer.status_code == 201, answer.content
    return answer.json()["id"]


def shown_task(api: APIClient, task_id: Any) -> tuple[str | None, bool]:
    detail = api.get(f"/api/tasks/{task_id}").json()
    return detail["environment"], detail["environment_hidden"]


def test_a_tasks_environment_is_its_executions_default(api: APIClient, settings: Any) -> None:
    for name in ("usual", "of-the-task", "named"):
        environment(name)
    settings.TASKHUB_DEFAULT_ENVIRONMENT = "usual"
    task_id = made_task(api, environment="of-the-task")
    names = []
    for body in ({}, {"environment": None}, {"environment": "named"}):
        names.append(queued(api, task_id, **body).environment.name)
        Execution.objects.update(status="completed")
    assert names == ["of-the-task", "of-the-task", "named"]
    assert shown_task(api, task_id) == ("of-the-task", False)
    assert shown_task(api, made_task(api, environment="")) == (None, False)


def test_the_admin_shows_a_tasks_environment(operator: User) -> None:
    version = environment_create(actor=SYSTEM, name="backend")
    browser = Client()
    browser.force_login(operator)
    task = task_create(actor=SYSTEM, title="t", environment="backend")
    page = browser.get(f"/admin/taskhub/task/{task.pk}/change/").content.decode()
    assert f'<a href="/admin/taskhub/environment/{version.environment_id}/change/">backend</a>' in page


def test_changes_of_a_tasks_environment(api: APIClient, rest: APIClient) -> None:
    one, two = environment("one"), environment("two")
    task_id = made_task(api, environment="one")

    def change(client: APIClient, name: str | None) -> int:
        return client.patch(f"/api/tasks/{task_id}", {"environment": name}, format="json").status_code

    assert change(api, "two") == 200
    assert shown_task(api, task_id) == ("two", False)
    # Not given: nothing changes. To take it away is for operators.
    assert (change(api, None), change(api, ""), change(api, "none"), change(api, "three")) == (200, 200, 403, 404)
    assert shown_task(api, task_id) == ("two", False)
    assert change(rest, "none") == 200
    assert shown_task(api, task_id) == (None, False)
    ids = [str(one.environment_id), str(two.environment_id)]
    entries = AuditEntry.objects.filter(task_id=task_id).order_by("id")
    assert [entry.changes["environment"] for entry in entries] == [[None, ids[0]], ids, [ids[1], None]]
    assert api.get(f"/api/tasks/{task_id}").json()["version"] == 3


def test_who_may_not_use_a_tasks_environment_does_not_read_its_name(api: APIClient, rest: APIClient) -> None:
    bob = client_of(make_account("bob", "agent"))
    environment("theirs", allowed=["bob"])
    environment("ours")
    assert api.post("/api/tasks/", {"title": "t", "environment": "theirs"}, format="json").status_code == 404
    task_id = made_task(bob, environment="theirs")
    assert shown_task(bob, task_id) == ("theirs", False)
    assert shown_task(api, task_id) == (None, True)
    assert "theirs" not in api.get(f"/api/tasks/{task_id}/history").content.decode()
    refused = run_of(api, task_id)
    assert (refused.status_code, refused.json()["error"]["code"]) == (404, "environment_not_found")
    assert run_of(api, task_id, environment="none").status_code == 403
    assert queued(api, task_id, environment="ours").environment.name == "ours"
    Execution.objects.update(status="completed")
    rest.delete(f"{PATH}theirs")
    assert shown_task(bob, task_id) == (None, True)
    assert run_of(bob, task_id).status_code == 404


def test_agents_name_it_over_mcp(alice: User) -> None:
    for name in ("of-the-task", "named"):
        environment(name)
    tasks = [{"title": "a", "environment": "of-the-task"}, {"title": "b", "environment": None}]
    made = result(alice, "create_tasks", tasks=tasks)["tasks"]
    for task, named, wanted in zip(made, ("", "named"), ("of-the-task", "named"), strict=True):
        begun = result(alice, "execute_task", task_id=task["id"], script_content="true", environment=named)
        assert Execution.objects.get(pk=begun["execution_id"]).environment.name == wanted
    assert result(alice, "get_task", task_id=made[0]["id"])["environment"] == "of-the-task"


# --- In a sandbox that is there already --------------------------------------------------------------


def test_an_existing_sandbox_must_be_of_the_task_and_the_version(api: APIClient, rest: APIClient, actor: Actor) -> None:
    environment()
    task = task_create(actor=actor, title="t")

    def made_in(name: str, **body: Any) -> None:
        execution = queued(api, task.pk, **body)
        Execution.objects.filter(pk=execution.pk).update(sandbox_id=name, status="completed")

    made_in("with", environment="backend")
    made_in("without")
    assert queued(api, task.pk, environment="backend", sandbox_id="with").environment is not None
    Execution.objects.update(status="completed")
    refused = run_of(api, task.pk, environment="backend", sandbox_id="without")
    assert (refused.status_code, refused.json()["error"]["code"]) == (400, "sandbox_not_of_environment")
    other = task_create(actor=actor, title="another")
    assert run_of(rest, other.pk, environment="backend", sandbox_id="with").status_code == 400
    rest.patch(f"{PATH}backend", {"description": "second"}, format="json")
    refused = run_of(api, task.pk, environment="backend", same_sandbox=True)
    assert refused.json()["error"]["code"] == "sandbox_not_of_environment"


# --- The admin ---------------------------------------------------------------------------------------


@pytest.fixture
def browser(operator: User) -> Client:
    made = Client()
    made.force_login(operator)
    return made


def filled_in(**fields: Any) -> dict[str, Any]:
    return {"name": "backend", "network_kind": "open", "open_to_all": "on", **fields}


def test_the_admins_form_makes_and_changes_versions(browser: Client) -> None:
    make_account("bob", "agent")
    address = "/admin/taskhub/environment/"
    made = browser.post(
        f"{address}add/",
        filled_in(
            image="python:3.12", cpu="2", network_kind="listed", domains="pypi.org\n*.example.com", env='{"CI": "1"}'
        ),
    )
    assert made.status_code == 302
    (version,) = EnvironmentVersion.objects.all()
    assert (version.spec.image, version.spec.cpu, version.spec.env) == ("python:3.12", 2, {"CI": "1"})
    assert version.spec.network.domains == ("pypi.org", "*.example.com")
    page = f"{address}{version.environment_id}/change/"
    shown = browser.get(page).content.decode()
    assert "*.example.com" in shown
    form = {
        name: "" if value is None else value
        for name, value in browser.get(page).context["adminform"].form.initial.items()
    }
    sent = {**form, "env": '{"CI": "1"}', "open_to_all": "", "accounts": "bob", "cpu": "3"}
    assert browser.post(page, sent).status_code == 302
    assert EnvironmentVersion.objects.get(number=2).spec.allowed == ("bob",)
    assert "2: " in browser.get(page).content.decode()
    assert "python:3.12" in browser.get(address).content.decode()
    action = {"action": "remove", "_selected_action": str(version.environment_id), "_answered": "1"}
    assert browser.post(address, action).status_code == 302
    assert Environment.objects.get().deleted_at is not None


@pytest.mark.parametrize(
    ("fields", "field"),
    [
        ({"cpu": "2"}, "cpu"),
        ({"network_kind": "listed", "cidrs": "10.0.0.1/8"}, "network_kind"),
        ({"network_kind": "listed", "domains": " ".join(f"d{n}.example.com" for n in range(11))}, "network_kind"),
        ({"env": '{"1": "x"}'}, "env"),
        ({"env": "[1]"}, "env"),
        ({"env": r'{"A": "half \u0000"}'}, "env"),
        ({"env": r'{"A": "half \ud800"}'}, "env"),
        ({"env": r'{"\ud800": "x"}'}, "env"),
        ({"open_to_all": "", "accounts": "stranger"}, "accounts"),
        ({"name": "Not a name"}, "name"),
    ],
)
def test_the_admins_form_keeps_what_it_refuses(browser: Client, fields: dict[str, str], field: str) -> None:
    page = browser.post("/admin/taskhub/environment/add/", {**filled_in(description="words of mine"), **fields})
    assert page.status_code == 200
    assert set(page.context["adminform"].form.errors) == {field}
    assert "words of mine" in page.content.decode()
    assert not Environment.objects.exists()
