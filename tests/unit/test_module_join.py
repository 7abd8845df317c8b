"""The bundler of the pages' modules: order, scopes, comments, and what it refuses."""

from __future__ import annotations

import re

import pytest

from taskhub.lib.module_join import Joiner, JoinError, without_comments
from tests.processes import ROOT


def joined(modules: dict[str, str], *entries: str) -> str:
    return Joiner(modules.__getitem__).join(entries)


@pytest.mark.parametrize(
    ("code", "kept"),
    [
        ("a(); // x\n  /* y */ b();", "a();\nb();"),
        ('const url = "https://x"; // not this', 'const url = "https://x";'),
        (
            "const re = /[/*]+\\/\\*/g.test(x) /* gone */ || y / 2 / z;",
            "const re = /[/*]+\\/\\*/g.test(x) || y / 2 / z;",
        ),
        (
            "`  // kept ${f(`}`, { a: '//' } /* gone */)}\n  /* kept */ `",
            "`  // kept ${f(`}`, { a: '//' } )}\n  /* kept */ `",
        ),
        ("return /x'/.test(s);", "return /x'/.test(s);"),
        ("f(a) / g(b) // '", "f(a) / g(b)"),
        ("return /* a\nb */ x", "return\nx"),
        (r"'\'//' + 1 //", r"'\'//' + 1"),
    ],
)
def test_comments_go_and_texts_stay(code: str, kept: str) -> None:
    assert without_comments("m.js", code) == kept


@pytest.mark.parametrize(
    ("code", "why"),
    [
        ('import { page } from "./page.js";', r"page\.js imports itself, by page\.js → site\.js → page\.js"),
        ('import { absent } from "./log.js";', "does not export that"),
        ('import { x } from "./absent.js";', r"site\.js imports absent\.js, which does not exist"),
        ('import { x } from "library";', 'import { x } from "library"'),
        ('import * as all from "./log.js";', r"import \* as all"),
        ('import "./log.js";', "cannot be joined"),
        ("export default 1;", "export default"),
        ("export let state = 1;", "export let"),
        ('export { said } from "./log.js";', "export {"),
        ('const later = import("./log.js");', "import\\("),
        ("const here = import.meta.url;", "import."),
        ("const $$1 = 1;", re.escape("$$1")),
        ("const text = `never ends", "template without an end"),
    ],
)
def test_what_it_cannot_join_is_refused(code: str, why: str) -> None:
    modules = {"log.js": "export const said = [];\n", "page.js": 'import { a } from "./site.js";\n', "site.js": code}
    with pytest.raises(JoinError, match=why):
        joined(modules, "page.js")


def test_each_page_names_a_script_that_is_joined(settings) -> None:
    used = {
        name
        for template in (ROOT / "templates").rglob("*.html")
        for name in re.findall(r'{% page_script "([^"]+)" %}', template.read_text(encoding="utf-8"))
    }
    assert used == set(settings.TASKHUB_PAGE_SCRIPTS)


def test_each_page_names_style_sheets_that_are_joined(settings) -> None:
    used = {
        tuple(re.findall(r'"([^"]+)"', names))
        for template in (ROOT / "templates").rglob("*.html")
        for names in re.findall(r"{% page_styles( .*?)%}", template.read_text(encoding="utf-8"))
    }
    assert used - {()} == set(settings.TASKHUB_PAGE_STYLES)
