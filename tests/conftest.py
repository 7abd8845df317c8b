"""What all tests share: a private Redis, the people, and one hub for the tests that need a whole one."""

from __future__ import annotations

import functools
import inspect
import json
import os
import signal
import sys
import time
from collections.abc import Callable, Iterator
from datetime import timedelta
from pathlib import Path
from typing import Any

import httpx
import jsonschema
import pytest
from django.conf import settings
from django.contrib.auth.models import Group, User
from django.core import management
from django.db import connection
from django.db.models.signals import post_migrate
from django.test import Client
from django.utils import timezone
from httpx._transports import default as transports
from hypothesis import HealthCheck
from hypothesis import settings as hypothesis_settings
from rest_framework.test import APIClient

from config.launcher import redis_server
from taskhub.auth.actor import Actor
from taskhub.auth.rate_limits import failures
from taskhub.events import numbering
from taskhub.events import publish as event_publishing
from taskhub.events.asyncapi import envelope_schema
from taskhub.events.outbox import OutboxStorage
from taskhub.events.types import EVENT_TYPES
from taskhub.lib.event_loops import lent_loop
from taskhub.lib.leases import watch
from taskhub.lib.recent import Recent
from taskhub.management.first_schema import first_schema_build
from taskhub.models import ApiToken
from taskhub.oauth.registration import registrations
from taskhub.observability.heartbeat import ages
from taskhub.selectors.dashboard import past_events, past_executions
from taskhub.sign_on.views import sign_ons
from tests import documented
from tests.postgres import find_binaries, running_postgres
from tests.processes import Process, RunningHub, reaper, running_hub, wait_for_redis

# No test is timed: on a busy machine, or with Hypothesis's own tables still to be made, an example may take long.
hypothesis_settings.register_profile("untimed", deadline=None, suppress_health_check=[HealthCheck.too_slow])
hypothesis_settings.load_profile("untimed")

# Nor is a request: httpx gives up after 5 s without an answer, which a server on a busy machine may need.
for phase in ("connect", "read", "write", "pool"):
    setattr(inspect.signature(httpx.get).parameters["timeout"].default, phase, 60.0)

# A context for TLS takes 40 ms of CPU, and httpx makes one for each request that is no client's, for http:// as well.
transports.create_ssl_context = functools.cache(httpx.create_ssl_context)

UNIT = Path(__file__).parent / "unit"
LONGEST = {"test_postgresql", "test_openapi_fuzzed"}
SERVING = ("local_server", "sandboxes", "deploy", "servers", "live")
ENVELOPES = {
    name: jsonschema.Draft202012Validator(envelope_schema(name, declared)) for name, declared in EVENT_TYPES.items()
}


def pytest_configure() -> None:
    signal.signal(signal.SIGTERM, _interrupt)
    if os.environ.get("TASKHUB_DATA_DIR_MADE_BY") == str(os.getpid()):
        reaper.tell("folder", os.environ["TASKHUB_DATA_DIR"])


def pytest_runtest_logreport(report: pytest.TestReport) -> None:
    """Each failure in a line as it comes: a run that is cut short, or whose output is, says what failed."""
    # Where the run is divided among processes, theirs is captured; the line is the first process's.
    if report.failed and "PYTEST_XDIST_WORKER" not in os.environ:
        crash = getattr(report.longrepr, "reprcrash", None)
        said = str(getattr(crash, "message", report.longrepr)).strip().splitlines() or [""]
        print(f"\nFAILED {report.nodeid} ({report.when}): {said[0][:300]}", file=sys.__stdout__, flush=True)


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """The tests that PostgreSQL runs as well get the mark `rows`; the one that runs them takes longest, and begins.

    So does what asks by the document, which takes long as well: neither shall be waited for at the end.

    What shares servers comes last and folder by folder: a hub that is up costs a part of a core until the end.
    """
    for item in items:
        fixtures = {"db", "transactional_db"} & set(getattr(item, "fixturenames", ()))
        has_rows = bool(fixtures or item.get_closest_marker("django_db"))
        if has_rows and not item.get_closest_marker("sqlite_suffices"):
            item.add_marker("rows")
    if connection.vendor != "postgresql":
        elsewhere = [item for item in items if item.get_closest_marker("postgres_only")]
        config.hook.pytest_deselected(items=elsewhere)
        items[:] = [item for item in items if item not in elsewhere]
    items.sort(key=_turn)


