"""What Daytona is asked for a prepared snapshot, and what its answers become."""

from __future__ import annotations

import json
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from functools import partial
from types import SimpleNamespace
from typing import Any
from uuid import UUID

import pytest

from sandboxes.errors import SandboxError, SandboxRefused
from sandboxes.execute import executor as executing
from sandboxes.execute import snapshot_preparer
from sandboxes.execute.executor import SandboxExecutor
from sandboxes.execute.snapshot_preparer import PREPARE_LABEL, SnapshotPreparer
from sandboxes.gateway import Gateway
from sandboxes.gateway.snapshots import Snapshots
from taskhub.executions.executor import Launch
from taskhub.executions.preparer import Preparing
from taskhub.models import EnvironmentSpec
from taskhub.web.thread_pool import wait_here
from tests.daytona_document import assert_documented
from tests.unit.test_sandbox_fields import NEWER, Answer

SPEC = EnvironmentSpec.read(
    {
        "image": "python:3.12",
        "cpu": 2,
        "network": {"domains": ["pypi.org"]},
        "env": {"KEY": "value"},
        "secrets": {"TOKEN": "npm"},
        "volumes": [{"name": "caches", "mount_path": "/caches", "subpath": ""}],
        "prepare": "pip install x",
    }
)
PREPARING = Preparing("taskhub-prepare-1", "taskhub-backend-1", SPEC)
GONE = Answer({}, 404)
QUOTA = {"message": "Snapshot quota exceeded. Maximum allowed: 9"}


class Service:
    """In place of the SDK's clients of sandboxes and snapshots. `answers` by method; a list is answered in turn."""

    def __init__(self, **answers: Any) -> None:
        self.answers = answers
        self.asked: list[tuple[str, Any]] = []
        self._sandbox_api = self

    def __getattr__(self, name: str) -> Any:
        what = name.removesuffix("_without_preload_content")

        async def answer(*arguments: Any, **_: Any) -> Answer:
            self.asked.append((what, arguments[-1]))
            found = self.answers[what]
            found = found.pop(0) if isinstance(found, list) else found
            return found if isinstance(found, Answer) else Answer(found)

        return answer

    def said(self) -> list[str]:
        return [what for what, _ in self.asked]


class Toolbox:
    """`commands` are those that an earlier look has begun."""

    def __init__(self, *commands: Any) -> None:
        self.commands = list(commands)
        self.files: dict[str, bytes] = {}
        self.ran: list[str] = []

    async def session_open(self, _: str) -> list[Any]:
        return self.commands

    async def upload(self, files: dict[str, bytes]) -> None:
        self.files |= files

    async def command_run(self, _: str, text: str) -> str:
        self.ran.append(text)
        return "id"

    async def shell(self, _: str) -> tuple[int, str]:
        return 0, "the last\x00 line\n"


@pytest.fixture(autouse=True)
def no_target(settings: Any) -> None:
    settings.DAYTONA_TARGET = ""


@pytest.fixture
def at(monkeypatch: pytest.MonkeyPatch) -> Any:
    """The service and the sandbox's inside are these."""

    def place(service: Service, toolbox: Toolbox | None = None) -> Service:
        @asynccontextmanager
        async def opened(**_: Any) -> AsyncGenerator[Gateway, None]:
            yield Gateway(service)  # type: ignore[arg-type]  # in its place

        for module in (snapshot_preparer, executing):
            monkeypatch.setattr(module, "open_gateway", opened)
        monkeypatch.setattr(Gateway, "toolbox", lambda *_: toolbox)
        monkeypatch.setattr(Gateway, "snapshots", property(lambda _: Snapshots(service)))
        return service

    return place


def box(state: str = "started") -> dict[str, Any]:
    return {"id": "box", "state": state, "toolboxProxyUrl": "https://p/t", "cpu": 2, "memory": 4, "disk": 10}


def snapshot(state: str, **fields: Any) -> dict[str, Any]:
    return {"id": "id-1", "name": PREPARING.snapshot, "state": state, "sourceSandboxId": "box", **fields}


def command(exit_code: int | None) -> Any:
    return SimpleNamespace(id="c", text="", exit_code=exit_code)


