"""Secrets and volumes of environments: what is refused when it is saved, who sees what, and what a start looks up."""

from __future__ import annotations

import json
from functools import partial
from types import SimpleNamespace
from typing import Any
from uuid import UUID

import pytest
from django.test import Client
from rest_framework.test import APIClient

from sandboxes.errors import SandboxMissing, SandboxRefused, SandboxUnavailable, VolumeNotReady
from sandboxes.execute.references import guard_secrets, volume_ids
from sandboxes.execute.sandbox_fields import sandbox_fields
from sandboxes.gateway import volumes
from sandboxes.gateway.vault import Vault
from sandboxes.gateway.volumes import Volumes
from taskhub.auth.actor import SYSTEM
from taskhub.models import EnvironmentSpec, EnvironmentVersion, Execution
from taskhub.models.execution import ENV_SEAL
from taskhub.services.tasks import task_create
from taskhub.web.thread_pool import wait_here
from taskhub.worker.starting import launch_of
from tests.conftest import client_of
from tests.daytona_document import assert_documented
from tests.unit.test_sandbox_fields import Answer

PATH = "/api/environments/"
CACHE = {"name": "caches", "mount_path": "/caches", "subpath": "tasks/{task}"}


@pytest.fixture
def rest(operator: Any) -> APIClient:
    """The API as an operator."""
    return client_of(operator)


# --- What operators write ----------------------------------------------------------------------------


@pytest.mark.django_db
@pytest.mark.parametrize(
    ("fields", "wrong"),
    [
        ({"secrets": {"A-B": "npm"}}, "secrets"),
        ({"secrets": {"A": "npm read"}}, "secrets"),
        ({"secrets": {"UID": "npm"}}, "secrets"),
        ({"secrets": {f"A{n}": "npm" for n in range(51)}}, "secrets"),
        ({"secrets": {"A": "npm"}, "env": {"A": "1"}}, "secrets"),
        ({"secrets": {"A": "npm"}, "any_host": ["other"]}, "any_host"),
        ({"volumes": [{**CACHE, "mount_path": "caches"}]}, "volumes"),
        ({"volumes": [{**CACHE, "mount_path": "/usr/x"}]}, "volumes"),
        ({"volumes": [{**CACHE, "mount_path": "/a/../b"}]}, "volumes"),
        ({"volumes": [{**CACHE, "subpath": "../x"}]}, "volumes"),
        ({"volumes": [{**CACHE, "subpath": "/x"}]}, "volumes"),
        ({"volumes": [{**CACHE, "subpath": "{other}"}]}, "volumes"),
        ({"volumes": [{**CACHE, "name": "../x"}]}, "volumes"),
        ({"volumes": [CACHE, {**CACHE, "mount_path": "/caches/below"}]}, "volumes"),
        ({"volumes": [{"name": "caches"}]}, "volumes"),
        ({"volumes": [{**CACHE, "more": 1}]}, "volumes"),
    ],
)
def test_wrong_secrets_and_volumes_are_refused_by_field(rest: APIClient, fields: Any, wrong: str) -> None:
    answer = rest.post(PATH, {"name": "backend", **fields}, format="json")
    assert (answer.status_code, set(answer.json()["error"]["details"])) == (400, {wrong})


@pytest.mark.django_db
def test_names_of_secrets_and_volumes_are_for_operators(rest: APIClient, api: APIClient) -> None:
    whole, shared = ({**CACHE, "mount_path": f"/{name}", "subpath": name} for name in ("", "shared"))
    whole["mount_path"] = "/all"
    given = {"secrets": {"TOKEN": "npm-read"}, "any_host": ["npm-read"], "volumes": [whole, CACHE, shared]}
    made = rest.post(PATH, {"name": "backend", "env": {"CI": "1"}, **given}, format="json").json()
    assert {name: made[name] for name in given} == given
    assert (made["variables"], len(made["warnings"])) == (["CI", "TOKEN"], 2)
    assert "all of the volume caches" in made["warnings"][0]
    assert "the folder shared of the volume caches" in made["warnings"][1]
    assert rest.patch(f"{PATH}backend", rest.get(f"{PATH}backend").json(), format="json").json()["version"] == 1
    theirs = api.get(f"{PATH}backend").json()
    assert theirs["variables"] == ["CI", "TOKEN"]
    assert [theirs[name] for name in (*given, "warnings")] == [None] * 4
    task = task_create(actor=SYSTEM, title="t")
    body = {"script_content": "true", "environment": "backend"}
    execution_id = api.post(f"/api/exec/{task.pk}", body, format="json").json()["execution_id"]
    shown = api.get(f"/api/executions/{execution_id}").content.decode()
    assert '"variables":["CI","TOKEN"]' in shown
    assert "npm-read" not in shown
    assert "caches" not in shown
    launch = launch_of(Execution.objects.get())
    assert (launch.task_id, launch.env) == (task.pk, {"CI": "1"})


