"""What needs an image, on a local server that plays builds: the build's log, and the size of the disk."""

from __future__ import annotations

import html
from collections.abc import AsyncGenerator, Iterator
from functools import partial
from typing import Any

import pytest
from django.contrib.auth.models import User
from django.test import Client
from django.urls import reverse
from rest_framework.test import APIClient

from sandboxes.api import build_log as views
from sandboxes.errors import SandboxUnavailable
from sandboxes.gateway import open_gateway
from sandboxes.gateway.build_logs import BuildLogs
from sandboxes.selectors.sandboxes import build_log
from taskhub import jobs
from taskhub.auth.actor import SYSTEM
from taskhub.models import Execution, Task
from taskhub.services.environments import environment_create
from taskhub.web.thread_pool import wait_here
from tests.conftest import client_of
from tests.sandbox_server import SandboxServer, running_sandbox_server
from tests.settling import settle

pytestmark = [pytest.mark.django_db, pytest.mark.sqlite_suffices]
STEPS = ["Step 1/2 : FROM python:3.12", "Step 2/2 : RUN make", "Successfully built"]


async def text(chunks: AsyncGenerator[bytes, None]) -> str:
    return b"".join([chunk async for chunk in chunks]).decode()


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[SandboxServer]:
    data_dir = tmp_path_factory.mktemp("building") / "data"
    options = ("--fake-builds", "--disk-s", "0.05", "--transition-ms", "20", "--kill-grace-s", "0")
    with running_sandbox_server(data_dir, *options) as running:
        yield running


@pytest.fixture
def building(server: SandboxServer, settings: Any) -> None:
    settings.DAYTONA_API_URL = server.env["DAYTONA_API_URL"]
    settings.DAYTONA_API_KEY = server.env["DAYTONA_API_KEY"]


def started(api: APIClient, script: str, environment: str) -> Execution:
    body = {"script_content": script, "environment": environment}
    task = Task.objects.create(title="t")
    answer = api.post(f"/api/exec/{task.pk}", body, format="json").json()
    jobs.execution_start(answer["execution_id"])
    return Execution.objects.get(pk=answer["execution_id"])


@pytest.mark.usefixtures("building")
def test_a_build_is_followed_and_its_failure_told(operator: User, api: APIClient) -> None:
    async def made_and_followed() -> str:
        async with open_gateway() as gateway:
            image = {"buildInfo": {"dockerfileContent": "FROM python:3.12\nRUN make\n"}}
            await gateway.create({"name": "box", **image})
        return await text(build_log(sandbox_id="box", follow=True))

    assert wait_here(made_and_followed).splitlines() == STEPS
    assert wait_here(partial(text, build_log(sandbox_id="box", follow=False))).splitlines() == STEPS
    environment_create(actor=SYSTEM, name="broken", dockerfile="FROM python:3.12\nRUN make && exit 1\n")
    execution = started(api, "true", "broken")
    assert (execution.status, execution.error_code) == ("failed", "sandbox_build_failed")
    missing = client_of(operator).get("/api/sandboxes/of-no-such-name/build-log")
    assert (missing.status_code, missing.json()["error"]["code"]) == (404, "build_log_not_found")
    assert api.get("/api/sandboxes/box/build-log").status_code == 403
    mine = f"/api/executions/{execution.pk}/"
    listed = f"/api/tasks/{execution.task_id}/executions/"
    for address in (f"/api/sandboxes/taskhub-{execution.pk}", "/api/sandboxes/", mine, listed):
        shown = api.get(address)
        assert (shown.status_code, b"make && exit 1" in shown.content) == (200, False)
    assert api.get(mine).json()["error"]["code"] == "sandbox_build_failed"
    failed = "The command 'make && exit 1' returned a non-zero code: 1"
    told = [f"Build failed: {failed}", "Step 1/2 : FROM python:3.12", "Step 2/2 : RUN make && exit 1", failed]
    assert client_of(operator).get(mine).json()["error_detail"].splitlines() == told
    admin = Client()
    admin.force_login(operator)
    page = admin.get(reverse("admin:taskhub_execution_change", args=[execution.pk])).content.decode()
    assert html.escape("\n".join(told)) in page


@pytest.mark.usefixtures("building")
def test_a_build_whose_log_is_not_to_be_had_is_told_by_its_reason(
    operator: User, api: APIClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def away(_: BuildLogs, address: Any) -> AsyncGenerator[bytes, None]:
        await address
        yield b"begun"
        raise SandboxUnavailable

    monkeypatch.setattr(BuildLogs, "text", away)
    environment_create(actor=SYSTEM, name="broken", dockerfile="FROM x\nRUN false\n")
    execution = started(api, "true", "broken")
    assert execution.error_detail == "Build failed: The command 'false' returned a non-zero code: 1\nbegun"


@pytest.mark.usefixtures("building")
def test_a_prepare_tells_operators_why_its_image_is_not_built(operator: User) -> None:
    environment_create(actor=SYSTEM, name="broken", dockerfile="FROM x\nRUN false\n", prepare="true")
    jobs.snapshots_prepare()
    error = client_of(operator).get("/api/environments/broken/").json()["prepared"]["error"]
    assert error["code"] == "sandbox_build_failed"
    assert error["log_tail"].splitlines()[1:3] == ["Step 1/2 : FROM x", "Step 2/2 : RUN false"]


@pytest.mark.usefixtures("building")
def test_a_script_that_fills_its_disk_is_told_so(api: APIClient) -> None:
    environment_create(actor=SYSTEM, name="small", image="python:3.12", disk=1)
    execution = started(api, "fallocate -l 600M a; fallocate -l 600M b; echo written; sleep 60", "small")
    ended = settle(str(execution.pk))
    assert (ended.status, ended.error_code, ended.exit_code) == ("failed", "disk_limit", None)
    assert "disk" in ended.error_message


def test_the_answer_is_the_log_as_it_comes(operator: User, monkeypatch: pytest.MonkeyPatch) -> None:
    asked = []

    class Pieces:
        """No generator: that would end with the loop of the test's request."""

        def __init__(self, **given: Any) -> None:
            asked.append(given)
            self.left = [b"first\n", b"second\n"]

        def __aiter__(self) -> Pieces:
            return self

        async def __anext__(self) -> bytes:
            if not self.left:
                raise StopAsyncIteration
            return self.left.pop(0)

        async def aclose(self) -> None:
            self.left.clear()

    monkeypatch.setattr(views.selectors, "build_log", Pieces)
    answer = client_of(operator).get("/api/sandboxes/box/build-log?follow=true")
    assert answer["content-type"] == "text/plain; charset=utf-8"
    assert wait_here(partial(text, answer.streaming_content)) == "first\nsecond\n"
    assert asked == [{"sandbox_id": "box", "follow": True}]