def _turn(item: pytest.Item) -> int:
    folder = item.path.parent.name
    if item.path.stem in LONGEST:
        return -1
    return SERVING.index(folder) + 1 if folder in SERVING else 0


def _interrupt(*_: object) -> None:
    """SIGTERM ends a run as Ctrl-C does, with the ends of all fixtures; a second one ends it at once."""
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    raise KeyboardInterrupt


@pytest.fixture(autouse=True)
def redis_is_there(request: pytest.FixtureRequest) -> None:
    """Tests of `tests/unit` run without Redis."""
    if UNIT not in request.path.parents:
        request.getfixturevalue("redis_process")


@pytest.fixture(scope="session")
def django_db_setup(request: pytest.FixtureRequest, django_db_blocker: Any) -> Iterator[None]:
    """On SQLite the tables are made from the models, as `manage.py prepare` does: migrations take ten times as long.

    PostgreSQL drops no database that is in use, and threads of requests and of the feed keep their connections.

    A test with real transactions empties all tables; to make Django's permissions again, which are what the hub asks
    for nowhere (it has roles), takes longer than most such tests.
    """
    post_migrate.disconnect(dispatch_uid="django.contrib.auth.management.create_permissions")
    migrate = management.call_command

    def prepared(name: str, *arguments: Any, **options: Any) -> Any:
        if name == "migrate":
            first_schema_build()
        return migrate(name, *arguments, **options)

    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(management, "call_command", prepared)
        request.getfixturevalue("django_db_setup")
    yield
    if connection.vendor == "postgresql":
        with django_db_blocker.unblock(), connection.cursor() as cursor:
            cursor.execute(
                "SELECT pg_terminate_backend(pid) FROM pg_stat_activity "
                "WHERE datname = current_database() AND pid <> pg_backend_pid()"
            )


@pytest.fixture(scope="session")
def redis_process() -> Iterator[Process]:
    """The Redis that the test settings name: a real one, for this run alone."""
    path = Path(settings.REDIS_URL.removeprefix("unix://"))
    process = Process(redis_server.command_line(redis_server.find_binary(), path), {})
    wait_for_redis(settings.REDIS_URL)
    yield process
    process.end()


@pytest.fixture(scope="session")
def hub(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningHub]:
    """A whole hub, as `make run` starts it; shared by all tests that only use it."""
    with running_hub(tmp_path_factory.mktemp("hub"), {"TASKHUB_COMPONENTS": "1"}) as running:
        yield running


@pytest.fixture
def operator(db: None) -> User:
    return User.objects.create_superuser("operator", password="operator")


@pytest.fixture
def alice(db: None) -> User:
    """An agent."""
    return make_account("alice", "agent")


def make_account(name: str, *groups: str) -> User:
    user = User.objects.create_user(name, password=name)
    # A test with real transactions empties all tables behind it, the roles as well.
    user.groups.set([Group.objects.get_or_create(name=group)[0] for group in groups])
    return user


def client_of(user: User, name: str = "") -> APIClient:
    """With a token of this name."""
    client = APIClient()
    client.credentials(HTTP_AUTHORIZATION=f"Bearer {ApiToken.objects.create(user=user, name=name)[1]}")
    return client


@pytest.fixture(autouse=True)
def nothing_is_remembered() -> Iterator[None]:
    """What a process remembers of callers and rows, and a loop that would keep its connections for all later tests."""
    failures.forget()
    registrations.forget()
    sign_ons.forget()
    watch.forget()
    ages.forget()
    Recent.forget_all()
    past_events.forget()
    past_executions.forget()
    if (shared_list := sys.modules.get("sandboxes.watch.shared_list")) is not None:
        shared_list.forget()
    yield
    assert lent_loop() is None


@pytest.fixture
def pass_time(monkeypatch: pytest.MonkeyPatch) -> Callable[[float], None]:
    """Let so many seconds pass on the clock by which leases are judged."""
    passed_s = 0.0

    def pass_(seconds: float) -> None:
        nonlocal passed_s
        passed_s += seconds

    monkeypatch.setattr(watch, "clock", lambda: time.monotonic() + passed_s)
    return pass_


