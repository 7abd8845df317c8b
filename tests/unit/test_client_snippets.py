"""docs/clients.md: each client has a snippet, and `make clients` runs each snippet."""

from __future__ import annotations

import re

from tests.clients.python_clients import CLIENTS
from tests.clients.snippets import DOCUMENT, STREAMS, WEBHOOKS, snippets


def test_every_snippet_is_run() -> None:
    headings = [snippet.heading for snippet in snippets()]
    assert headings == [*STREAMS, WEBHOOKS, WEBHOOKS]
    assert {snippet.language for snippet in snippets()} == {"javascript", "python", "sh"}


def test_every_client_of_the_table_has_a_snippet() -> None:
    table = re.findall(r"^\| `?([@\w./-]+)`?(?: of browsers)? \| ", DOCUMENT.read_text(), re.MULTILINE)
    clients = {name for name in table if name not in {"client", "---"}}
    assert len(clients) > 12
    assert {heading.split()[0] for heading in STREAMS} == clients
    assert clients > set(CLIENTS)
