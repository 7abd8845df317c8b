"""The design: style sheets take colours, sizes and distances from `variables.css`, and no other variables."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

import pytest
from django.contrib.auth.models import User
from django.test import Client, RequestFactory
from django.urls import get_resolver

from docs.every_page import PAGES
from taskhub.pages.components import GROUPS, components
from tests.processes import ROOT

VARIABLES = ROOT / "taskhub/static/taskhub/variables.css"
ADMIN = VARIABLES.with_name("admin.css")
SHEETS = sorted({*ROOT.glob("*/static/*/*.css")} - {VARIABLES})
LITERAL = {
    "a colour": re.compile(
        r"#[0-9a-f]{3,8}\b|\b(?:rgba?|hsla?|oklch|oklab|hwb|light-dark)\(|\b(?:white|black|gr[ae]y)\b", re.IGNORECASE
    ),
    "a size of text": re.compile(r"[\d.]+(?:rem|em|px)\b"),
    "a distance": re.compile(r"[\d.]+(?:rem|em|px)\b"),
    "a corner": re.compile(r"[\d.]+(?:rem|em|px)\b"),
    "a family": re.compile(r"sans-serif|monospace|system-ui"),
}
PROPERTIES = {
    "a size of text": re.compile(r"font(?:-size)?"),
    "a distance": re.compile(r"(?:row-|column-)?gap|(?:padding|margin)(?:-\w+)*"),
    "a corner": re.compile(r"border(?:-\w+)*-radius"),
    "a family": re.compile(r"font(?:-family)?"),
}
DECLARATION = re.compile(r"(?<![\w-])([\w-]+)\s*:\s*([^;{}]+)(?=[;}])")


def declarations(text: str) -> Iterator[tuple[str, str]]:
    """Property and value of each; comments and media queries have none."""
    text = re.sub(r"/\*.*?\*/|@(?:media|container)[^{]*", " ", text, flags=re.DOTALL)
    yield from DECLARATION.findall(text)


def of_its_own(text: str, *, colours_alone: bool = False) -> list[str]:
    """The declarations with a literal where a variable belongs."""
    found = []
    for name, value in declarations(text):
        for kind, literal in LITERAL.items():
            wanted = PROPERTIES.get(kind)
            if (wanted is None or (wanted.fullmatch(name) and not colours_alone)) and literal.search(value):
                found.append(f"{kind}: {name}: {' '.join(value.split())}")
    return found


@pytest.mark.parametrize("path", SHEETS, ids=lambda path: path.name)
def test_a_style_sheet_has_no_colour_and_no_size_of_its_own(path: Path) -> None:
    text = path.read_text()
    if path == ADMIN:  # the scale is its library's; its colours are variables of its own
        text = re.sub(r"(?<![\w-])--[\w-]+\s*:[^;}]*", "", text)
    assert of_its_own(text, colours_alone=path == ADMIN) == []


@pytest.mark.parametrize(
    "rule",
    [
        "a { color: #fff; }",
        "a { background: light-dark(var(--page), white); }",
        "a { font-size: .9rem }",
        "a { font: 14px/1.4 var(--sans); }",
        "a { padding: 0 .3rem; }",
        "a { margin-inline-start: -4px; }",
        "a { border-end-end-radius: .2rem; }",
        "a { font-family: monospace; }",
    ],
)
def test_one_that_has_is_found(rule: str) -> None:
    assert len(of_its_own(rule)) == 1


def test_every_variable_of_the_design_is_declared_and_used() -> None:
    sheets = {path: path.read_text() for path in [*SHEETS, VARIABLES] if path != ADMIN}
    declared = set(re.findall(r"(--[\w-]+)\s*:", sheets[VARIABLES]))
    own = {name for text in sheets.values() for name in re.findall(r"(?<!\()(--[\w-]+)\s*:", text)}
    used = {name for text in sheets.values() for name in re.findall(r"var\((--[\w-]+)", text)}
    by_script = {"--digits"}  # the width of the largest number of a line
    assert used - own - by_script == set()
    assert declared - used == set()


def test_every_variable_is_described() -> None:
    described = (ROOT / "docs/design.md").read_text()
    names = re.findall(r"(--[\w-]+)\s*:", VARIABLES.read_text())
    assert [name for name in names if f"`{name}`" not in described] == []


@pytest.mark.django_db
@pytest.mark.sqlite_suffices
def test_the_components_are_shown_where_a_setting_says_so(client: Client, rf: RequestFactory, admin_user: User) -> None:
    client.force_login(admin_user)
    assert client.get("/components/").status_code == 404
    request = rf.get("/components/")
    request.user, request.session = admin_user, client.session
    shown = components(request).content.decode()
    colours = [f"--{name}" for names in GROUPS.values() for name in names]
    sizes = re.findall(r"(--(?:size|space|radius)-\w+)\s*:", VARIABLES.read_text())
    rules = VARIABLES.with_name("components.css").read_text()
    for name in (*colours, *sizes):
        assert f'"{name}"' in shown, name
        assert f'"{name}"]' in rules, name


def test_questions_are_dialogs_of_ours() -> None:
    asked = re.compile(r"(?<![\w.])(?:window\.)?(?:confirm|alert|prompt)\(")
    assert [path.name for path in ROOT.glob("*/static/*/*.js") if asked.search(path.read_text())] == []


@pytest.mark.django_db
@pytest.mark.sqlite_suffices
def test_screenshots_are_taken_of_every_page(client: Client, admin_user: User) -> None:
    """Of the addresses without parts that vary, those that answer with a page."""
    client.force_login(admin_user)
    addresses = {"/" + str(each.pattern).removeprefix("^").removesuffix("$") for each in get_resolver().url_patterns}
    pages = set()
    for address in sorted(addresses - {"/sse", "/mcp/?", "/metrics"}):
        answer = client.get(address)
        if answer.status_code == 200 and answer.headers["Content-Type"].startswith("text/html"):
            pages.add(address)
    assert {"/", "/agents/", "/settings/"} <= pages
    assert pages <= set(PAGES.values()) | {"/sign-in/"}  # that one with a link
    assert {"/tasks/{task}/", "/sandboxes/{sandbox}/", "/api/docs/", "/components/"} <= set(PAGES.values())