@pytest.fixture
def advance(pass_time: Callable[[float], None], monkeypatch: pytest.MonkeyPatch) -> Callable[[float], None]:
    """Let so many seconds pass on all clocks."""
    real, passed_s = timezone.now, 0.0

    def pass_(seconds: float) -> None:
        nonlocal passed_s
        passed_s += seconds
        pass_time(seconds)

    monkeypatch.setattr(timezone, "now", lambda: real() + timedelta(seconds=passed_s))
    return pass_


@pytest.fixture
def actor(alice: User) -> Actor:
    return Actor(door="rest", user=alice)


@pytest.fixture
def api(alice: User) -> APIClient:
    """The API as alice, by a real token."""
    _, token = ApiToken.objects.create(user=alice)
    client = APIClient()
    client.credentials(HTTP_AUTHORIZATION=f"Bearer {token}")
    return client


@pytest.fixture
def operator_client(operator: User) -> Client:
    """Pages and admin as an operator."""
    made = Client()
    made.force_login(operator)
    return made


@pytest.fixture
def anonymous() -> APIClient:
    return APIClient()


@pytest.fixture(scope="session")
def postgres_url() -> Iterator[str]:
    """A real PostgreSQL for this run; the tests that need it are skipped where it is not installed."""
    binaries = find_binaries()
    if binaries is None:
        pytest.skip("PostgreSQL is not installed")
    with running_postgres(binaries) as postgres:
        yield postgres.url


@pytest.fixture(autouse=True)
def every_event_fits_its_declaration(monkeypatch: pytest.MonkeyPatch) -> None:
    """Whatever a test makes the hub publish is held against the declared type, as a reader of AsyncAPI would."""
    publish = event_publishing.get_storage

    class Checked:
        def append_event(self, channel: str, event_type: str, data: str) -> Any:
            check(event_type, data)
            return publish().append_event(channel, event_type, data)

        def append_numbered(self, channel: str, event_type: str, data: str) -> Any:
            check(event_type, data)
            return publish().append_numbered(channel, event_type, data)

    def check(event_type: str, data: str) -> None:
        assert event_type == "message"
        envelope = json.loads(data)
        assert list(envelope) == ["id", "event", "data", "timestamp"]
        EVENT_TYPES[envelope["event"]].model_validate_json(json.dumps(envelope["data"]), strict=True)
        ENVELOPES[envelope["event"]].validate(envelope)

    monkeypatch.setattr(event_publishing, "get_storage", Checked)


@pytest.fixture(autouse=True)
def events_have_numbers(monkeypatch: pytest.MonkeyPatch, request: pytest.FixtureRequest) -> None:
    """On PostgreSQL the test's own connection numbers them: at the commit, or where a test never commits, at once.

    With the fixture `numbering_thread` a thread does it behind the commit, as in a process that serves.
    """
    if connection.vendor != "postgresql" or "numbering_thread" in request.fixturenames:
        return
    append = OutboxStorage.append_event

    def appended(self: OutboxStorage, channel: str, event_type: str, data: str) -> Any:
        event = append(self, channel, event_type, data)
        if any(getattr(block, "_from_testcase", False) for block in connection.atomic_blocks):
            numbering.move_pending()
        return event

    def number_all() -> None:
        while not numbering.number_events():
            time.sleep(numbering.AGAIN_S)

    monkeypatch.setattr(OutboxStorage, "append_event", appended)
    monkeypatch.setattr(numbering, "request", number_all)


@pytest.fixture
def numbering_thread() -> Iterator[None]:
    """Events are numbered behind the commit, by the process's own thread."""
    yield
    numbering._numberer.finish(60)


@pytest.fixture(autouse=True)
def every_answer_fits_the_document(monkeypatch: pytest.MonkeyPatch) -> None:
    """Whatever a test asks of the API is held against the OpenAPI document, as a generated client would."""
    ask = APIClient.generic

    def asked(self: APIClient, method: str, path: str, *args: Any, **kwargs: Any) -> Any:
        answer = ask(self, method, path, *args, **kwargs)
        if not hasattr(answer, "run"):  # what the loop sends afterwards is not there yet
            documented.check(method, path, answer)
        return answer

    monkeypatch.setattr(APIClient, "generic", asked)
