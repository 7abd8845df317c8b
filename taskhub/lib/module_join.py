"""Module bundler: joins the ES modules of a page into one file.

A page of ours loads some forty small modules; joined, it loads one file.

1. A module comes after all modules that it imports, as the language evaluates them.
2. Comments and indentation are left out.
3. Each module becomes a block, so that its names stay its own. What it exports is kept in a constant, from which the
   blocks after it take what they import:

       let $$0;
       {
       const { age, ago: since } = $$1;
       …
       $$0 = { card, tick };
       }

Modules here use named imports at the top, and exported functions, classes and constants. Anything else is refused, as
are cycles: an import is then no different from the constant that it becomes.
"""

from __future__ import annotations

import posixpath
import re
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from typing import Final, cast

_TOKENS: Final = r"""
    (?P<comment>//[^\n]*|/\*.*?\*/)
  | (?P<space>\s+)
  | (?P<string>"(?:[^"\\\n]|\\.)*"|'(?:[^'\\\n]|\\.)*')
  | (?P<word>[\w$#]+)
"""
_REGEX: Final = r"""
  | (?P<regex>/(?:[^/\\\[\n]|\\.|\[(?:[^\]\\\n]|\\.)*\])+/[a-z]*)
"""
_FLAGS: Final = re.VERBOSE | re.DOTALL
_OPERAND: Final = re.compile(_TOKENS + _REGEX + r"| (?P<sign>.)", _FLAGS)
_OPERATOR: Final = re.compile(_TOKENS + r"| (?P<sign>.)", _FLAGS)
_TEMPLATE: Final = re.compile(r"(?:[^`\\$]|\\.|\$(?!\{))*(`|\$\{)", re.DOTALL)
_ENDS_OPERAND: Final = frozenset(")]}`")
_BEFORE_OPERAND: Final = frozenset({"return", "typeof", "case", "in", "of", "await", "void", "delete", "else", "throw"})
"""Words after which a slash begins a regular expression; after any other word it divides."""

_IMPORT: Final = re.compile(r'^import \{([^{}]*)\} from "([^"]+)";$', re.MULTILINE)
_EXPORT: Final = re.compile(r"^export ((?:async )?function\*?|class|const) ([\w$]+)", re.MULTILINE)
_NAME: Final = re.compile(r"([\w$]+)(?: as ([\w$]+))?\Z")
_UNKNOWN: Final = re.compile(r"^(?:import|export)\b[^\n]*|(?<![\w$.#])import\s*[(.]|\$\$\d", re.MULTILINE)


class JoinError(Exception):
    """A module that cannot be joined; the message names it, and why."""


@dataclass(frozen=True, slots=True)
class _Module:
    """`imports`: from which module, and pairs of its name there and here."""

    code: str
    imports: list[tuple[str, list[tuple[str, str]]]]
    exports: list[str]


class Joiner:
    """Joins modules by their names (`taskhub/board.js`); `read` gives a module's text, and raises KeyError."""

    def __init__(self, read: Callable[[str], str]) -> None:
        self._read = read
        self._modules: dict[str, _Module] = {}

    def join(self, entries: Iterable[str]) -> str:
        """These modules, one after the other, with all that they import, each once. Raises JoinError."""
        order: list[str] = []
        for entry in entries:
            self._collect(entry, order, ())
        numbers = {name: number for number, name in enumerate(order)}
        return "".join(self._block(name, numbers) for name in order)

    def _collect(self, name: str, order: list[str], above: tuple[str, ...]) -> None:
        if name in above:
            raise JoinError(f"{name} imports itself, by {' → '.join((*above[above.index(name) :], name))}")
        if name in order:
            return
        for imported, _ in self._module(name, above).imports:
            self._collect(imported, order, (*above, name))
        order.append(name)

    def _module(self, name: str, above: tuple[str, ...]) -> _Module:
        if name not in self._modules:
            try:
                text = self._read(name)
            except KeyError:
                raise JoinError(f"{above[-1] if above else 'A page'} imports {name}, which does not exist") from None
            self._modules[name] = _parsed(name, text)
        return self._modules[name]

    def _block(self, name: str, numbers: dict[str, int]) -> str:
        module = self._modules[name]
        lines = [f"let $${numbers[name]};", "{"]
        for imported, names in module.imports:
            if missing := [there for there, _ in names if there not in self._modules[imported].exports]:
                raise JoinError(f"{name} imports {', '.join(missing)} from {imported}, which does not export that")
            taken = ", ".join(there if there == here else f"{there}: {here}" for there, here in names)
            lines.append(f"const {{ {taken} }} = $${numbers[imported]};")
        lines += [module.code, f"$${numbers[name]} = {{ {', '.join(module.exports)} }};", "}", ""]
        return "\n".join(lines)


