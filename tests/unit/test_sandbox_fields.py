"""What Daytona is sent for an environment, held against its OpenAPI document, and what its refusals become."""

from __future__ import annotations

import json
from functools import partial
from pathlib import Path
from typing import Any
from uuid import UUID

import pytest

from sandboxes.errors import SandboxBuilding, SandboxError, SandboxFailed, SandboxRefused, SandboxUnavailable
from sandboxes.execute.executor import SandboxExecutor
from sandboxes.gateway import Gateway, client
from sandboxes.gateway.translation import refusal
from sandboxes.local.errors import ControlError
from sandboxes.local.not_held import Held, refuse_what_is_not_held
from sandboxes.local.options import Options
from sandboxes.services.sandbox_state import shown
from taskhub.executions.executor import Launch
from taskhub.models import EnvironmentSpec
from taskhub.web.thread_pool import wait_here
from tests.daytona_document import assert_documented

NEWER = {"kvm": False}
"""What the SDK adds that is not in that document."""
OURS = {"name": "taskhub-1", "labels": {"taskhub.execution": str(UUID(int=1))}, "autoStopInterval": 0, "spot": False}


class Answer:
    headers: dict[str, str] = {}

    def __init__(self, document: dict[str, Any], status: int = 200) -> None:
        self.status = status
        self._body = json.dumps(document).encode()

    async def read(self) -> bytes:
        return self._body


class Daytona:
    """In place of the SDK's client: it keeps what it is sent, and answers with sandboxes in these states."""

    def __init__(self, *states: str) -> None:
        self.sent: list[dict[str, Any]] = []
        self.deleted: list[str] = []
        self.states = list(states)
        self._sandbox_api = self

    async def create_sandbox_without_preload_content(self, fields: Any, **_: Any) -> Answer:
        self.sent.append(json.loads(fields.to_json()))
        return self._answer()

    async def get_sandbox_without_preload_content(self, *_: Any, **__: Any) -> Answer:
        return self._answer()

    async def start_sandbox_without_preload_content(self, *_: Any, **__: Any) -> Answer:
        return Answer({"message": "Sandbox is in an errored state"}, status=400)

    async def delete_sandbox_without_preload_content(self, name: str, **_: Any) -> Answer:
        self.deleted.append(name)
        return Answer({"id": "box", "state": "destroying"})

    async def get_build_logs_url_without_preload_content(self, *_: Any, **__: Any) -> Answer:
        return Answer({"message": "No build logs"}, status=404)

    def _answer(self) -> Answer:
        state = self.states.pop(0) if len(self.states) > 1 else self.states[0]
        return Answer({"id": "box", "state": state, "toolboxProxyUrl": "https://proxy.example/toolbox"})


@pytest.fixture(autouse=True)
def no_toolbox(monkeypatch: pytest.MonkeyPatch, settings: Any) -> None:
    settings.DAYTONA_TARGET = ""
    monkeypatch.setattr(Gateway, "toolbox", lambda *_: None)


def make(daytona: Daytona, prepared: str = "", **fields: Any) -> Any:
    spec = EnvironmentSpec.read(fields)
    launch = Launch(
        *(UUID(int=1), "taskhub-1", "true", 60, ""), env=spec.env, environment=spec, prepared_snapshot=prepared
    )
    return wait_here(partial(SandboxExecutor()._sandbox, Gateway(daytona), launch))  # type: ignore[arg-type]  # in its place


@pytest.mark.parametrize(
    ("fields", "sent"),
    [
        ({}, {}),
        ({"description": "d", "timeout_s": 5, "timeout_max_s": 9, "allowed": ["bob"]}, {}),
        ({"snapshot": "ubuntu-4vcpu"}, {"snapshot": "ubuntu-4vcpu"}),
        ({"image": "python:3.12"}, {"buildInfo": {"dockerfileContent": "FROM python:3.12\n"}}),
        ({"dockerfile": "FROM a\nRUN b"}, {"buildInfo": {"dockerfileContent": "FROM a\nRUN b"}}),
        (
            {"image": "a", "cpu": 2, "memory": 4, "disk": 10, "gpu": 1},
            {"buildInfo": {"dockerfileContent": "FROM a\n"}, "cpu": 2, "memory": 4, "disk": 10, "gpu": 1}
            | {"autoDeleteInterval": 0},
        ),
        ({"network": "none"}, {"networkBlockAll": True}),
        ({"network": {"cidrs": ["10.0.0.0/8", "1.2.3.4/32"]}}, {"networkAllowList": "10.0.0.0/8,1.2.3.4/32"}),
        ({"network": {"domains": ["pypi.org", "*.example.com"]}}, {"domainAllowList": "pypi.org,*.example.com"}),
        # What is in the request of creation can be read for the sandbox's life.
        ({"env": {"KEY": "value"}}, {}),
    ],
)
def test_body_is_as_daytonas_document_has_it(fields: dict[str, Any], sent: dict[str, Any]) -> None:
    daytona = Daytona("started")
    make(daytona, **fields)
    (body,) = daytona.sent
    assert_documented("CreateSandbox", {name: value for name, value in body.items() if name not in NEWER})
    assert body == {**OURS, **NEWER, "ttlMinutes": 1 + 10 + 30, **sent}