@pytest.mark.django_db
def test_the_admins_form_takes_secrets_and_volumes_as_json(operator: Any) -> None:
    browser = Client()
    browser.force_login(operator)
    path = "/admin/taskhub/environment/"
    form = {"name": "backend", "network_kind": "open", "open_to_all": "on", "env": "{}"}
    for wrong in ({"secrets": "[1]"}, {"secrets": '{"A": 1}'}, {"volumes": '{"a": 1}'}, {"volumes": '[{"name": "a"}]'}):
        answer = browser.post(f"{path}add/", {**form, **wrong})
        assert next(iter(wrong)) in answer.context["adminform"].form.errors, wrong
    fields = {"secrets": '{"A": "npm"}', "any_host": "npm", "volumes": json.dumps([CACHE])}
    assert browser.post(f"{path}add/", {**form, **fields}).status_code == 302
    spec = EnvironmentVersion.objects.get().spec
    assert (spec.secrets, spec.any_host) == ({"A": "npm"}, ("npm",))
    assert spec.document()["volumes"] == [CACHE]


# --- What the sandbox service is sent ------------------------------------------------------------------


def test_creation_has_names_of_secrets_and_ids_of_volumes() -> None:
    spec = EnvironmentSpec.read({"secrets": {"A": "npm", "B": "pypi"}, "volumes": [CACHE, {**CACHE, "subpath": ""}]})
    sent = sandbox_fields(spec, volume_ids={"caches": "vol-1"}, task_id=UUID(int=7))
    assert sent == {
        "secrets": [{"A": "npm"}, {"B": "pypi"}],
        "volumes": [
            {"volumeId": "vol-1", "mountPath": "/caches", "subpath": f"tasks/{UUID(int=7)}"},
            {"volumeId": "vol-1", "mountPath": "/caches"},
        ],
    }
    assert_documented("CreateSandbox", sent)


class VaultApi:
    """In place of the SDK's client: entries by name, and what it was sent; Daytona finds by a part of the name."""

    def __init__(self, *entries: dict[str, Any], status: int = 200) -> None:
        self.entries = [{"id": f"id-{each['name']}", "hosts": [], **each} for each in entries]
        self.status = status
        self.sent: list[Any] = []

    async def list_secrets_paginated_without_preload_content(self, name: str = "", cursor: Any = None, **_: Any) -> Any:
        """Pages of one."""
        found = [each for each in self.entries if (name or "") in each["name"]]
        at = int(cursor or 0)
        following = str(at + 1) if at + 1 < len(found) else None
        return Answer({"items": found[at : at + 1], "total": len(found), "nextCursor": following}, self.status)

    async def create_secret_without_preload_content(self, body: Any, **_: Any) -> Any:
        self.sent.append(json.loads(body.to_json()))
        return Answer({"message": "Secret exists"}, status=409)

    async def update_secret_without_preload_content(self, entry_id: str, body: Any, **_: Any) -> Any:
        self.sent.append((entry_id, json.loads(body.to_json())))
        return Answer({**self.entries[-1], "placeholder": "dtn_secret_x"})


def refused(work: Any, error: type[Exception] = SandboxRefused) -> Any:
    with pytest.raises(error) as raised:
        wait_here(work)
    return raised.value