def test_its_sandbox_has_what_the_environment_says_and_nothing_secret(at: Any) -> None:
    service = at(
        Service(get_sandbox=GONE, get_snapshot=GONE, create_sandbox=box()),
        toolbox := Toolbox(),
    )
    look = wait_here(partial(SnapshotPreparer().prepare, PREPARING))
    assert (look.exit_code, look.size) == (None, (2, 4, 10))
    body = json.loads(dict(service.asked)["create_sandbox"].to_json())
    assert_documented("CreateSandbox", {name: value for name, value in body.items() if name not in NEWER})
    assert body == {
        "name": "taskhub-prepare-1",
        "labels": {PREPARE_LABEL: "taskhub-backend-1"},
        "autoStopInterval": 0,
        "spot": False,
        "ttlMinutes": 10 + 120,
        "buildInfo": {"dockerfileContent": "FROM python:3.12\n"},
        "cpu": 2,
        "domainAllowList": "pypi.org",
        **NEWER,
    }
    folder = ".taskhub/taskhub-prepare-1"
    assert toolbox.files[f"{folder}/prepare"] == b"pip install x"
    assert toolbox.files[f"{folder}/prepare.env"] == b"unset TOKEN\nexport KEY=value\n"
    assert len(toolbox.ran) == 1


@pytest.mark.parametrize(
    ("commands", "exit_code", "tail"),
    [([None], None, ""), ([222, None], None, ""), ([222, 0], 0, ""), ([7], 7, "the last line\n")],
)
def test_a_later_look_begins_it_no_second_time(at: Any, commands: list[Any], exit_code: int | None, tail: str) -> None:
    at(Service(get_sandbox=box()), toolbox := Toolbox(*map(command, commands)))
    look = wait_here(partial(SnapshotPreparer().prepare, PREPARING))
    assert (look.exit_code, look.log_tail) == (exit_code, tail)
    assert (toolbox.ran, toolbox.files) == ([], {})


def test_one_that_was_ended_from_outside_is_told(at: Any) -> None:
    at(Service(get_sandbox=box()), Toolbox(command(222)))
    assert failed(SnapshotPreparer().prepare).code == "prepare_lost"


def failed(look: Any, *arguments: Any) -> SandboxError:
    with pytest.raises(SandboxError) as caught:
        wait_here(partial(look, PREPARING, *arguments))
    return caught.value


def test_a_snapshot_of_others_is_left_alone(at: Any) -> None:
    at(Service(get_sandbox=GONE, get_snapshot=snapshot("active", sourceSandboxId=None)))
    assert failed(SnapshotPreparer().prepare).code == "snapshot_exists"
    service = at(Service(get_sandbox=box("stopped"), get_snapshot=snapshot("active", sourceSandboxId="theirs")))
    assert failed(SnapshotPreparer().keep_snapshot).code == "snapshot_exists"
    assert "remove_snapshot" not in service.said()


def test_it_is_stopped_and_kept_and_waited_for(at: Any) -> None:
    service = at(
        Service(
            get_snapshot=[GONE, GONE, GONE, snapshot("snapshotting"), snapshot("active")],
            get_sandbox=[box(), box("stopping"), box("stopped"), box("snapshotting"), box("stopped")],
            stop_sandbox=box("stopping"),
            create_sandbox_snapshot=box("snapshotting"),
        )
    )
    found = [wait_here(partial(SnapshotPreparer().keep_snapshot, PREPARING)) for _ in range(5)]
    assert found == ["", "", "", "", "id-1"]
    assert [what for what in service.said() if not what.startswith("get_")] == [
        "stop_sandbox",
        "create_sandbox_snapshot",
    ]
    body = json.loads(dict(service.asked)["create_sandbox_snapshot"].to_json())
    assert_documented("CreateSandboxSnapshot", body)
    assert body == {"name": "taskhub-backend-1", "includeMemory": False}


