"""Upgrades of a database of the previous release, on SQLite and PostgreSQL, and that all ways lead to one schema."""

from __future__ import annotations

import json
import os
import re
import sqlite3
from pathlib import Path
from typing import Any

import psycopg
import pytest
from django.conf import settings

from tests.deploy.conftest import MakeDatabase
from tests.deploy.previous_release import PreviousRelease, manage, pins_of

WRITE = """
import json
from django.contrib.admin.models import LogEntry
from django.contrib.auth.models import Group, User
from django.contrib.contenttypes.models import ContentType
from django.test import Client
from taskhub.models import Listener, MeasureTotal
from taskhub.services.actors import SYSTEM
from taskhub.services.tasks import task_create
from taskhub.events import storage
alice = User.objects.create_user("alice", password="a password of the tests")
alice.groups.set(Group.objects.filter(name="agent"))
client = Client(headers={"host": "localhost"})
assert client.login(username="alice", password="a password of the tests")
task_create(actor=SYSTEM, title="of the previous release")
MeasureTotal.objects.create(name="events", label="task_created", count=7, total=7)
kind = ContentType.objects.get(app_label="taskhub", model="listener")
LogEntry.objects.create(user=alice, content_type=kind, object_id="1", object_repr="one", action_flag=1)
print(json.dumps({
    "cookie": client.cookies["sessionid"].value, "kind": kind.pk, "head": storage.read_heads(["tasks"])["tasks"],
    "name": client.get("/api/me").json()["name"],
}))
"""
WRITE_ON = """
import json
from django.contrib.auth.models import User
from django.core.management import call_command
from django.test import Client
from taskhub.models import ApiToken
operator = User.objects.filter(is_superuser=True).first()
token = ApiToken.objects.create(user=operator)[1]
client = Client(headers={"host": "localhost", "authorization": f"Bearer {token}"})

def post(path, **body):
    answer = client.post(path, body, content_type="application/json")
    assert answer.status_code < 300, (path, answer.status_code, answer.content)
    return answer.json()

task = post("/api/tasks/", title="while the new release is being started", private=True)
post("/api/exec/" + task["id"], script_content="echo hello", env={"A": "b"})
post("/api/exec/stop/" + task["id"])
post("/api/announcements/", text="an upgrade", level="info")
post("/api/webhooks/", url="https://hooks.example.com/", event_types=["task_created"])
post("/api/tokens/", name="another")
post("/api/tasks/claim", task_id=post("/api/tasks/", title="to be claimed")["id"])
assert client.delete("/api/tasks/" + task["id"]).status_code in (200, 204, 409)
print(json.dumps({"done": True}))
"""
READ = """
import json, sys
from django.contrib.admin.models import LogEntry
from django.contrib.auth.models import Group
from django.contrib.contenttypes.models import ContentType
from django.test import Client
from taskhub.auth.actor import SYSTEM
from taskhub.events import numbering, outbox
from taskhub.models import MetricTotal, StreamConnection, Task
from taskhub.services.tasks import task_create
client = Client(headers={"host": "localhost"})
client.cookies["sessionid"] = sys.stdin.read()
name = client.get("/api/me").json()["name"]
task_create(actor=SYSTEM, title="of this release")
while numbering.is_pending():
    numbering.number_events()
print(json.dumps({
    "name": name,
    "titles": list(Task.objects.order_by("created_at").values_list("title", flat=True)),
    "events": [[row.seq, json.loads(row.data)["event"]] for row in outbox.read_after("tasks", 0, 10)],
    "kind": ContentType.objects.get_for_model(StreamConnection).pk,
    "kinds": list(ContentType.objects.filter(model__in=["listener", "measure", "measuretotal"]).values_list("model")),
    "noted": [entry.content_type.model_class() is StreamConnection for entry in LogEntry.objects.all()],
    "total": MetricTotal.objects.get(label="task_created").count,
    "roles": sorted(Group.objects.values_list("name", flat=True)),
}))
"""

Schema = dict[str, set[tuple[Any, ...]]]


@pytest.fixture(scope="module")
def previous(tmp_path_factory: pytest.TempPathFactory) -> PreviousRelease:
    return PreviousRelease(tmp_path_factory.mktemp("previous"))


class Databases:
    """Makes empty databases of one kind, and reads their schema."""

    def __init__(self, kind: str, folder: Path, make_database: MakeDatabase | None) -> None:
        self.kind = kind
        self._folder = folder
        self._make = make_database

    def env(self, name: str) -> dict[str, str]:
        """The environment of commands on a new database of that name."""
        data = self._folder / name
        data.mkdir()
        url = self._make(f"upgrade_{name}") if self._make else f"sqlite:///{data}/hub.sqlite3"
        return {
            **{name: value for name, value in os.environ.items() if not name.startswith("TASKHUB_")},
            "DJANGO_SETTINGS_MODULE": "config.settings.local",
            "SECRET_KEY": "only-for-tests-" + "0123456789" * 5,
            "TASKHUB_DATA_DIR": str(data),
            "TASKHUB_ENV_FILE": "",
            "DATABASE_URL": url,
            "REDIS_URL": settings.REDIS_URL,
        }

    def schema(self, env: dict[str, str]) -> Schema:
        url = env["DATABASE_URL"]
        return _of_postgres(url) if self._make else _of_sqlite(url.removeprefix("sqlite:///"))


