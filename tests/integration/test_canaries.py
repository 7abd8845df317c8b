"""A hundred runs, each with a canary of its own that it uses in every way: none is anywhere after their release.

The values of `env` are masked by the hub, those of the vault by the local sandbox server. Each is printed, part of a
failing command's error, traced by `set -x`, and the name of a file.
"""

from __future__ import annotations

import logging
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
import redis
from django.conf import settings as django_settings
from django.contrib.auth.models import User
from django.core.files.storage import default_storage
from django.core.management import call_command
from django.db import connection
from rest_framework.test import APIClient

from taskhub import jobs
from taskhub.auth.actor import SYSTEM
from taskhub.executions.masking import MASK
from taskhub.models import Artifact, Execution, WebhookDelivery
from taskhub.services.environments import environment_create
from taskhub.webhooks.endpoints import endpoint_create
from taskhub.webhooks.jobs import webhooks_deliver
from tests.canaries import SCRIPT, canaries, files_below, found_in
from tests.conftest import client_of
from tests.receiver import receiving
from tests.sandbox_server import SandboxServer, running_sandbox_server
from tests.settling import settle

pytestmark = [pytest.mark.django_db, pytest.mark.sqlite_suffices]
COUNT = 50
"""Runs of either kind."""
AT_ONCE = 10
THROUGH_THE_HUB = 3
"""Entries that are made over REST; the others are made at once, which is faster."""


@pytest.fixture
def server(tmp_path: Path, settings: Any) -> Iterator[SandboxServer]:
    with running_sandbox_server(tmp_path / "sandboxes", "--transition-ms", "5", "--kill-grace-s", "0") as server:
        settings.DAYTONA_API_URL = server.env["DAYTONA_API_URL"]
        settings.DAYTONA_API_KEY = server.env["DAYTONA_API_KEY"]
        yield server


def database(tmp_path: Path) -> bytes:
    dump = tmp_path / "rows.json"
    call_command("dumpdata", output=str(dump), verbosity=0)
    with connection.cursor() as cursor:  # and what has no model
        cursor.execute("SELECT data FROM django_eventstream_event")
        return dump.read_bytes() + " ".join(row[0] for row in cursor.fetchall()).encode()


def redis_content() -> bytes:
    """Every key with its value, as Redis itself would store it; LZF would hide a text, so it is off."""
    client = redis.Redis.from_url(django_settings.REDIS_URL)
    client.config_set("rdbcompression", "no")
    return b"".join(key + (client.dump(key) or b"") for key in client.scan_iter())


def queued(api: APIClient, **body: Any) -> str:
    task = api.post("/api/tasks/", {"title": "t"}, format="json").json()
    answer = api.post(f"/api/exec/{task['id']}", {"script_content": SCRIPT, **body}, format="json")
    assert answer.status_code == 202, answer.content
    return str(answer.json()["execution_id"])


def run(api: APIClient, bodies: list[dict[str, Any]]) -> list[Execution]:
    """Each in a run of its own, some of them at once."""
    ended: list[Execution] = []
    while bodies:
        begun = [queued(api, **body) for body in bodies[:AT_ONCE]]
        bodies = bodies[AT_ONCE:]
        for execution_id in begun:
            jobs.execution_start(execution_id)
        ended += map(settle, begun)
    return ended


def test_a_hundred_canaries_are_nowhere_after_the_release(
    server: SandboxServer, operator: User, settings: Any, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    api = client_of(operator)
    for name in ("taskhub", "sandboxes"):
        caplog.set_level(logging.DEBUG, logger=name)
    settings.TASKHUB_WEBHOOKS_ALLOW_PRIVATE = True
    ours, theirs = canaries("env", COUNT), canaries("vault", COUNT)
    for n, (name, value) in enumerate(theirs.items()):
        body = {"name": f"entry-{name}", "value": value, "hosts": ["example.com"]}
        if n < THROUGH_THE_HUB:
            answer: Any = api.post("/api/secrets/", body, format="json", headers={"Idempotency-Key": name})
        else:
            answer = httpx.post(f"{server.address}/api/secret", json=body, headers=server.headers, trust_env=False)
        assert answer.status_code == 201, answer.content
    environment_create(actor=SYSTEM, name="vault", secrets={name: f"entry-{name}" for name in theirs})
    with receiving() as receiver:
        endpoint_create(actor=SYSTEM, url=receiver.url)
        with_env = run(api, [{"env": {name: {"value": value, "secret": True}}} for name, value in ours.items()])
        with_vault = run(api, [{"environment": "vault", "env": {"USED": name}} for name in theirs])
        while WebhookDelivery.objects.filter(delivered_at=None).exists() or not receiver.requests:
            webhooks_deliver()
        told = list(receiver.requests)
    ended = with_env + with_vault
    assert {execution.status for execution in ended} == {"completed"}
    assert len(told) >= 3 * len(ended)  # queued, started and ended
    # The scripts did what they are for: each value was printed, in an error, traced, and in a name.
    for execution in ended:
        log = api.get(f"/api/exec/logs/{execution.task_id}")
        lines = [line["line"] for line in log.json()["lines"]]
        for words in (f"printed: {MASK}, ", f"cd: /of-no-such-name/{MASK}: ", f"+ : {MASK}", f"failed with {MASK}"):
            assert sum(words in each for each in lines) == 1, words
        assert found_in(log.content, {*ours.values(), *theirs.values()}) == set()
    assert Artifact.objects.filter(execution__in=with_env, path=f"out/{MASK}/{MASK}").count() == COUNT
    # The hub never learns names with values that it does not know.
    assert all(execution.artifacts_left_out for execution in with_vault)
    shown = [
        api.get(address).content
        for execution in ended
        for address in (
            f"/api/executions/{execution.pk}",
            f"/api/exec/status/{execution.task_id}",
            f"/api/exec/artifacts/{execution.task_id}",
            f"/api/tasks/{execution.task_id}/history/",
        )
    ]
    settings.TASKHUB_SANDBOX_KEEP_S = -1
    jobs.executions_release()
    assert not Execution.objects.filter(released_at=None).exists()
    assert set(Execution.objects.values_list("secret_env", flat=True)) == {""}
    places = {
        "database": database(tmp_path),
        "Redis": redis_content(),
        "archive and spool": files_below(Path(default_storage.path(""))) + files_below(settings.TASKHUB_SPOOL_DIR),
        "logs": caplog.text.encode() + "\n".join(server.process.output).encode(),
        "webhooks": "\n".join(each.body + str(each.headers) for each in told).encode(),
        "the local server's store": files_below(tmp_path / "sandboxes"),
        "answers": b"\n".join(shown),
    }
    # What is looked through is where it would be: a name that is no secret is found.
    assert all(b"execution" in places[name] for name in ("database", "logs", "webhooks", "answers"))
    assert b"entry-CANARY_1" in places["database"] + places["the local server's store"]
    everything = {*ours.values(), *theirs.values()}
    assert {name: found_in(content, everything) for name, content in places.items()} == {name: set() for name in places}
