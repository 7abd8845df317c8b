"""The pages get every enum from the server: none is repeated in a script, template or style sheet."""

from __future__ import annotations

import importlib.util
import json
import re
from html.parser import HTMLParser
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
from django.template.loader import render_to_string
from django.test import Client

from taskhub import pages
from taskhub.models import (
    ExecutionStatus,
    Leftover,
    StartAwaits,
    TaskPriority,
    TaskStatus,
    Verdict,
    VerifyPolicy,
    WaitingReason,
)
from taskhub.roles import ROLES

ROOT = Path(__file__).resolve().parents[2]
FILES = sorted(
    path
    for folder, pattern in (("taskhub/static", "*.js"), ("sandboxes/static", "*.js"), ("templates", "*.html"))
    for path in (ROOT / folder).rglob(pattern)
)
SHEETS = sorted((ROOT / "taskhub/static").rglob("*.css"))
ENUMS = {
    "task status": set(TaskStatus.values),
    "priority": set(TaskPriority.values),
    "execution status": set(ExecutionStatus.values),
    "role": set(ROLES),
}


@pytest.mark.parametrize("path", [*FILES, *SHEETS], ids=lambda path: path.name)
def test_no_enum_is_repeated(path: Path) -> None:
    # `dateStyle: "medium"` is the browser's own enum.
    quoted = set(re.findall(r"""(?<!Style: )["'`](\w+)["'`]""", path.read_text()))
    for name, values in ENUMS.items():
        assert not quoted & values, f"{path.name} names values of the enum {name}: {quoted & values}"


class Block(HTMLParser):
    """Reads the JSON block `enums` of a page."""

    found: Any = None
    _is_inside = False

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self._is_inside = tag == "script" and dict(attrs).get("id") == "enums"

    def handle_data(self, data: str) -> None:
        if self._is_inside:
            self.found, self._is_inside = json.loads(data), False


@pytest.mark.django_db
@pytest.mark.parametrize("address", ["/", "/test_sse.html", "/sse-demo.html", "/login/"])
def test_every_page_brings_the_enums(client: Client, settings: Any, address: str) -> None:
    settings.TASKHUB_OPEN_READING = True
    page = Block()
    page.feed(client.get(address).content.decode())
    assert page.found == pages.page_enums()


def test_the_enums_are_those_of_the_models() -> None:
    enums = pages.page_enums()
    assert [row["value"] for row in enums["statuses"]] == TaskStatus.values
    assert [row["value"] for row in enums["priorities"]] == TaskPriority.values[::-1]
    assert [row["value"] for row in enums["executionStatuses"]] == ExecutionStatus.values
    assert set(enums["executionSteps"].values()) <= set(ExecutionStatus.values)
    assert [row["value"] for row in enums["waitingReasons"]] == [*WaitingReason.values, *StartAwaits.values]
    assert [row["value"] for row in enums["endings"]] == ["stopped", "timed_out"]
    assert [row["value"] for row in enums["leftovers"]] == [value for value in Leftover.values if value]
    assert [row["value"] for row in enums["verdicts"]] == Verdict.values
    assert [row["value"] for row in enums["verifyPolicies"]] == VerifyPolicy.values
    assert [row["value"] for row in enums["roles"] if row["mayWork"]] == ["agent", "operator"]


def test_a_new_priority_needs_no_other_place(monkeypatch: pytest.MonkeyPatch) -> None:
    class WithUrgent(str):
        """As a member of TextChoices: a value with a label."""

        __slots__ = ()

        @property
        def value(self) -> str:
            return str(self)

        @property
        def label(self) -> str:
            return self.capitalize()

    values = ["low", "medium", "high", "urgent"]
    monkeypatch.setattr(pages, "TaskPriority", [WithUrgent(value) for value in values])
    rows = pages.page_enums()["priorities"]
    assert [(row["value"], row["rank"]) for row in rows] == [
        ("urgent", "top"),
        ("high", "middle"),
        ("medium", "middle"),
        ("low", "bottom"),
    ]
    context = {"columns": [], "priorities": rows, "default_priority": "medium", "enums": pages.page_enums}
    board = render_to_string("board.html", context)
    assert board.count('<option value="urgent">Urgent</option>') == 2  # the filter, and the form for new tasks
    assert '<option value="medium" selected>' in board


@pytest.fixture
def generator() -> ModuleType:
    spec = importlib.util.spec_from_file_location("js_types", ROOT / ".ci" / "js_types.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_the_types_of_events_and_bodies_are_not_stale(generator: ModuleType) -> None:
    assert generator.TARGET.read_text() == generator.generate(), "run `make js-types`"


def test_what_the_generator_cannot_translate_is_an_error(generator: ModuleType) -> None:
    for schema in ({"type": "object", "patternProperties": {}}, {"type": "tuple"}, {"prefixItems": []}):
        with pytest.raises(generator.Untranslatable):
            generator.type_of(schema)
    many = {"type": "array", "items": {"anyOf": [{"type": "integer"}, {"type": "null"}]}}
    assert generator.type_of(many) == "(number | null)[]"


@pytest.mark.parametrize("lock", sorted(ROOT.glob(".ci/*/package-lock.json")), ids=lambda path: path.parent.name)
def test_a_lock_of_npm_names_no_registry(lock: Path) -> None:
    packages = json.loads(lock.read_text())["packages"].values()
    assert not [package for package in packages if "resolved" in package]
    assert all("integrity" in package for package in packages if "version" in package)


def test_something_was_looked_at() -> None:
    assert len(FILES) > 30
    assert len(SHEETS) > 4
    assert all(len(values) > 2 for values in ENUMS.values())