@pytest.mark.parametrize(
    ("answers", "code", "words"),
    [
        ({"create_sandbox_snapshot": Answer({}, 403)}, "snapshots_forbidden", "write:snapshots"),
        ({"create_sandbox_snapshot": Answer({"message": "https://host"}, 400)}, "snapshot_refused", "does not keep"),
        ({"create_sandbox_snapshot": Answer(QUOTA, 400)}, "snapshot_quota", "no further snapshot"),
        ({"get_snapshot": Answer({}, 403)}, "snapshots_forbidden", "may not read snapshots"),
        ({"get_sandbox": box("error")}, "snapshot_failed", "its state is error"),
        ({"get_sandbox": GONE}, "sandbox_not_found", ""),
        ({"get_snapshot": snapshot("error", errorReason="https://host")}, "snapshot_failed", "its state was error"),
    ],
)
def test_why_it_is_not_kept_is_a_sentence(at: Any, answers: dict[str, Any], code: str, words: str) -> None:
    usual = {"get_snapshot": GONE, "get_sandbox": box("stopped"), "remove_snapshot": {}}
    service = at(Service(**{**usual, **answers}))
    error = failed(SnapshotPreparer().keep_snapshot)
    assert (error.code, error.permanent) == (code, True)
    assert words in error.message
    assert "host" not in error.message
    assert error.detail in {"", "https://host", QUOTA["message"]}
    assert error.detail or code not in {"snapshot_refused", "snapshot_quota"}
    # One that has failed would keep its name.
    has_failed = "get_snapshot" in answers and code == "snapshot_failed"
    assert ("remove_snapshot" in service.said()) is has_failed


def test_what_is_gone_is_deleted_without_an_error(at: Any) -> None:
    service = at(Service(get_snapshot=[GONE, snapshot("active")], remove_snapshot=GONE, delete_sandbox=GONE))
    for _ in range(2):
        wait_here(partial(SnapshotPreparer().drop_snapshot, PREPARING, "id-1"))
    wait_here(partial(SnapshotPreparer().drop_preparing, PREPARING))
    assert service.asked == [
        *(("get_snapshot", "id-1"), ("get_snapshot", "id-1"), ("remove_snapshot", "id-1")),
        ("delete_sandbox", "taskhub-prepare-1"),
    ]
    at(Service(get_snapshot=snapshot("active"), remove_snapshot=Answer({}, 403)))
    error = failed(SnapshotPreparer().drop_snapshot, "")
    assert (error.code, "delete:snapshots" in error.message) == ("snapshots_forbidden", True)


@pytest.mark.parametrize(
    ("said", "found", "is_lost"),
    [
        ("Snapshot taskhub-backend-1 not found", {}, True),
        ("Snapshot taskhub-backend-1 is inactive", snapshot("inactive"), False),
        ("Snapshot taskhub-backend-1 is pending", snapshot("pending"), False),
        ("Snapshot taskhub-backend-1 is error", snapshot("error"), True),
        ("Snapshot taskhub-backend-1 is not available in region us", {}, False),
    ],
)
def test_a_start_does_not_wait_for_it(at: Any, said: str, found: dict[str, Any], is_lost: bool) -> None:
    toolbox = Toolbox()
    toolbox.session_create = toolbox.session_open  # type: ignore[attr-defined]  # as new
    created = [Answer({"message": said}, 400), box()]
    service = at(Service(create_sandbox=created, get_snapshot=found, activate_snapshot={}), toolbox)
    spec = EnvironmentSpec.read({"image": "python:3.12", "prepare": "pip install x"})
    launch = Launch(
        *(UUID(int=1), "taskhub-1", "true", 60, "t" * 64), environment=spec, prepared_snapshot="taskhub-backend-1"
    )
    place = wait_here(partial(SandboxExecutor().launch, launch))
    bodies = [json.loads(fields.to_json()) for what, fields in service.asked if what == "create_sandbox"]
    assert [body.get("snapshot") for body in bodies] == ["taskhub-backend-1", None]
    assert bodies[1]["buildInfo"] == {"dockerfileContent": "FROM python:3.12\n"}
    assert (place.sandbox_id, place.lost_snapshot) == ("box", is_lost)
    # Prepare comes along in any case: the sandbox knows whether it is prepared.
    assert any(path.endswith("/prepare") for path in toolbox.files)
    assert ("activate_snapshot" in service.said()) is (found.get("state") == "inactive")


def test_any_other_refusal_is_the_starts(at: Any) -> None:
    at(Service(create_sandbox=Answer({"message": "Network access is restricted"}, 400)))
    launch = Launch(
        *(UUID(int=1), "taskhub-1", "true", 60, "t" * 64), environment=EnvironmentSpec(), prepared_snapshot="p"
    )
    with pytest.raises(SandboxRefused) as refused:
        wait_here(partial(SandboxExecutor().launch, launch))
    assert refused.value.code == "network_refused"
