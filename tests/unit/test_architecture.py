"""Rules that no import contract can state."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from functools import cache
from pathlib import Path

import pytest

from tests.processes import ROOT

SOURCES = sorted(
    path
    for app in ("taskhub", "sandboxes", "config")
    for path in (ROOT / app).rglob("*.py")
    if "migrations" not in path.parts and "local" not in path.relative_to(ROOT).parts[1:2]
)


@cache
def parsed(path: Path) -> ast.Module:
    return ast.parse(path.read_text())


def names_used(path: Path) -> Iterator[str]:
    """Every name and attribute that the module's code mentions."""
    for node in ast.walk(parsed(path)):
        if isinstance(node, ast.Name):
            yield node.id
        elif isinstance(node, ast.Attribute):
            yield node.attr


@pytest.mark.parametrize(
    ("names", "owners"),
    [
        # Appending to the outbox and announcing it.
        (
            {"append_event", "append_numbered", "EventCounter"},
            {"taskhub/events/publish.py", "taskhub/events/outbox.py"},
        ),
        ({"send_event"}, {"taskhub/events/publish.py"}),
        # A streaming response: of events, of a log's text, and of files in a zip.
        (
            {"StreamingHttpResponse", "OpenStream"},
            {"taskhub/events/stream.py", "taskhub/events/open_streams.py", "sandboxes/api/build_log.py"}
            | {"taskhub/api/log_raw.py", "taskhub/api/artifacts.py"},
        ),
        # Reading what only the environment module may read; the others choose the settings, or fill the environment.
        (
            {"environ"},
            {"config/env.py", "config/env_file.py", "config/command_line.py", "config/__init__.py"}
            | {"config/asgi.py", "config/celery.py", "config/settings/test.py"},
        ),
    ],
)
def test_only_the_owner_does_it(names: set[str], owners: set[str]) -> None:
    users = {str(path.relative_to(ROOT)) for path in SOURCES if names & set(names_used(path))}
    launcher = {user for user in users if user.startswith("config/launcher/")}
    assert users - launcher <= owners


WRITES = {"save", "create", "update", "delete", "bulk_create", "bulk_update", "get_or_create", "update_or_create"}
WRITES |= {f"a{name}" for name in WRITES} | {"execute", "executemany"}
WRITERS = {
    "taskhub/services": "the services",
    "sandboxes/services": "the services",
    "taskhub/webhooks/endpoints.py": "services, beside the queue that they belong to",
    "taskhub/webhooks/deliveries.py": "services, beside the queue that they belong to",
    "taskhub/webhooks/queue.py": "services, beside the queue that they belong to",
    "taskhub/management/first_schema.py": "what migrations would write, before there is anything else",
    "taskhub/models/token.py": "a token that is deleted, by whatever way, leaves its digest behind (a signal)",
    "taskhub/auth/sign_in_limits.py": "an attempt to sign in is counted before the password is looked at",
    "taskhub/auth/sign_in_link.py": "a link is used up by Django's own note of the last sign-in",
    "taskhub/auth/browser_sessions.py": "a sign-in is noted, so that its account sees the session",
    "taskhub/auth/token_use.py": "the last use of a token, written while it is checked",
    "taskhub/oauth/validator.py": "a code is used up in the transaction of the toolkit that makes its tokens",
    "taskhub/events/outbox.py": "the storage of `publish`, inside the transaction of the service that publishes",
    "taskhub/events/numbering.py": "a pass moves committed events to where they have numbers",
    "taskhub/events/connections.py": "a web process notes its own open streams, so that operators see them",
    "taskhub/events/process_status.py": "a web process reports on itself",
    "taskhub/observability/metrics_store.py": "each process writes its own counters and its heartbeat",
    "taskhub/models/search_index.py": "makes an index behind migrations, as they would, and fills it from the rows",
    "taskhub/api/row_encoder.py": "sends the SELECT of a queryset, and reads what the driver returns",
    "taskhub/lib/snapshot.py": "begins and ends a transaction that only reads",
    "taskhub/lib/compiled_sql.py": "sends the statements that services and the outbox make",
}
"""Modules that may write rows, and why. No other one may."""
NOT_ROWS = {"default_storage", "Resource", "self", "self._client", "redis_client(timeout_s=_TIMEOUT_S)", "pipeline"}
"""What has such methods too: files, OpenTelemetry, the gateway, Redis."""
READS = ("SELECT", "PRAGMA busy_timeout")


def writes(path: Path) -> Iterator[tuple[int, str]]:
    """Calls that write rows: their line and their text."""
    for node in ast.walk(parsed(path)):
        if not (isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute) and node.func.attr in WRITES):
            continue
        # A dictionary's `update` takes another one, a queryset's takes names alone.
        is_of_a_dictionary = node.func.attr == "update" and bool(node.args)
        asks = [ast.unparse(word).lstrip("f").strip("\"'").startswith(READS) for word in node.args[:1]]
        if not (is_of_a_dictionary or any(asks) or ast.unparse(node.func.value) in NOT_ROWS):
            yield node.lineno, ast.unparse(node)[:80]


def writer(path: Path) -> str | None:
    """The entry of `WRITERS` that allows the module to write."""
    name = path.relative_to(ROOT)
    return next((known for known in WRITERS if name.is_relative_to(known)), None)


def test_only_services_write_rows() -> None:
    """All other modules call services; none of them saves, creates, updates or deletes by itself."""
    found = [
        f"{path.relative_to(ROOT)}:{line} {text}" for path in SOURCES if not writer(path) for line, text in writes(path)
    ]
    assert found == []


def test_each_writer_of_rows_still_writes() -> None:
    assert {writer(path) for path in SOURCES if any(writes(path))} - {None} == WRITERS.keys()


def test_every_public_function_is_annotated() -> None:
    for path in SOURCES:
        for node in ast.walk(parsed(path)):
            if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef) and not node.name.startswith("_"):
                assert node.returns is not None, f"{path.relative_to(ROOT)}:{node.lineno} {node.name}"


def test_files_stay_small() -> None:
    for path in [*SOURCES, *(ROOT / "sandboxes" / "local").rglob("*.py")]:
        assert len(path.read_text().splitlines()) <= 400, path
