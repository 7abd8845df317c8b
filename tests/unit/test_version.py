"""The version is in one place, from which everything that tells it reads."""

from __future__ import annotations

import re
import tomllib

from django.conf import settings

from taskhub import __version__
from taskhub.events.asyncapi import build
from taskhub.mcp.protocol import build_server
from tests.processes import ROOT


def test_everything_tells_the_version_of_the_package() -> None:
    assert re.fullmatch(r"\d+\.\d+\.\d+", __version__)
    assert settings.SPECTACULAR_SETTINGS["VERSION"] == __version__
    assert build("localhost", secure=False)["info"]["version"] == __version__
    assert build_server().version == __version__


def test_metadata_reads_it_and_names_licence_authors_and_addresses() -> None:
    metadata = tomllib.loads((ROOT / "pyproject.toml").read_text())
    assert metadata["project"]["dynamic"] == ["version"]
    assert "version" not in metadata["project"]
    assert metadata["tool"]["setuptools"]["dynamic"]["version"] == {"attr": "taskhub.__version__"}
    assert metadata["project"]["license"] == "MIT"
    assert metadata["project"]["authors"]
    assert {"Repository", "Documentation", "Changelog"} <= set(metadata["project"]["urls"])


def test_no_other_file_states_it() -> None:
    stated = [
        str(path.relative_to(ROOT))
        for folder in ("taskhub", "sandboxes", "config")
        for path in (ROOT / folder).rglob("*.py")
        if f'"{__version__}"' in path.read_text()
    ]
    assert stated == ["taskhub/__init__.py"]