def _of_sqlite(path: str) -> Schema:
    """Without the order of columns: one that was added later is the last."""
    found: Schema = {}
    with sqlite3.connect(path) as connection:
        tables = [name for (name,) in connection.execute("SELECT name FROM sqlite_master WHERE type = 'table'")]
        for table in tables:
            columns = {row[1:] for row in connection.execute(f"PRAGMA table_info('{table}')")}
            keys = {("references", *row[2:]) for row in connection.execute(f"PRAGMA foreign_key_list('{table}')")}
            sql = "SELECT name, sql FROM sqlite_master WHERE type = 'index' AND sql IS NOT NULL AND tbl_name = ?"
            indexes = {("index", *row) for row in connection.execute(sql, [table])}
            (made,) = connection.execute("SELECT sql FROM sqlite_master WHERE name = ?", [table]).fetchone()
            checks = {("constraint", text) for text in re.findall(r'CONSTRAINT "\w+" CHECK \(.*?\)\)', made)}
            found[table] = columns | keys | indexes | checks
    connection.close()
    return found


def _of_postgres(url: str) -> Schema:
    found: Schema = {}
    queries = [
        """SELECT table_name, column_name, data_type, character_maximum_length, is_nullable, column_default, is_identity
        FROM information_schema.columns WHERE table_schema = 'public'""",
        "SELECT tablename, indexname, indexdef FROM pg_indexes WHERE schemaname = 'public'",
        """SELECT conrelid::regclass::text, conname, pg_get_constraintdef(oid)
        FROM pg_constraint WHERE connamespace = 'public'::regnamespace""",
    ]
    with psycopg.connect(url) as connection:
        for query in queries:
            for table, *rest in connection.execute(query):
                found.setdefault(table, set()).add(tuple(_without_made_up_names(table, rest)))
    return found


def _without_made_up_names(table: str, row: list[Any]) -> list[Any]:
    """Django names what has no name by how it came to be: a unique column is another thing when it was added later."""
    name = str(row[0])
    if not name.startswith(f"{table}_"):
        return row
    return [str(value).replace(name, "") for value in row]


@pytest.fixture(params=["sqlite", pytest.param("postgresql", marks=pytest.mark.postgres)])
def databases(request: pytest.FixtureRequest, tmp_path: Path) -> Databases:
    is_postgres = request.param == "postgresql"
    return Databases(request.param, tmp_path, request.getfixturevalue("make_database") if is_postgres else None)


def test_a_fresh_a_half_migrated_and_an_upgraded_database_are_the_same(
    databases: Databases, previous: PreviousRelease
) -> None:
    fresh, half, full = (databases.env(name) for name in ("fresh", "half", "full"))
    manage(fresh, "migrate", "-v0")
    wanted = databases.schema(fresh)
    assert {"taskhub_task", "taskhub_listener", "taskhub_measuretotal", "sandboxes_webhookdelivery"} <= wanted.keys()

    previous.manage(half, "migrate", "-v0", "taskhub", "0041")
    manage(half, "migrate", "-v0")
    assert databases.schema(half) == wanted

    previous.manage(full, "prepare")
    written = json.loads(previous.manage(full, "shell", "-c", WRITE).splitlines()[-1])
    manage(full, "prepare")
    assert databases.schema(full) == wanted

    manage(full, "makemigrations", "--check", "--dry-run")
    script = READ.replace("sys.stdin.read()", repr(written["cookie"]))
    read = json.loads(manage(full, "shell", "--no-imports", "-c", script).splitlines()[-1])
    assert written["name"] == read["name"] == "alice", "the session still holds"
    assert read["titles"] == ["of the previous release", "of this release"]
    assert read["events"] == [[written["head"], "task_created"], [written["head"] + 1, "task_created"]]
    assert (read["kind"], read["kinds"], read["noted"]) == (written["kind"], [], [True])
    assert (read["total"], read["roles"]) == (7, ["agent", "operator", "viewer"])

    # Migrations come first, so the old processes write on the new schema until they are replaced.
    assert json.loads(previous.manage(full, "shell", "-c", WRITE_ON).splitlines()[-1]) == {"done": True}


def test_a_history_without_the_previous_release_says_what_to_do(tmp_path: Path, monkeypatch: Any) -> None:
    monkeypatch.setattr("tests.deploy.previous_release.COMMIT", "0" * 40)
    with pytest.raises(pytest.fail.Exception, match="git fetch --unshallow"):
        PreviousRelease(tmp_path)


def test_the_pins_of_a_lock_are_read() -> None:
    lock = (
        "# a comment==1\nbackports-x==1 ; python_full_version < '3.11' \\\n    --hash=sha256:0\n"
        "cryptography==45.0.1 \\\n    --hash=sha256:0\ncoverage[toml]==7.1 ; sys_platform != 'x' \\\n"
        "colorama==0.4 ; sys_platform == 'win32' \\\n"
    )
    assert pins_of(lock) == {"cryptography": "45.0.1", "coverage": "7.1"}
