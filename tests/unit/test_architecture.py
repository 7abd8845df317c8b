"""Rules that no import contract can state."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.processes import ROOT

SOURCES = sorted(
    path
    for app in ("taskhub", "sandboxes", "config")
    for path in (ROOT / app).rglob("*.py")
    if "migrations" not in path.parts and "local" not in path.relative_to(ROOT).parts[1:2]
)


def names_used(path: Path) -> Iterator[str]:
    """Every name and attribute that the module's code mentions."""
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Name):
            yield node.id
        elif isinstance(node, ast.Attribute):
            yield node.attr


@pytest.mark.parametrize(
    ("names", "owners"),
    [
        # Appending to the outbox and announcing it.
        ({"append_event", "EventCounter"}, {"taskhub/events/publish.py", "taskhub/events/outbox.py"}),
        ({"send_event"}, {"taskhub/events/publish.py"}),
        # A streaming response.
        ({"StreamingHttpResponse", "OpenStream"}, {"taskhub/events/stream.py"}),
        # Reading what only the environment module may read.
        ({"environ"}, {"config/env.py", "config/asgi.py", "config/celery.py", "config/settings/test.py"}),
    ],
)
def test_only_the_owner_does_it(names: set[str], owners: set[str]) -> None:
    users = {str(path.relative_to(ROOT)) for path in SOURCES if names & set(names_used(path))}
    launcher = {user for user in users if user.startswith("config/launcher/")}
    assert users - launcher <= owners


def test_only_services_write_rows() -> None:
    """The doors and the selectors call services; none of them saves, creates, updates or deletes by itself."""
    writes = {"save", "create", "update", "delete", "bulk_update", "get_or_create", "update_or_create"}
    modules = {"admin.py", "pages.py", "views.py"}
    doors = [path for path in SOURCES if path.parent.name in {"api", "selectors", "admin"} or path.name in modules]
    assert doors
    for path in doors:
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute) and node.func.attr in writes:
                raise AssertionError(f"{path.relative_to(ROOT)}:{node.lineno} writes by itself: {node.func.attr}")


def test_every_public_function_is_annotated() -> None:
    for path in SOURCES:
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef) and not node.name.startswith("_"):
                assert node.returns is not None, f"{path.relative_to(ROOT)}:{node.lineno} {node.name}"


def test_files_stay_small() -> None:
    for path in [*SOURCES, *(ROOT / "sandboxes" / "local").rglob("*.py")]:
        assert len(path.read_text().splitlines()) <= 400, path
