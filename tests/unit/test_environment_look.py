"""What the sandbox service says of an environment before it is saved: a clear no, or no answer."""

from __future__ import annotations

import asyncio
from functools import partial
from types import SimpleNamespace
from typing import Any

import pytest
from django.contrib.auth.models import User
from django.test import Client
from rest_framework.test import APIClient

from sandboxes.errors import SandboxError, SandboxRefused, SandboxUnavailable
from sandboxes.execute.references import guard_reference
from sandboxes.gateway.snapshots import Snapshots
from sandboxes.gateway.volumes import Volumes
from taskhub.executions import environment_look as looking
from taskhub.executions.environment_look import LOOK_S, NO_LOOK, environment_look
from taskhub.executions.executor import ExecutorError
from taskhub.models import Environment, EnvironmentSpec, EnvironmentVersion, SandboxSize
from taskhub.web.thread_pool import wait_here
from tests.conftest import client_of
from tests.unit.test_environment_secrets import VolumesApi
from tests.unit.test_sandbox_fields import Answer
from tests.unit.test_snapshots import SnapshotsApi

pytestmark = pytest.mark.sqlite_suffices
PATH = "/api/environments/"
NAMES = {
    "snapshot": "of-the-team",
    "secrets": {"TOKEN": "npm"},
    "volumes": [{"name": "caches", "mount_path": "/caches", "subpath": ""}],
}
MISSING = SandboxRefused("snapshot_not_found", "There is none of this name.")


class Service:
    """In place of the executor: its answers by field, an error or None; `silent` fields get none at all."""

    def __init__(self, *, silent: str = "", **answers: ExecutorError) -> None:
        self.answers, self.silent = answers, silent
        self.asked: list[str] = []
        self.size: SandboxSize | None = None

    async def look_up(self, environment: EnvironmentSpec, field: str) -> SandboxSize | None:
        self.asked.append(field)
        if field == self.silent:
            await asyncio.Event().wait()
        if error := self.answers.get(field):
            raise error
        return self.size


@pytest.fixture
def service(monkeypatch: pytest.MonkeyPatch) -> Service:
    made = Service()
    monkeypatch.setattr(looking, "get_executor", lambda: made)
    return made


@pytest.fixture
def rest(operator: User) -> APIClient:
    return client_of(operator)


def post(rest: APIClient, **fields: Any) -> Any:
    return rest.post(PATH, {"name": "backend", **fields}, format="json")


def patch(rest: APIClient, **fields: Any) -> Any:
    return rest.patch(f"{PATH}backend", fields, format="json")


@pytest.mark.django_db
def test_what_the_service_does_not_have_is_refused_by_field(rest: APIClient, service: Service) -> None:
    service.answers = {"snapshot": MISSING, "volumes": SandboxRefused("volume_not_usable", "Its state is error.")}
    answer = post(rest, **NAMES)
    assert answer.status_code == 400
    details = answer.json()["error"]["details"]
    assert details == {"snapshot": ["There is none of this name."], "volumes": ["Its state is error."]}
    assert not Environment.objects.exists()
    assert sorted(service.asked) == ["secrets", "snapshot", "volumes"]
    service.asked.clear()
    assert post(rest, image="python:3.12").status_code == 201
    assert service.asked == []


@pytest.mark.django_db
def test_without_an_answer_it_is_saved_and_says_so(
    rest: APIClient, api: APIClient, service: Service, monkeypatch: Any
) -> None:
    assert LOOK_S == 5
    monkeypatch.setattr(looking, "LOOK_S", 0.01)
    service.silent = "snapshot"
    service.answers = {"secrets": SandboxRefused("secrets_forbidden", "The key lacks the right manage:secrets.")}
    made = post(rest, **NAMES)
    assert made.status_code == 201
    assert made.json()["unchecked"] == (
        "snapshot: The sandbox service did not answer in time. secrets: The key lacks the right manage:secrets."
    )
    assert api.get(f"{PATH}backend").json()["unchecked"] is None
    # Saved again, unchanged, when it answers.
    service.silent, service.answers = "", {}
    again = patch(rest, snapshot="of-the-team").json()
    assert (again["version"], again["unchecked"]) == (1, "")


@pytest.mark.django_db
def test_a_change_of_something_else_is_not_refused(rest: APIClient, service: Service) -> None:
    """An account is refused the environment though its snapshot is gone meanwhile."""
    post(rest, **NAMES)
    service.answers = {"snapshot": MISSING}
    changed = patch(rest, allowed=[])
    assert (changed.status_code, changed.json()["version"]) == (200, 2)
    assert changed.json()["unchecked"] == "snapshot: There is none of this name."
    refused = patch(rest, snapshot="another")
    assert (refused.status_code, set(refused.json()["error"]["details"])) == (400, {"snapshot"})
    assert EnvironmentVersion.objects.count() == 2


@pytest.mark.django_db
def test_wrong_forms_are_told_without_a_look_and_a_repeat_gets_its_answer(rest: APIClient, service: Service) -> None:
    assert post(rest, snapshot="s", image="i").status_code == 400
    assert patch(rest, snapshot="s").status_code == 404
    assert service.asked == []
    given = {"name": "backend", "snapshot": "of-the-team"}
    key = {"Idempotency-Key": "k"}
    first = rest.post(PATH, given, format="json", headers=key)
    service.answers = {"snapshot": MISSING}
    again = rest.post(PATH, given, format="json", headers=key)
    assert (again.status_code, again.json()) == (201, first.json())


