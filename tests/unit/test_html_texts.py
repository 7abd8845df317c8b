"""`?html=true`: descriptions and notes as HTML, only where they are asked for."""

from __future__ import annotations

import pytest
from rest_framework.test import APIClient

from taskhub.lib.markdown import LONGEST

pytestmark = [pytest.mark.django_db, pytest.mark.sqlite_suffices]


def made(api: APIClient, **fields: str) -> str:
    return str(api.post("/api/tasks/", {"title": "t", **fields}, format="json").json()["id"])


def test_description_is_html_where_it_is_asked_for(api: APIClient) -> None:
    task = made(api, description="a *b*\n\n- [ ] c")
    shown = api.get(f"/api/tasks/{task}/?html=true").json()
    assert shown["description"] == "a *b*\n\n- [ ] c"
    assert shown["description_html"].startswith("<p>a <em>b</em></p>")
    assert 'data-line="2"' in shown["description_html"]
    for query in ("", "?html=false"):
        assert "description_html" not in api.get(f"/api/tasks/{task}/{query}").json()
    assert api.get(f"/api/tasks/{task}/?html=maybe").status_code == 400


def test_description_that_is_too_long_is_null(api: APIClient) -> None:
    task = made(api, description="a" * (LONGEST + 1))
    assert api.get(f"/api/tasks/{task}/?html=true").json()["description_html"] is None


def test_notes_are_html_on_each_page(api: APIClient) -> None:
    task = made(api)
    for n in range(3):
        api.post(f"/api/tasks/{task}/notes/", {"text": f"**{n}**"}, format="json")
    first = api.get(f"/api/tasks/{task}/notes/?html=true&page_size=2").json()
    second = api.get(first["next"]).json()
    assert [note["text_html"] for note in first["results"] + second["results"]] == [
        f"<p><strong>{n}</strong></p>\n" for n in (2, 1, 0)
    ]
    assert "text_html" not in api.get(f"/api/tasks/{task}/notes/").json()["results"][0]


def test_page_has_its_description_before_any_script_runs(api: APIClient, client) -> None:
    task = made(api, description="<script>alert(1)</script> **b**")
    page = client.get(f"/tasks/{task}/").content.decode()
    assert "<p>&lt;script&gt;alert(1)&lt;/script&gt; <strong>b</strong></p>" in page