def test_a_prepared_snapshot_stands_for_what_it_was_made_from_sizes_included() -> None:
    """Daytona refuses sizes with a snapshot; the network is the sandbox's own."""
    daytona = Daytona("started")
    make(daytona, "taskhub-backend-3", image="a", cpu=2, memory=4, disk=10, network="none", prepare="p")
    (body,) = daytona.sent
    assert body == {**OURS, **NEWER, "ttlMinutes": 41, "snapshot": "taskhub-backend-3", "networkBlockAll": True}


def test_viewers_of_an_executions_sandbox_do_not_read_what_is_for_operators() -> None:
    told = {"id": "box", "networkBlockAll": False}
    theirs = {"snapshot": "private-tools", "networkAllowList": "10.0.0.0/8", "domainAllowList": "intern.example.com"}
    assert shown({**told, **theirs, "labels": OURS["labels"]}) == {**told, "labels": OURS["labels"]}
    by_hand = {**told, **theirs, "labels": {"team": "build"}}
    assert shown(by_hand) == by_hand


def test_time_to_live_covers_how_long_the_sandbox_is_kept() -> None:
    daytona = Daytona("started")
    make(daytona, keep_sandbox_s=7200)
    assert daytona.sent[0]["ttlMinutes"] == 1 + 120 + 30


def test_an_image_is_waited_for_a_while_at_a_time(monkeypatch: pytest.MonkeyPatch) -> None:
    assert make(Daytona("pending_build", "building_snapshot", "starting", "started"), image="a")[1] is True
    monkeypatch.setattr(client, "_BUILDING_S", -1.0)
    with pytest.raises(SandboxBuilding) as building:
        make(Daytona("building_snapshot"), image="a")
    assert (building.value.waits_for, building.value.permanent) == ("image", False)


def test_an_image_that_is_not_built_ends_it_at_once() -> None:
    with pytest.raises(SandboxRefused) as refused:
        make(Daytona("pending_build", "build_failed"), image="a")
    assert (refused.value.code, refused.value.permanent) == ("sandbox_build_failed", True)


class Again(Daytona):
    """Asked for a sandbox that it has: an earlier try waited for the image for a while."""

    async def create_sandbox_without_preload_content(self, fields: Any, **_: Any) -> Answer:
        return Answer({"message": f"Sandbox with name {fields.name} already exists"}, status=409)


def test_an_image_that_was_not_built_between_two_tries_is_told_as_such() -> None:
    with pytest.raises(SandboxRefused) as refused:
        make(Again("build_failed"), image="a")
    assert refused.value.code == "sandbox_build_failed"
    assert make(Again("building_snapshot", "started"), image="a")[1] is False


def test_a_sandbox_that_changes_its_state_is_to_be_deleted_later() -> None:
    class Changing(Daytona):
        async def delete_sandbox_without_preload_content(self, *_: Any, **__: Any) -> Answer:
            return Answer({"message": "Sandbox state change in progress"}, status=409)

    gateway = Gateway(Changing("building_snapshot"))  # type: ignore[arg-type]  # in its place
    with pytest.raises(SandboxUnavailable) as later:
        wait_here(partial(gateway.sandbox_delete, "taskhub-1"))
    assert later.value.permanent is False