def _parsed(name: str, text: str) -> _Module:
    code = without_comments(name, text)
    imports = [
        (posixpath.normpath(posixpath.join(posixpath.dirname(name), found[2])), list(_names(name, found[1])))
        for found in _IMPORT.finditer(code)
        if found[2].startswith(".")
    ]
    exports = [found[2] for found in _EXPORT.finditer(code)]
    code = _EXPORT.sub(r"\1 \2", _IMPORT.sub(lambda found: "" if found[2].startswith(".") else found[0], code))
    if unknown := _UNKNOWN.search(code):
        raise JoinError(f"{name} has something that cannot be joined: {unknown[0]}")
    return _Module(code.strip(), imports, exports)


def _names(module: str, listed: str) -> Iterator[tuple[str, str]]:
    for part in filter(None, (part.strip() for part in listed.split(","))):
        found = _NAME.match(part)
        if found is None:
            raise JoinError(f"{module} has something that cannot be joined: import {part}")
        yield found[1], found[2] or found[1]


def without_comments(name: str, text: str) -> str:
    """The code without comments, indentation and blank lines. Raises JoinError where it does not end.

    Strings, templates and regular expressions stay as they are. A slash begins a regular expression where an operand
    may begin; behind a closing parenthesis or brace it divides.
    """
    parts: list[str] = []
    templates: list[int] = []  # for each `${` that is open, the braces that are open in it
    before = ""
    at = 0
    while at < len(text):
        found = cast("re.Match[str]", (_OPERATOR if _ends_operand(before) else _OPERAND).match(text, at))
        kind, piece = found.lastgroup, found.group()
        at = found.end()
        if kind in {"comment", "space"}:
            _append_space(parts, "\n" if "\n" in piece else " ")
            continue
        if _begins_text(piece, templates):
            rest = _template_text(name, text, at)
            piece, at = piece + rest, at + len(rest)
            if rest.endswith("${"):
                templates.append(0)
        parts.append(piece)
        before = piece if kind == "word" else piece[-1]
    return "".join(parts).strip()


def _begins_text(piece: str, templates: list[int]) -> bool:
    """Whether a template's own text comes next: it begins, or one of its expressions has ended. Counts braces."""
    if piece == "}" and templates and not templates[-1]:
        templates.pop()
        return True
    if piece in {"{", "}"} and templates:
        templates[-1] += 1 if piece == "{" else -1
    return piece == "`"


def _template_text(name: str, text: str, at: int) -> str:
    """Up to the end of the template, or to the next expression in it. Raises JoinError."""
    found = _TEMPLATE.match(text, at)
    if found is None:
        raise JoinError(f"{name} has a template without an end")
    return found.group()


def _append_space(parts: list[str], space: str) -> None:
    """At most one space between tokens: a line's end if there was one, since it may end a statement."""
    if parts and parts[-1] in {" ", "\n"}:
        parts[-1] = "\n" if "\n" in (parts[-1], space) else " "
    else:
        parts.append(space)


def _ends_operand(before: str) -> bool:
    """Whether this token, or the last character of one that is no word, ends an operand."""
    if before in _ENDS_OPERAND or before in {'"', "'", "/"}:
        return True
    return before not in _BEFORE_OPERAND and bool(re.fullmatch(r"[\w$#]+", before))