def test_entries_are_found_by_their_whole_name() -> None:
    api = VaultApi({"name": "npm-read-2"}, {"name": "npm-read"})
    vault = Vault(api)
    assert wait_here(partial(vault.find, "npm-read"))["name"] == "npm-read"
    shown = wait_here(partial(vault.update, "npm-read", {"value": "new"}))
    assert api.sent == [("id-npm-read", {"value": "new"})]
    wait_here(partial(vault.update, "npm-read", {"hosts": [], "description": "d"}))
    assert api.sent[-1] == ("id-npm-read", {"hosts": [], "description": "d"})
    for _, body in api.sent:
        assert_documented("UpdateSecret", body)
    assert "placeholder" not in shown
    refused(partial(vault.find, "npm"), SandboxMissing)
    conflict = refused(partial(vault.create, name="npm-read", value="v", hosts=["a.example"]))
    assert (conflict.code, conflict.status) == ("secret_exists", 409)
    assert api.sent[-1] == {"name": "npm-read", "value": "v", "hosts": ["a.example"], "description": ""}
    assert_documented("CreateSecret", api.sent[-1])
    forbidden = refused(partial(Vault(VaultApi(status=403)).find, "npm"))
    assert (forbidden.code, "manage:secrets" in forbidden.message) == ("secrets_forbidden", True)


@pytest.mark.parametrize(
    ("entries", "any_host", "code"),
    [
        ([{"name": "npm", "hosts": ["npm.example.com"]}], [], ""),
        ([{"name": "npm"}], ["npm"], ""),
        ([{"name": "npm"}], [], "secret_without_hosts"),
        ([{"name": "npm-2", "hosts": ["a.example"]}], [], "secret_not_found"),
    ],
)
def test_an_entry_must_be_there_and_have_hosts_when_a_run_starts(entries: Any, any_host: list[str], code: str) -> None:
    spec = EnvironmentSpec.read({"secrets": {"A": "npm", "B": "npm"}, "any_host": any_host})
    gateway: Any = SimpleNamespace(vault=Vault(VaultApi(*entries)))
    look = partial(guard_secrets, gateway, spec)
    if not code:
        wait_here(look)
        return
    error = refused(look)
    # Each reader of the execution sees it: variables' names are for all, entries' names for operators.
    assert (error.code, error.permanent, "npm" in error.message) == (code, True, False)
    assert "variable A" in error.message


class VolumesApi:
    def __init__(self, *states: str, status: int = 200) -> None:
        self.states, self.status = list(states), status

    async def get_volume_by_name_without_preload_content(self, name: str, **_: Any) -> Any:
        state = self.states.pop(0) if len(self.states) > 1 else self.states[0]
        return Answer({"id": f"id-{name}", "name": name, "state": state}, self.status)


def test_a_volume_is_waited_for_until_it_is_ready_and_not_for_ever(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(volumes, "_POLL_S", 0.0)
    spec = EnvironmentSpec.read({"volumes": [CACHE]})

    def ids(*states: str, status: int = 200) -> Any:
        gateway: Any = SimpleNamespace(volumes=Volumes(VolumesApi(*states, status=status)))
        return partial(volume_ids, gateway, spec)

    assert wait_here(ids("pending_create", "creating", "ready")) == {"caches": "id-caches"}
    assert refused(ids("error")).code == "volume_not_usable"
    assert refused(ids("ready", status=404)).code == "volume_not_found"
    assert not any("caches" in refused(ids("error", status=status)).message for status in (200, 404))
    assert "read:volumes" in refused(ids("ready", status=403)).message
    refused(ids("ready", status=500), SandboxUnavailable)
    monkeypatch.setattr(volumes, "WAIT_S", -1.0)
    late = refused(ids("creating"), VolumeNotReady)
    assert (late.waits_for, late.permanent) == ("volume", False)


# --- Secret values of a request, in the row ------------------------------------------------------------


@pytest.mark.django_db
def test_values_in_a_row_outlive_a_change_of_the_hubs_key(api: APIClient, settings: Any) -> None:
    task = task_create(actor=SYSTEM, title="t")
    env = {"TOKEN": {"value": "value-of-the-token", "secret": True}}
    api.post(f"/api/exec/{task.pk}", {"script_content": "true", "env": env}, format="json")
    former = settings.SECRET_KEY
    settings.SECRET_KEY = "the key after the change, of at least fifty characters"
    settings.SECRET_KEY_FALLBACKS = [former]
    execution = Execution.objects.get()
    assert "value-of-the-token" not in execution.secret_env
    assert launch_of(execution).env == {"TOKEN": "value-of-the-token"}
    assert ENV_SEAL.open(ENV_SEAL.close("written with the new key")) == "written with the new key"