def test_a_look_says_nothing_of_other_names(service: Service) -> None:
    spec, other = EnvironmentSpec(snapshot="a"), EnvironmentSpec(snapshot="b")
    service.answers = {"snapshot": MISSING}
    look = wait_here(partial(environment_look, spec))
    assert set(look.refusals(spec, EnvironmentSpec())) == {"snapshot"}
    assert look.refusals(other, EnvironmentSpec()) == {}
    assert look.unchecked(other) == NO_LOOK.unchecked(other) == "snapshot: The sandbox service was not asked."
    assert NO_LOOK.unchecked(EnvironmentSpec(image="i")) == ""


@pytest.mark.django_db
def test_the_admins_form_shows_it_at_its_field(operator: User, service: Service) -> None:
    browser = Client()
    browser.force_login(operator)
    form = {"name": "backend", "network_kind": "open", "open_to_all": "on", "snapshot": "of-the-team"}
    service.answers = {"snapshot": MISSING}
    page = browser.post("/admin/taskhub/environment/add/", {**form, "description": "words of mine"})
    assert page.context["adminform"].form.errors == {"snapshot": ["There is none of this name."]}
    assert "words of mine" in page.content.decode()
    assert not Environment.objects.exists()
    service.answers = {"snapshot": SandboxUnavailable()}
    saved = browser.post("/admin/taskhub/environment/add/", form, follow=True)
    assert "was added successfully" in saved.content.decode()
    version = EnvironmentVersion.objects.get()
    assert version.unchecked == f"snapshot: {SandboxUnavailable().message}"
    address = f"/admin/taskhub/environment/{version.environment_id}/change/"
    assert version.unchecked in browser.get(address).content.decode()
    service.answers = {}
    browser.post(address, {**form, "seen_version": "1", "env": "{}", "keep_sandbox_s": ""})
    version.refresh_from_db()
    assert (version.number, version.unchecked) == (1, "")


def looked_up(field: Any, **gateway: Any) -> SandboxError | None:
    spec = EnvironmentSpec.read(NAMES)
    try:
        wait_here(partial(guard_reference, SimpleNamespace(**gateway), spec, field))  # type: ignore[arg-type]
    except SandboxError as error:
        return error
    return None


@pytest.mark.parametrize(
    ("api", "code"),
    [
        (SnapshotsApi("active"), ""),
        (SnapshotsApi("inactive"), ""),
        (SnapshotsApi("build_failed"), "snapshot_failed"),
        (SnapshotsApi("", found=404), "snapshot_not_found"),
        (SnapshotsApi("", found=403), "snapshots_forbidden"),
        (SnapshotsApi("", found=500), "sandbox_unavailable"),
    ],
)
def test_a_snapshot_is_looked_at_and_not_woken(api: SnapshotsApi, code: str) -> None:
    error = looked_up("snapshot", snapshots=Snapshots(api))
    assert (error.code if error else "") == code
    assert api.activated == []
    assert (code in looking.NO_CODES) is (code in {"snapshot_failed", "snapshot_not_found"})


@pytest.mark.parametrize(
    ("api", "code"),
    [
        (VolumesApi("creating"), ""),
        (VolumesApi("error"), "volume_not_usable"),
        (VolumesApi("ready", status=404), "volume_not_found"),
        (VolumesApi("ready", status=403), "volumes_forbidden"),
    ],
)
def test_a_volume_is_looked_at_and_not_waited_for(api: VolumesApi, code: str) -> None:
    error = looked_up("volumes", volumes=Volumes(api))
    assert (error.code if error else "") == code
    assert error is None or error.message.startswith("caches: ")


@pytest.mark.django_db
def test_the_first_executions_are_counted_by_the_size_of_the_snapshot(rest: APIClient, service: Service) -> None:
    """Ten at once would else be counted as the smallest sandboxes there are."""
    service.size = SandboxSize(4, 8, 20)
    post(rest, snapshot="large")
    assert sizes() == (4, 8, 20)
    service.silent = "snapshot"
    patch(rest, description="the service does not say it again")
    assert sizes() == (4, 8, 20)
    patch(rest, snapshot="another")
    assert sizes() == (None, None, None)
    service.silent = ""
    patch(rest, snapshot="another")
    assert (EnvironmentVersion.objects.count(), sizes()) == (3, (4, 8, 20))


def sizes() -> tuple[int | None, int | None, int | None]:
    version = EnvironmentVersion.objects.latest("number")
    return version.cpu, version.memory, version.disk


def test_a_snapshot_says_its_size() -> None:
    class Sized(SnapshotsApi):
        async def get_snapshot_without_preload_content(self, name: str, **_: Any) -> Any:
            return Answer({"id": name, "name": name, "state": "active", "cpu": 2, "mem": 4, "disk": 8})

    assert wait_here(partial(Snapshots(Sized("active")).guard, "of-the-team")) == SandboxSize(2, 4, 8)
