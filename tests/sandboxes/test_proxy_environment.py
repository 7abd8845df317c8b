"""The environment's proxies and netrc file: honoured, and not looked for on every request where there are none."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import pytest

from sandboxes.gateway import open_gateway


@pytest.mark.parametrize(
    ("env", "netrc", "counts"),
    [
        ({}, False, False),
        ({"HTTPS_PROXY": "http://127.0.0.1:9"}, False, True),
        ({"http_proxy": "http://127.0.0.1:9"}, False, True),
        ({}, True, True),
    ],
)
def test_environment_counts_where_it_says_something(
    monkeypatch: pytest.MonkeyPatch, settings: Any, tmp_path: Path, env: dict[str, str], *, netrc: bool, counts: bool
) -> None:
    for name in ("http_proxy", "https_proxy", "all_proxy", "no_proxy", "NETRC"):
        monkeypatch.delenv(name, raising=False)
        monkeypatch.delenv(name.upper(), raising=False)
    monkeypatch.setenv("HOME", str(tmp_path))
    for name, value in env.items():
        monkeypatch.setenv(name, value)
    if netrc:
        (tmp_path / ".netrc").write_text("machine example.com login me password secret\n")
    settings.DAYTONA_API_KEY = "a-key"

    async def trusts() -> bool:
        async with open_gateway() as gateway:
            return bool(gateway._client._shared_session.session.trust_env)

    assert asyncio.run(trusts()) is counts
