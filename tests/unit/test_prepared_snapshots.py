"""Prepared snapshots: what is written down, whose turn it is, what is told; an executor plays the service."""

from __future__ import annotations

from functools import partial
from typing import Any

import pytest
from django.contrib.auth.models import User
from django.test import Client
from django.utils import timezone
from rest_framework.test import APIClient

from sandboxes.errors import SandboxesFull, SandboxMissing, SandboxRefused, SandboxUnavailable
from taskhub.auth.actor import SYSTEM
from taskhub.executions.executor import ExecutorError, Place
from taskhub.executions.preparer import PrepareLook, Preparing
from taskhub.lib.leases import watch
from taskhub.models import (
    AdmissionRule,
    AuditEntry,
    Environment,
    EnvironmentVersion,
    Execution,
    PreparedSnapshot,
    SandboxSize,
)
from taskhub.services import admission, executions
from taskhub.services.environments import environment_create, environment_delete, environment_update
from taskhub.services.prepared_snapshots import (
    LEASE_S,
    snapshot_claim,
    snapshot_for,
    snapshot_give_back,
)
from taskhub.services.sandbox_sizes import held_sandboxes, made_sandboxes, size_of
from taskhub.web.thread_pool import wait_here
from taskhub.worker import snapshot_preparation
from taskhub.worker.snapshot_preparation import snapshots_prepare, step
from taskhub.worker.starting import launch_of
from tests.conftest import client_of
from tests.unit.test_admission import end, queue

pytestmark = pytest.mark.django_db
PATH = "/api/environments/"
RIGHT = SandboxRefused("snapshots_forbidden", "The hub's key at the sandbox service lacks the right write:snapshots.")


class Service:
    """In place of the executor. `looks` are the answers to looks at prepare; `errors` are raised instead, once each."""

    def __init__(self) -> None:
        self.looks: list[PrepareLook] = []
        self.errors: dict[str, list[Exception]] = {}
        self.kept: list[str] = ["", "id"]
        self.done: list[str] = []
        self.asked: list[Preparing] = []

    def fail(self, what: str, *errors: Exception) -> None:
        self.errors[what] = list(errors)

    def _do(self, what: str, preparing: Preparing) -> None:
        self.done.append(what)
        self.asked.append(preparing)
        if self.errors.get(what):
            raise self.errors[what].pop(0)

    async def prepare(self, preparing: Preparing) -> PrepareLook:
        self._do("prepare", preparing)
        return self.looks.pop(0) if self.looks else PrepareLook(0)

    async def keep_snapshot(self, preparing: Preparing) -> str:
        self._do("keep", preparing)
        return self.kept.pop(0) if self.kept else "id"

    async def drop_preparing(self, preparing: Preparing) -> None:
        self._do("drop sandbox", preparing)

    async def drop_snapshot(self, preparing: Preparing, snapshot_id: str) -> None:
        self._do(f"drop snapshot {snapshot_id}", preparing)


@pytest.fixture(autouse=True)
def service(monkeypatch: pytest.MonkeyPatch) -> Service:
    made = Service()
    monkeypatch.setattr(snapshot_preparation, "get_executor", lambda: made)
    return made


class Clock:
    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    made = Clock()
    monkeypatch.setattr(watch, "clock", made)
    return made


def make(name: str = "backend", **fields: Any) -> EnvironmentVersion:
    return environment_create(actor=SYSTEM, name=name, **{"prepare": "install", **fields})


def tick() -> int:
    """What the job does; nothing is waited for."""
    PreparedSnapshot.objects.update(due_at=None)
    watch.forget()
    return wait_here(snapshots_prepare)


def settled() -> PreparedSnapshot:
    """After as many ticks as it takes until nothing is to be done."""
    for _ in range(20):
        if not tick():
            return PreparedSnapshot.objects.get()
    raise AssertionError("it comes to no end")


def queue_in(version: EnvironmentVersion, status: str = "queued") -> Execution:
    (execution,) = queue("alice", 1, environment=version.name)
    Execution.objects.filter(pk=execution.pk).update(environment=version, status=status)
    execution.refresh_from_db()
    return execution


