"""Static files of the pages as `prepare` and `collectstatic` make them, and pages that take them."""

from __future__ import annotations

import gzip
import re
from pathlib import Path
from typing import Any

import pytest
from django.contrib.staticfiles.storage import StaticFilesStorage
from django.test import Client

from taskhub.pages import template_tags
from taskhub.web.static_storage import PreparedStaticFilesStorage, static_files_prepare

ALL_KIB = 60
"""What the board's files may have together with its page and its answers; the font beside."""


@pytest.fixture
def prepared(settings: Any, tmp_path: Path) -> PreparedStaticFilesStorage:
    settings.TASKHUB_PREPARED_STATIC = tmp_path / "static"
    static_files_prepare()
    return PreparedStaticFilesStorage()


def test_each_page_has_one_script_and_its_name_is_of_its_content(prepared: Any, settings: Any) -> None:
    for script in settings.TASKHUB_PAGE_SCRIPTS:
        url = prepared.joined_url(script)
        assert re.fullmatch(rf"/static/joined/{script.removesuffix('.js')}\.[0-9a-f]{{12}}\.js", url), url
        path = Path(prepared.path(url.removeprefix("/static/")))
        assert "import" not in path.read_text(encoding="utf-8")[:10]
        assert gzip.decompress(Path(f"{path}.gz").read_bytes()) == path.read_bytes()
    assert re.fullmatch(r"/static/taskhub/site\.[0-9a-f]{12}\.css", prepared.url("taskhub/site.css"))
    assert prepared.url("admin/css/base.css") == "/static/admin/css/base.css", "what is not prepared is served as it is"


def test_each_page_has_one_style_sheet_which_finds_the_font(prepared: Any, settings: Any) -> None:
    for sheets in ((), *settings.TASKHUB_PAGE_STYLES):
        path = Path(prepared.path(prepared.joined_styles_url(sheets).removeprefix("/static/")))
        fonts = re.findall(r'url\("([^"]+)"\)', path.read_text(encoding="utf-8"))
        assert len(fonts) == 2
        assert all((path.parent / font).is_file() and re.search(r"\.[0-9a-f]{12}\.woff2$", font) for font in fonts)


def test_the_board_is_small(prepared: Any) -> None:
    urls = [
        prepared.joined_url("taskhub/board.js"),
        prepared.joined_styles_url(["taskhub/markdown.css", "taskhub/board.css"]),
    ]
    sizes = [Path(prepared.path(url.removeprefix("/static/") + ".gz")).stat().st_size for url in urls]
    assert sum(sizes) < (ALL_KIB - 20) * 1024, sizes


def test_files_of_another_version_are_not_served(prepared: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    (Path(prepared.location) / "sources").write_text("of another version")
    stale = PreparedStaticFilesStorage()
    assert stale.joined_url("taskhub/board.js") is None
    assert stale.url("taskhub/board.js") == "/static/taskhub/board.js"
    monkeypatch.setattr(template_tags, "staticfiles_storage", stale)
    assert scripts_of("taskhub/board.js") == ["/static/taskhub/site.js", "/static/taskhub/board.js"]


def test_a_failure_leaves_what_was_there(prepared: Any, settings: Any) -> None:
    settings.TASKHUB_PAGE_SCRIPTS = ["taskhub/absent.js"]
    with pytest.raises(Exception, match="does not exist"):
        static_files_prepare()
    assert PreparedStaticFilesStorage().joined_url("taskhub/board.js")


def test_nothing_is_prepared_where_nothing_was(settings: Any, tmp_path: Path) -> None:
    settings.TASKHUB_PREPARED_STATIC = tmp_path / "absent"
    assert PreparedStaticFilesStorage().joined_url("taskhub/board.js") is None


def scripts_of(script: str) -> list[str]:
    return re.findall(r'src="([^"]+)"', template_tags.page_script(script))


@pytest.mark.django_db
@pytest.mark.sqlite_suffices
def test_a_page_takes_the_joined_file_or_module_by_module(
    client: Client, prepared: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    def asked() -> list[str]:
        return re.findall(r'<script src="([^"]+)" type="module">', client.get("/").content.decode())

    monkeypatch.setattr(template_tags, "staticfiles_storage", prepared)
    assert asked() == [prepared.joined_url("taskhub/board.js")]
    monkeypatch.setattr(template_tags, "staticfiles_storage", StaticFilesStorage())
    assert asked() == ["/static/taskhub/site.js", "/static/taskhub/board.js"]
    sheets = re.findall(r'<link rel="stylesheet" href="([^"]+)">', client.get("/").content.decode())
    assert sheets == [f"/static/taskhub/{name}.css" for name in ("variables", "site", "markdown", "board")]
