"""Markdown as HTML: GitHub's dialect without raw HTML, through an allow-list of elements."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache, lru_cache
from typing import Any, Final

import nh3
from markdown_it import MarkdownIt
from markdown_it.common.utils import escapeHtml
from markdown_it.renderer import RendererHTML
from markdown_it.token import Token

_TAGS: Final = frozenset(
    [
        *("a", "blockquote", "br", "code", "del", "div", "em", "h3", "h4", "h5", "h6", "hr", "input", "li", "ol", "p"),
        *("pre", "s", "strong", "table", "tbody", "td", "th", "thead", "tr", "ul"),
    ]
)
_ATTRIBUTES: Final = {
    "a": {"href", "title"},
    "div": {"aria-label", "class", "role", "tabindex"},
    "input": {"aria-label", "checked", "data-line", "disabled", "type"},
    "ol": {"start"},
    "p": {"class"},
    "td": {"class"},
    "th": {"class"},
}
_SCHEMES: Final = frozenset(["http", "https", "mailto"])
_HEADINGS_BELOW: Final = 2
"""A text stands below a heading of this level, and its own go down one level at a time (as axe-core demands)."""
_DEEPEST: Final = 6
LONGEST: Final = 24 * 1024
"""Characters. A longer text is not rendered: one that is made to be slow takes a second for these."""
_KEPT: Final = 64
"""Texts whose HTML is kept: a page that is read again with each event asks for the same ones."""


@lru_cache(maxsize=_KEPT)
def render_markdown(text: str) -> str | None:
    """The text as HTML; None where it is longer than `LONGEST`.

    Check boxes are disabled, and their `data-line` is the line of the text, from 0, that has them.
    """
    if len(text) > LONGEST:
        return None
    html = _parser().render(text)
    # The parser escapes raw HTML and refuses script URLs. This is the second wall: nothing passes that is not named.
    return nh3.clean(
        html,
        tags=set(_TAGS),
        attributes=_ATTRIBUTES,
        url_schemes=set(_SCHEMES),
        link_rel="noopener noreferrer nofollow",
    )


@cache
def _parser() -> MarkdownIt:
    parser = MarkdownIt("gfm-like2", {"html": False}, renderer_cls=_Renderer)
    # Without these, README.md and test.py were links to sites of Moldova and Paraguay.
    parser.linkify.set({"fuzzy_link": False, "fuzzy_email": False})  # type: ignore[union-attr]  # it is installed
    parser.core.ruler.push("taskhub_headings", lambda state: _lower_headings(state.tokens))
    return parser


def _lower_headings(tokens: Sequence[Token]) -> None:
    above = _HEADINGS_BELOW
    for token in tokens:
        if token.type == "heading_open":
            above = min(_HEADINGS_BELOW + int(token.tag[1:]), above + 1, _DEEPEST)
        if token.type in {"heading_open", "heading_close"}:
            token.tag = f"h{above}"


class _Renderer(RendererHTML):
    def image(self, tokens: Sequence[Token], idx: int, options: Any, env: Any) -> str:
        """A link: a page loads nothing from elsewhere."""
        token = tokens[idx]
        words = self.renderInlineAsText(token.children, options, env) or str(token.attrGet("src"))
        return f'<a href="{escapeHtml(str(token.attrGet("src")))}">{escapeHtml(words)}</a>'

    def table_open(self, *_: Any) -> str:
        """A wide table scrolls in its place, also by keyboard: its words do not break."""
        return '<div class="wide" tabindex="0" role="group" aria-label="Table">\n<table>\n'

    def table_close(self, *_: Any) -> str:
        return "</table>\n</div>\n"

    def th_open(self, tokens: Sequence[Token], idx: int, options: Any, env: Any) -> str:
        """How its column is aligned is a class: the policy of the pages allows no style in an element."""
        attributes = tokens[idx].attrs
        if aligned := str(attributes.pop("style", "")).removeprefix("text-align:"):
            attributes["class"] = aligned
        return self.renderToken(tokens, idx, options, env)

    td_open = th_open

    def list_item_open(self, tokens: Sequence[Token], idx: int, options: Any, env: Any) -> str:  # noqa: ARG002
        token = tokens[idx]
        checked = token.meta.get("checked")
        if checked is None:
            return "<li>"
        words = next((each.content for each in tokens[idx + 1 : idx + 3] if each.type == "inline"), "")
        line = token.map[0] if token.map else 0
        state = ' checked=""' if checked else ""
        label = escapeHtml(words[:200] or "to do")
        return f'<li><input type="checkbox" disabled="" data-line="{line}" aria-label="{label}"{state}> '