def test_a_stopped_sandbox_becomes_the_snapshot_and_goes(service: Service) -> None:
    version = make(env={"A": "1"})
    row = PreparedSnapshot.objects.get()
    assert (row.name, row.state, snapshot_for(version)) == ("taskhub-backend-1", "waiting", "")
    service.looks = [PrepareLook(None, SandboxSize(2, 4, 10)), PrepareLook(None), PrepareLook(0)]
    execution = queue_in(version)
    assert launch_of(execution).prepared_snapshot == "", "executions do not wait for it"
    done = settled()
    assert service.done == [*["prepare"] * 3, "keep", "keep", "drop sandbox"]
    assert {each.sandbox for each in service.asked} == {f"taskhub-prepare-{row.pk}"}
    assert (done.state, done.snapshot_id, done.holds_sandbox) == ("active", "id", False)
    assert size_of(done) == SandboxSize(2, 4, 10)
    assert snapshot_for(version) == "taskhub-backend-1"
    assert launch_of(execution).prepared_snapshot == "taskhub-backend-1"
    (entry,) = AuditEntry.objects.filter(action="environment:prepare")
    assert entry.subject == "environment:backend"
    assert entry.changes["state"] == ["snapshotting", "active"]


def test_without_prepare_nothing_is_made(service: Service) -> None:
    version = make(prepare="")
    assert not PreparedSnapshot.objects.exists()
    assert snapshot_for(version) == ""
    assert tick() == 0


def test_each_version_is_prepared_once(service: Service) -> None:
    make()
    settled()
    environment_update(actor=SYSTEM, name="backend", description="d")
    service.kept = ["", "id"]
    settled()
    assert service.done.count("prepare") == 2
    assert list(PreparedSnapshot.objects.values_list("name", "state")) == [("taskhub-backend-2", "active")]


def test_an_old_one_goes_when_no_active_execution_names_it(service: Service) -> None:
    first = make()
    settled()
    execution = queue_in(first)
    environment_update(actor=SYSTEM, name="backend", prepare="install more")
    service.done.clear()
    while tick():
        pass
    assert "drop snapshot id" not in service.done
    assert snapshot_for(first) == "taskhub-backend-1"
    end_it(execution)
    tick()
    assert service.done[-1] == "drop snapshot id"
    assert snapshot_for(first) == ""
    assert [row.name for row in PreparedSnapshot.objects.all()] == ["taskhub-backend-2"]


def end_it(execution: Execution) -> None:
    Execution.objects.filter(pk=execution.pk).update(status="completed", finished_at=timezone.now())


def test_a_deleted_environment_frees_its_name_after_its_snapshot_went(service: Service) -> None:
    """The new one's snapshot has the same name: it must be neither taken for the old one's, nor deleted with it."""
    old = make()
    settled()
    execution = queue_in(old)
    environment_delete(actor=SYSTEM, name="backend")
    new = make(prepare="install otherwise")
    service.done.clear()
    tick()
    waiting = PreparedSnapshot.objects.get(version=new)
    assert (waiting.state, waiting.error_code) == ("waiting", "prepare_waits")
    assert service.done == []
    end_it(execution)
    service.kept = ["", "new id"]
    row = settled()
    assert (row.version, row.state, row.snapshot_id) == (new, "active", "new id")
    assert service.done[:2] == ["drop snapshot id", "prepare"]


def test_one_that_is_under_way_is_given_up_for_a_newer_version(service: Service) -> None:
    make()
    service.looks = [PrepareLook(None)]
    tick()
    environment_update(actor=SYSTEM, name="backend", prepare="install more")
    settled()
    assert service.done[:2] == ["prepare", "drop sandbox"]
    assert [row.name for row in PreparedSnapshot.objects.all()] == ["taskhub-backend-2"]


