"""The text of a script: normalisation, and the block of a description.

Every interface (REST, MCP, admin, a task's description) passes its script through `normalised`, so the same text does
the same everywhere.
"""

from __future__ import annotations

from functools import cache
from typing import Final

from markdown_it import MarkdownIt
from markdown_it.common.utils import unescapeAll

from taskhub.errors import Invalid, TooLarge

SCRIPT_LIMIT_BYTES: Final = 1024 * 1024
_BYTE_ORDER_MARK: Final = "\ufeff"
LANGUAGES: Final = frozenset({"bash", "sh", "shell"})
"""First words of an info string, in lower case, that name a script."""


def normalised(script: str) -> str:
    """Without a byte order mark, and with LF for CRLF. A CR of its own stays: it may be meant."""
    return script.removeprefix(_BYTE_ORDER_MARK).replace("\r\n", "\n")


def script_block(description: str) -> str | None:
    """The first fenced code block of a description in Markdown whose language is bash, sh or shell; None without one.

    It is found as CommonMark defines it: inside a list or a quotation too, with any fence; not inside another block of
    code, and not inside an HTML comment. `shell-session` is another language.
    """
    for token in _parser().parse(normalised(description)):
        if token.type == "fence" and _language(token.info) in LANGUAGES:
            return normalised(token.content)
    return None


def _language(info: str) -> str:
    words = unescapeAll(info).split()
    return words[0].lower() if words else ""


@cache
def _parser() -> MarkdownIt:
    """Blocks only: what a paragraph holds is of no interest, and costs the most."""
    parser = MarkdownIt("commonmark")
    parser.core.ruler.enableOnly(["normalize", "block"])
    return parser


def script_to_run(given: str | None, description: str) -> str:
    """The script as it runs: the given one, else the first block of the task's description.

    Raises Invalid without anything to run; TooLarge over SCRIPT_LIMIT_BYTES.
    """
    script = normalised(given) if given is not None else script_block(description)
    if script is None:
        words = "Send script_content, or give the task's description a ```bash block."
        raise Invalid(words, code="script_missing", details={"script_content": ["There is nothing to run."]})
    guard_script_size(script)
    return script


def guard_script_size(script: str) -> None:
    """Raises TooLarge over SCRIPT_LIMIT_BYTES."""
    if len(script.encode("utf-8", errors="replace")) > SCRIPT_LIMIT_BYTES:
        raise TooLarge(f"A script may have at most {SCRIPT_LIMIT_BYTES} bytes.", code="script_too_large")
