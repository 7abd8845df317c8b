"""The log of an image's build: while it is built, when it is built, and where there is none."""

from __future__ import annotations

from collections.abc import AsyncGenerator
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from django.contrib.auth.models import User
from rest_framework.test import APIClient

from sandboxes.api import sandboxes as views
from sandboxes.gateway import open_gateway
from sandboxes.selectors.sandboxes import build_log
from taskhub import jobs
from taskhub.auth.actor import SYSTEM
from taskhub.models import Execution, Task
from taskhub.services.environments import environment_create
from taskhub.web.thread_pool import wait_here
from tests.conftest import client_of
from tests.sandbox_server import running_sandbox_server

pytestmark = [pytest.mark.django_db, pytest.mark.sqlite_suffices]
STEPS = ["Step 1/2 : FROM python:3.12", "Step 2/2 : RUN make", "Successfully built"]


async def text(chunks: AsyncGenerator[bytes, None]) -> str:
    return b"".join([chunk async for chunk in chunks]).decode()


def test_a_build_is_followed_and_its_failure_told(
    operator: User, api: APIClient, settings: Any, tmp_path: Path
) -> None:
    with running_sandbox_server(tmp_path / "data", "--fake-builds", "--transition-ms", "20") as server:
        settings.DAYTONA_API_URL = server.env["DAYTONA_API_URL"]
        settings.DAYTONA_API_KEY = server.env["DAYTONA_API_KEY"]

        async def made_and_followed() -> str:
            async with open_gateway() as gateway:
                image = {"buildInfo": {"dockerfileContent": "FROM python:3.12\nRUN make\n"}}
                await gateway.create({"name": "box", **image})
            return await text(build_log(sandbox_id="box", follow=True))

        assert wait_here(made_and_followed).splitlines() == STEPS
        assert wait_here(lambda: text(build_log(sandbox_id="box", follow=False))).splitlines() == STEPS
        environment_create(actor=SYSTEM, name="broken", dockerfile="FROM python:3.12\nRUN make && exit 1\n")
        body = {"script_content": "true", "environment": "broken"}
        task = Task.objects.create(title="t")
        answer = api.post(f"/api/exec/{task.pk}", body, format="json").json()
        jobs.execution_start(answer["execution_id"])
        execution = Execution.objects.get()
        assert (execution.status, execution.error_code) == ("failed", "sandbox_build_failed")
        client = client_of(operator)
        missing = client.get("/api/sandboxes/of-no-such-name/build-log")
        assert (missing.status_code, missing.json()["error"]["code"]) == (404, "build_log_not_found")
        assert api.get("/api/sandboxes/box/build-log").status_code == 403


def test_the_answer_is_the_log_as_it_comes(operator: User, monkeypatch: pytest.MonkeyPatch) -> None:
    asked = []

    async def pieces(**given: Any) -> AsyncGenerator[bytes, None]:
        asked.append(given)
        for piece in (b"first\n", b"second\n"):
            yield piece

    monkeypatch.setattr(views.selectors, "build_log", pieces)
    answer = client_of(operator).get("/api/sandboxes/box/build-log?follow=true")
    assert answer["content-type"] == "text/plain; charset=utf-8"
    assert wait_here(partial(text, answer.streaming_content)) == "first\nsecond\n"
    assert asked == [{"sandbox_id": "box", "follow": True}]
