"""Markdown as HTML: what people write is shown, and nothing of it is markup of the page."""

from __future__ import annotations

import re
from html.parser import HTMLParser

import pytest
from hypothesis import given
from hypothesis import strategies as st

from taskhub.lib.markdown import LONGEST, render_markdown

TAGS = {
    *("a", "blockquote", "br", "code", "del", "div", "em", "h3", "h4", "h5", "h6", "hr", "input", "li", "ol", "p"),
    *("pre", "s", "strong", "table", "tbody", "td", "th", "thead", "tr", "ul"),
}
ATTRIBUTES = {
    *("aria-label", "checked", "class", "data-line", "disabled", "href", "rel", "role", "start", "tabindex", "title"),
    "type",
}


def html(text: str) -> str:
    found = render_markdown(text)
    assert found is not None
    return found


def test_each_element_is_rendered() -> None:
    text = "# A\n\n1. *b* **c** ~~d~~\n\n> `e`\n\n| f | g |\n|---|--:|\n| 1 | 2 |\n\n```bash\nls <x>\n```\n\n---"
    shown = html(text)
    for part in [
        "<h3>A</h3>",
        "<ol>\n<li><em>b</em> <strong>c</strong> <s>d</s></li>",
        "<blockquote>\n<p><code>e</code></p>",
        '<div class="wide" tabindex="0" role="group" aria-label="Table">\n<table>\n<thead>',
        "<th>f</th>",
        "<td>1</td>",
        '<td class="right">2</td>',
        "<pre><code>ls &lt;x&gt;\n</code></pre>",
        "<hr>",
    ]:
        assert part in shown, part


def test_links_are_links_and_cannot_run_anything() -> None:
    shown = html("[a](https://a.example/b?c=1&d) https://e.example <g@h.example> [i](/tasks/1)")
    assert re.findall('href="([^"]*)"', shown) == [
        "https://a.example/b?c=1&amp;d",
        "https://e.example",
        "mailto:g@h.example",
        "/tasks/1",
    ]
    assert shown.count('rel="noopener noreferrer nofollow"') == 4
    for address in (
        "javascript:alert(1)",
        "JaVaScRiPt:alert(1)",
        "data:text/html,x",
        "vbscript:x",
        "file:///etc/passwd",
    ):
        assert "href" not in html(f"[a]({address}) <{address}>"), address


def test_names_of_files_are_not_links() -> None:
    assert "href" not in html("README.md test.py www.f.org someone@example.org example.org")


def test_images_are_links_so_that_a_page_loads_nothing() -> None:
    shown = html('![a "b" <c>](https://a.example/b.png) ![](https://a.example/c.png)')
    assert "<img" not in shown
    assert '<a href="https://a.example/b.png" rel="noopener noreferrer nofollow">a "b" &lt;c&gt;</a>' in shown
    assert ">https://a.example/c.png</a>" in shown


def test_check_boxes_name_their_line_and_their_words() -> None:
    shown = html('intro\n\n- [ ] one "x"\n- [x] two\n  * [X] three\n\n1. [ ] four\n> - [ ] five\n- none')
    boxes = re.findall(r"<input[^>]*>", shown)
    assert [re.findall('data-line="([0-9]+)"', box) for box in boxes] == [["2"], ["3"], ["4"], ["6"], ["7"]]
    assert ["checked" in box for box in boxes] == [False, True, True, False, False]
    assert all('disabled=""' in box and 'type="checkbox"' in box for box in boxes)
    assert re.findall('aria-label="([^"]*)"', shown) == ["one &quot;x&quot;", "two", "three", "four", "five"]


def test_headings_go_down_one_level_at_a_time() -> None:
    shown = html("## a\n#### b\n###### c\n# d\n###### e\nf\n=\n")
    assert re.findall(r"<(h\d)>", shown) == ["h3", "h4", "h5", "h3", "h4", "h3"]
    assert re.findall(r"</(h\d)>", shown) == ["h3", "h4", "h5", "h3", "h4", "h3"]


def test_text_that_is_too_long_is_not_rendered() -> None:
    assert render_markdown("a" * LONGEST) is not None
    assert render_markdown("a" * (LONGEST + 1)) is None


ATTACKS = [
    "<script>alert(1)</script>",
    "<img src=x onerror=alert(1)>",
    "<a href='javascript:alert(1)'>x</a>",
    '[a](https://a.example "b\\" onclick=alert(1) x=\\"")',
    '- [ ] "><script>alert(1)</script>',
    '![a](x"onerror="alert(1))',
    "<style>body{display:none}</style>",
    "<iframe src=//evil.example></iframe>",
    "<form action=/x><button>Delete</button></form>",
    "```<script>\nx\n```",
    "<!-- x --><![CDATA[ <script> ]]>",
    "&lt;script&gt;alert(1)&lt;/script&gt;",
    "[a]: javascript:alert(1)\n[a]",
    '<svg><a xlink:href="javascript:alert(1)">x</a></svg>',
]


FOREIGN = re.compile(r"\s*(?!https?:|mailto:)[a-z0-9+.-]+:", re.IGNORECASE)


class Allowed(HTMLParser):
    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        assert tag in TAGS, tag
        assert {name for name, _ in attrs} <= ATTRIBUTES, attrs
        for name, value in attrs:
            assert name != "href" or not FOREIGN.match(value or ""), value

    handle_startendtag = handle_starttag


def guard(shown: str) -> None:
    checked = Allowed()
    checked.feed(shown)
    checked.close()


@pytest.mark.parametrize("text", ATTACKS)
def test_markup_of_the_text_is_shown_as_text(text: str) -> None:
    shown = html(text)
    guard(shown)
    assert "<script" not in shown


pieces = st.one_of(st.sampled_from([*ATTACKS, "\n", "\n\n", " ", "- [ ] ", "`", "|", "> ", "[", "](", ")"]), st.text())


@given(st.lists(pieces, max_size=12))
def test_nothing_else_than_the_allow_list_comes_out(parts: list[str]) -> None:
    guard(html("".join(parts)[:LONGEST]))
