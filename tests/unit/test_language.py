"""Plain language: words that stand in for a caller or client are not used in code, documentation and pages.

Checked are comments, docstrings and sentences in Python, and the whole text of other files. Not checked are
migrations, and identifiers and values ("nobody" is a role's name on the wire).
"""

from __future__ import annotations

import ast
import io
import re
import subprocess
import tokenize
from collections.abc import Iterator

from tests.processes import ROOT

BANNED = re.compile(
    r"(?<![a-z])(?:nobody|anybody|somebody|whoever|heed(?:s|ed|ing)?|tell(?:s|ing)? of|told of)(?![a-z])", re.IGNORECASE
)
WORDS = re.compile(r"nobody|anybody|somebody|whoever|heed|tell|told", re.IGNORECASE)
"""A text without any of these has nothing of `BANNED`, however it is put together."""
ERROR = re.compile(r"There (?:are|is no such) ")
VALUE = re.compile(r"""(["'`])\w+\1""")
TEXT = {".md", ".html", ".js", ".mjs", ".css", ".toml", ".yaml", ".yml", ".conf", ".service", ".in", ".example", ".sh"}
NAMED = {"Makefile", "Dockerfile", "run", "taskhub-manage"}
FOLDERS = (".ci", ".devcontainer", ".github", "benchmarks", "config", "deploy", "docs", "requirements")
FOLDERS += ("sandboxes", "taskhub", "templates", "tests")
UNCHECKED = {"tests/unit/test_language.py"}
NOT_CONVERTED: set[str] = set()
"""Files that still use these words. Remove a file from this list when it is converted; add none."""


def files() -> Iterator[str]:
    """What is in the repository or would be added to it: environments and packages of tools are not ours."""
    listed = ["git", "ls-files", "--cached", "--others", "--exclude-standard", "-z"]
    names = subprocess.run(listed, cwd=ROOT, capture_output=True, text=True, check=True).stdout.split("\0")
    for name in sorted(set(filter(None, names))):
        path = ROOT / name
        checked = path.suffix in TEXT | {".py"} or path.name in NAMED
        in_folder = "/" not in name or name.split("/")[0] in FOLDERS
        if path.is_file() and checked and in_folder and "migrations" not in path.parts:
            yield name


FILES = [name for name in files() if name not in UNCHECKED]


def docstrings(tree: ast.Module) -> set[int]:
    """Ids of the strings that stand alone: docstrings of modules, classes, functions and constants."""
    bodies = (getattr(node, "body", None) for node in ast.walk(tree))
    statements = (statement for body in bodies if isinstance(body, list) for statement in body)
    return {id(found.value) for found in statements if isinstance(found, ast.Expr)}


def strings(source: str) -> Iterator[tuple[int, str, bool]]:
    """Line, text, and whether it is a docstring."""
    tree = ast.parse(source)
    alone = docstrings(tree)
    for node in ast.walk(tree):
        if isinstance(node, ast.Constant) and isinstance(node.value, str):
            yield node.lineno, node.value, id(node) in alone


def comments(source: str) -> Iterator[tuple[int, str]]:
    for token in tokenize.generate_tokens(io.StringIO(source).readline):
        if token.type == tokenize.COMMENT:
            yield token.start[0], token.string


def sentences(name: str, source: str) -> Iterator[tuple[int, str]]:
    if not name.endswith(".py"):
        yield from enumerate(source.splitlines(), 1)
        return
    yield from comments(source)
    yield from ((line, text) for line, text, _ in strings(source) if " " in text.strip())


def banned_in(name: str) -> list[str]:
    """Banned words of a file, with their lines. A single quoted word is a value."""
    source = (ROOT / name).read_text()
    if WORDS.search(source) is None:
        return []  # To take a file apart takes longer than all else.
    found = ((line, BANNED.search(VALUE.sub("", text))) for line, text in sentences(name, source))
    return [f"{name}:{line} {match[0]}" for line, match in found if match]


def errors_in(name: str) -> list[str]:
    """'There are todo, inprogress.' instead of 'Must be one of: todo, inprogress.'"""
    if not name.endswith(".py") or not name.startswith(("taskhub/", "sandboxes/", "config/")):
        return []
    source = (ROOT / name).read_text()
    found = strings(source) if "There " in source else ()
    return [f"{name}:{line} {text}" for line, text, is_docstring in found if not is_docstring and ERROR.match(text)]


def test_language_is_plain() -> None:
    found = {name: banned_in(name) + errors_in(name) for name in FILES}
    plain = [name for name in NOT_CONVERTED if not found.get(name)]
    assert not plain, f"{plain} are converted: remove them from NOT_CONVERTED"
    assert [line for name, lines in found.items() if name not in NOT_CONVERTED for line in lines] == []


def test_the_list_of_unconverted_files_names_checked_files() -> None:
    assert set(FILES) >= NOT_CONVERTED


def test_the_check_sees_comments_docstrings_and_sentences_but_no_values() -> None:
    source = '"""Whoever asks."""\nrole = "nobody"  # heeds it\nraise ValueError(f"Tells of {role}.")\n'
    found = [BANNED.search(text) for _, text in sentences("x.py", source)]
    assert sorted(match[0] for match in found if match) == ["Tells of", "Whoever", "heeds"]
