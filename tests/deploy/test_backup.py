"""A backup under running writes and its restoration, with the commands of docs/deploy.md, lose and invent nothing."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import psycopg
import pytest

from tests.deploy.conftest import MakeDatabase
from tests.deploy.deployment import WEB, Deployment
from tests.deploy.proxy import streaming
from tests.processes import ROOT, Process, wait_until
from tests.streaming import Frame, until

pytestmark = pytest.mark.postgres

LEAP = 1_000_000_000


def documented(name: str) -> str:
    """The commands that follow the mark in docs/deploy.md."""
    found = re.findall(rf"<!-- {name} -->\n```sh\n(.*?)```", (ROOT / "docs/deploy.md").read_text(), re.DOTALL)
    assert len(found) == 1
    return found[0]


class Backups:
    """The documented commands, with the names that the document gives before them."""

    def __init__(self, hub: Deployment, folder: Path) -> None:
        self._hub, self._folder = hub, folder
        folder.mkdir()
        manage = folder / "taskhub-manage"
        manage.write_text(f'#!/bin/sh\ncd {ROOT} && exec {sys.executable} manage.py "$@"\n')
        manage.chmod(0o755)

    def run(self, commands: str, database_url: str, data: Path) -> str:
        env = self._hub.env | {
            "PATH": f"{self._folder}:{os.environ['PATH']}",
            "DATABASE": database_url,
            "DATABASE_URL": database_url,
            "TASKHUB_DATA_DIR": str(data),
            "DATA": str(data),
            "BACKUP": str(self._folder),
            "AS": "",
        }
        done = subprocess.run(
            ["sh", "-eu", "-c", commands], env=env, check=False, capture_output=True, text=True, timeout=120
        )
        assert done.returncode == 0, done.stderr
        return done.stdout


def events_of(database_url: str) -> list[tuple[int, str]]:
    with psycopg.connect(database_url) as connection:
        asked = "SELECT eid, data FROM django_eventstream_event WHERE channel = 'tasks' AND eid > 0 ORDER BY eid"
        return connection.execute(asked).fetchall()


def count_pending(database_url: str) -> int:
    """Events that were committed and have no number yet."""
    with psycopg.connect(database_url) as connection:
        (count,) = connection.execute("SELECT count(*) FROM taskhub_pendingevent").fetchone() or (0,)
    return int(count)


def start_writing(hub: Deployment) -> Process:
    writer = hub.start("writer", "-m", "tests.servers.publisher", "3000", "60")
    writer.wait_for_line("publishing")
    return writer


def resumed(hub: Deployment, last_id: int, wanted: str) -> list[Frame]:
    """What a client gets that comes back after `last_id`, up to the first event of the name `wanted`."""
    with (
        hub.nginx.client(headers=hub.headers) as client,
        streaming(client, f"/api/events/stream?lastEventId=tasks:{last_id}") as frames,
    ):
        return [frame for frame in until(frames, lambda frame: f'"{wanted}"' in frame.data) if frame.data]


@pytest.mark.skipif(shutil.which("pg_dump") is None, reason="pg_dump is not installed")
def test_a_restored_backup_has_every_event_and_misleads_no_client(
    fresh_deployment: Deployment, make_database: MakeDatabase, tmp_path: Path
) -> None:
    hub = fresh_deployment
    backups = Backups(hub, tmp_path / "backup")
    old_url, old_data = hub.env["DATABASE_URL"], hub.data
    archived = old_data / "files/logs/task-of-the-test.log"
    archived.parent.mkdir(parents=True)
    archived.write_text("a line\n")

    start_writing(hub)
    wait_until(lambda: len(events_of(old_url)) > 50, "there is something to be kept")
    before = len(events_of(old_url))
    backups.run(documented("backup"), old_url, old_data)
    after = len(events_of(old_url))
    # It went on while the backup was made, and goes on after it.
    assert before < after
    wait_until(lambda: len(events_of(old_url)) > after + 20, "there is something to be lost")
    hub.processes.pop("writer").end()
    for instance in ("1", "2"):
        hub.stop_unit(WEB, instance)
    lost = events_of(old_url)

    new_url, new_data = make_database("restored"), hub.data.parent / "restored"
    new_data.mkdir()
    backups.run(documented("restore"), new_url, new_data)
    # What was pending in the backup gets a number after the leap, as new events do.
    kept, pending = events_of(new_url), count_pending(new_url)
    assert before <= len(kept) <= after
    assert kept == lost[: len(kept)]
    assert (new_data / "files/logs/task-of-the-test.log").read_text() == "a line\n"

    hub.env |= {"DATABASE_URL": new_url, "TASKHUB_DATA_DIR": str(new_data)}
    for instance in ("1", "2"):
        hub.start_unit(WEB, instance)
    with hub.nginx.client(headers=hub.headers) as client:
        for n in range(len(lost) - len(kept) + 5):  # more than were lost: their numbers would be in use again
            assert client.post("/api/tasks/", json={"title": f"new {n}"}).status_code == 201
    wait_until(lambda: count_pending(new_url) == 0, "all have numbers")
    assert [number for number, _ in events_of(new_url)[len(kept) :]][:2] == [
        len(kept) + LEAP + 1,
        len(kept) + LEAP + 2,
    ]

    # With an id from after the backup: told at once, and then live.
    for remembered in (len(lost), len(kept) + 1):
        frames = resumed(hub, remembered, "stream-reset")
        assert [frame.json()["event"] for frame in frames] == ["connected", "stream-reset"]
    # With one from before it: everything that is kept, and then what is new.
    frames = resumed(hub, len(kept) - 10, "new 4")
    told = [frame.number for frame in frames[1:]]
    first_new = len(kept) + LEAP + 1
    assert told == [*range(len(kept) - 9, len(kept) + 1), *range(first_new, first_new + pending + 5)]
    # A client with the newest id continues.
    newest = events_of(new_url)[-1][0]
    assert [frame.json()["event"] for frame in resumed(hub, newest - 1, "task_created")] == [
        "connected",
        "task_created",
    ]