def test_a_failed_prepare_is_told_and_not_repeated(operator: User, api: APIClient, service: Service) -> None:
    version = make()
    service.looks = [PrepareLook(7, log_tail="no such package\n<b>")]
    row = settled()
    assert (row.state, service.done) == ("failed", ["prepare", "drop sandbox"])
    assert snapshot_for(version) == ""
    shown = client_of(operator).get(f"{PATH}backend").json()
    assert shown["prepare"] == "install"
    assert shown["prepared"] == {
        "snapshot": "taskhub-backend-1",
        "state": "failed",
        "since": shown["prepared"]["since"],
        "error": {
            "code": "prepare_failed",
            "message": "Prepare ended with exit code 7.",
            "log_tail": "no such package\n<b>",
        },
    }
    for path in (f"{PATH}backend", PATH):
        told = api.get(path).json()
        told = told["results"][0] if "results" in told else told
        assert (told["prepare"], told["prepared"]) == (None, None)
    browser = Client()
    browser.force_login(operator)
    page = browser.get(f"/admin/taskhub/environment/{version.environment_id}/change/").content.decode()
    assert "taskhub-backend-1: failed<br>Prepare ended with exit code 7.<br>no such package<br>&lt;b&gt;" in page
    assert "its snapshot: failed" in page
    assert ">Failed<" in browser.get("/admin/taskhub/environment/").content.decode()


def test_a_save_that_changes_nothing_tries_again(service: Service) -> None:
    make()
    service.looks = [PrepareLook(7, log_tail="l")]
    settled()
    environment_update(actor=SYSTEM, name="backend", prepare="install")
    row = PreparedSnapshot.objects.get()
    assert (row.state, row.error_code, row.log_tail) == ("waiting", "", "")
    assert settled().state == "active"


def test_a_missing_right_is_told_and_executions_go_on(service: Service) -> None:
    version = make()
    service.fail("keep", RIGHT)
    row = settled()
    assert (row.state, row.error_code, row.error_message) == ("failed", RIGHT.code, RIGHT.message)
    assert service.done[-1] == "drop sandbox"
    assert launch_of(queue_in(version)).prepared_snapshot == ""


def test_a_snapshot_of_others_is_not_deleted(service: Service) -> None:
    make()
    service.fail("keep", SandboxRefused("snapshot_exists", "There is one."))
    settled()
    environment_delete(actor=SYSTEM, name="backend")
    assert tick() == 1
    assert not PreparedSnapshot.objects.exists()
    assert "drop snapshot" not in " ".join(service.done)


@pytest.mark.parametrize("what", ["prepare", "keep", "drop sandbox"])
def test_a_service_that_does_not_answer_is_asked_again(service: Service, what: str) -> None:
    make()
    service.fail(what, SandboxUnavailable(), SandboxUnavailable(), TimeoutError())
    row = settled()
    assert (row.state, row.error_code, row.holds_sandbox) == ("active", "", False)


def test_a_sandbox_that_is_gone_is_made_again(service: Service) -> None:
    make()
    service.fail("keep", SandboxMissing())
    row = settled()
    assert (row.state, service.done.count("prepare")) == ("active", 2)


def test_a_prepare_that_takes_too_long_fails(service: Service, clock: Clock) -> None:
    make(setup_timeout_s=60)
    service.looks = [PrepareLook(None)] * 4
    assert wait_here(snapshots_prepare) == 1
    for seconds, state in ((1, "preparing"), (59, "preparing"), (2, "failed")):
        clock.now += seconds
        PreparedSnapshot.objects.update(due_at=None)
        wait_here(snapshots_prepare)
        assert PreparedSnapshot.objects.get().state == state
    assert PreparedSnapshot.objects.get().error_message == "Prepare had not ended after 60 s."


def test_what_a_killed_worker_began_another_goes_on_with(service: Service, clock: Clock) -> None:
    make()
    killed = snapshot_claim()
    assert killed is not None
    assert snapshot_claim() is None, "one worker at a time"
    clock.now += LEASE_S - 1
    assert snapshot_claim() is None
    clock.now += 2
    other = snapshot_claim()
    assert other is not None
    wait_here(partial(step, other))
    assert PreparedSnapshot.objects.get().state == "snapshotting"
    # It was not dead after all.
    assert snapshot_give_back(killed, state="failed", error_code="late") is False
    assert PreparedSnapshot.objects.get().state == "snapshotting"