@pytest.mark.parametrize(
    ("said", "code"),
    [
        ("Snapshot nope not found. Did you add it through the Daytona Dashboard?", "snapshot_not_found"),
        ("Snapshot old is inactive", "snapshot_not_active"),
        ("Snapshot old is removing", "snapshot_not_active"),
        ("Snapshot new is snapshotting", "snapshot_not_active"),
        ("Snapshot theirs is not available in region us", "snapshot_elsewhere"),
        ("Snapshot quota exceeded. Maximum allowed: 100", "snapshot_quota"),
        ("Region us is not available to the organization for class container", "region_refused"),
        ("Organization is suspended: Please verify your email address", "account_suspended"),
        ("Total GPU limit exceeded. Maximum allowed: 0.", "gpus_refused"),
        ("Volume 'caches' could not be resolved to a valid volume ID", "volume_not_found"),
        ("Network access is restricted and cannot be overridden at the sandbox level", "network_refused"),
        ("Cannot specify Sandbox resources when using a snapshot", "sizes_refused"),
        ("Something else with https://host.example and a key", "sandbox_refused"),
    ],
)
def test_refusals_have_a_sentence_of_ours(said: str, code: str) -> None:
    error = refusal("sandbox", 400, {}, json.dumps({"message": said}))
    assert (error.code, error.permanent, error.waits_for) == (code, True, None)
    assert (error.detail, "host.example" in error.message) == (said, False)


@pytest.mark.parametrize(
    ("status", "said", "code"),
    [
        (404, "Region not found", "region_refused"),
        (404, "Volume 'caches' not found", "volume_not_found"),
        (404, "Snapshot theirs not found", "snapshot_not_found"),
        (404, "Cannot POST /sandbox", "sandbox_refused"),
        (400, "Only ephemeral sandboxes are permitted in this region", "sandbox_refused"),
        (400, "Sandbox failed to start: no room on any runner", "sandbox_failed"),
    ],
)
def test_a_creation_that_is_refused_says_why(status: int, said: str, code: str) -> None:
    class Refusing(Daytona):
        async def create_sandbox_without_preload_content(self, *_: Any, **__: Any) -> Answer:
            return Answer({"message": said}, status)

    daytona = Refusing("error")
    with pytest.raises(SandboxError) as refused:
        make(daytona)
    error = refused.value
    assert (error.code, error.detail, error.permanent) == (code, said, code != "sandbox_failed")
    assert "started" not in error.message
    assert daytona.deleted == (["taskhub-1"] if code == "sandbox_failed" else [])


def test_one_that_does_not_start_is_deleted_and_one_that_may_have_run_is_not() -> None:
    daytona = Daytona("creating", "error")
    with pytest.raises(SandboxFailed) as failed:
        make(daytona)
    assert (failed.value.permanent, daytona.deleted) == (False, ["box"])
    daytona = Again("error")
    with pytest.raises(SandboxRefused) as refused:
        make(daytona)
    assert (refused.value.code, daytona.deleted) == ("sandbox_failed", [])


@pytest.mark.parametrize(
    ("body", "words"),
    [
        ({"buildInfo": {"dockerfileContent": "FROM a"}}, "images and Dockerfiles"),
        ({"gpu": 1}, "GPUs"),
        ({"networkAllowList": "10.0.0.0/8"}, "lists of addresses and domains"),
        ({"domainAllowList": "example.com"}, "lists of addresses and domains"),
        ({"volumes": [{"volumeId": "v", "mountPath": "/v"}]}, "volumes without bubblewrap"),
        ({"linkedSandbox": "other"}, "linked sandboxes"),
        ({"cpu": 3}, "3 CPUs, only 2"),
        ({"memory": 1}, "limits of memory without a writable cgroup"),
        ({"networkBlockAll": True}, "network to close without bubblewrap"),
    ],
)
def test_local_server_refuses_what_it_cannot_hold(body: dict[str, Any], words: str, tmp_path: Path) -> None:
    nothing = Held(closes_network=False, mounts=False, cpus=2, memory=False)
    with pytest.raises(ControlError) as refused:
        refuse_what_is_not_held(Options(data_dir=tmp_path, key="k" * 16), body, nothing)
    assert refused.value.status == 400
    error = refusal("sandbox", 400, {}, json.dumps({"message": refused.value.message}))
    assert error.code == "sandbox_not_held"
    assert error.message.startswith(f"The local sandbox server has no {words};")
    # With what holds it, or without asking for anything, it is taken.
    can = Options(data_dir=tmp_path, key="k" * 16, sizes_not_held=True)
    refuse_what_is_not_held(can, {"cpu": 3, "memory": 1, "disk": 1, "volumes": [], "gpu": 0}, nothing)
    all_of_it = Held(closes_network=True, mounts=True, cpus=3, memory=True)
    asked = {"cpu": 3, "memory": 1, "networkBlockAll": True, "volumes": [{"volumeId": "v", "mountPath": "/v"}]}
    refuse_what_is_not_held(Options(data_dir=tmp_path, key="k" * 16), asked, all_of_it)