def test_of_two_workers_that_see_it_at_once_one_has_it(monkeypatch: pytest.MonkeyPatch) -> None:
    make()
    stale = PreparedSnapshot.objects.get()
    assert snapshot_claim() is not None
    monkeypatch.setattr("taskhub.services.prepared_snapshots._to_do", lambda: [stale])
    assert snapshot_claim() is None


def test_its_sandbox_counts_and_waits_for_room(settings: Any, service: Service) -> None:
    settings.TASKHUB_CAPACITY_CPU = 2
    make(image="python:3.12", cpu=2)
    service.looks = [PrepareLook(None), PrepareLook(None)]
    tick()
    assert held_sandboxes().size.cpu == made_sandboxes().size.cpu == 2
    (waits,) = queue("bob")
    assert admission.executions_admit() == []
    settled()
    assert held_sandboxes().sandboxes == 0
    assert admission.executions_admit() == [waits.pk]
    # And the other way round: what runs is not put off, and what waits comes first.
    environment_update(actor=SYSTEM, name="backend", description="d")
    tick()
    row = PreparedSnapshot.objects.get(version__number=2)
    assert (row.state, row.error_message) == ("waiting", "There is no room for another sandbox now.")
    claimed = executions.execution_claim_start(execution_id=waits.pk, lease_s=60)
    assert claimed is not None
    executions.execution_mark_started(execution=claimed, place=Place(waits.pk, "s", claimed.session_name, "c"))
    end(claimed)
    executions.execution_mark_released(execution=claimed)
    assert settled().state == "active"


def test_one_that_never_fits_fails_at_once(settings: Any, service: Service) -> None:
    settings.TASKHUB_CAPACITY_CPU = 2
    make(image="python:3.12", cpu=4)
    row = settled()
    assert (row.state, row.error_code, service.done) == ("failed", "capacity_never", [])


def test_a_full_service_is_waited_for_without_its_sandbox(service: Service) -> None:
    make()
    service.fail("prepare", SandboxesFull())
    tick()
    row = PreparedSnapshot.objects.get()
    assert (row.state, row.error_code, row.holds_sandbox) == ("waiting", "sandbox_capacity", False)
    assert row.due_at is not None
    assert settled().state == "active"


def test_while_work_is_paused_none_is_begun(service: Service) -> None:
    make()
    AdmissionRule.objects.create(account=":hub", paused=True)
    tick()
    assert (PreparedSnapshot.objects.get().error_message, service.done) == ("New work is paused.", [])


def test_with_gpus_there_is_none_and_it_says_so(service: Service) -> None:
    make(image="cuda:12", gpu=1)
    row = settled()
    assert (row.state, row.error_code, service.done) == ("failed", "prepare_with_gpu", [])
    environment_update(actor=SYSTEM, name="backend", gpu=1)
    assert PreparedSnapshot.objects.get().state == "failed"


def test_errors_that_another_key_mends_are_tried_later(service: Service) -> None:
    make()
    service.fail("prepare", ExecutorError("sandbox_key_refused", "The key is refused.", permanent=True))
    tick()
    row = PreparedSnapshot.objects.get()
    assert (row.state, row.error_code, row.attempts) == ("waiting", "sandbox_key_refused", 1)
    assert settled().state == "active"


def test_prepare_is_held_to_the_limit_of_scripts(operator: User) -> None:
    answer = client_of(operator).post(PATH, {"name": "backend", "prepare": "x" * 70_000}, format="json")
    assert (answer.status_code, set(answer.json()["error"]["details"])) == (400, {"prepare"})
    assert not Environment.objects.exists()


def test_the_admins_form_has_it(operator: User) -> None:
    browser = Client()
    browser.force_login(operator)
    form = {"name": "backend", "network_kind": "open", "open_to_all": "on", "prepare": "set -e\r\npip install x\r\n"}
    assert browser.post("/admin/taskhub/environment/add/", form).status_code == 302
    assert EnvironmentVersion.objects.get().spec.prepare == "set -e\npip install x\n"
    assert PreparedSnapshot.objects.get().state == "waiting"
