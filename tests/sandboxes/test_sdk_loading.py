"""When the SDK is loaded: before an event loop has others to serve, or never."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from celery import signals

from sandboxes.gateway import loading
from tests.processes import ROOT
from tests.sandboxes.ill_daytona import KEY, Daytona

JOBS = """
import json, sys
from config.celery import app
app.loader.import_default_modules()
print(json.dumps(sorted(sys.modules)))
"""

WEB = """
import json, sys
import config.asgi
import config.urls
print(json.dumps(sorted(sys.modules)))
"""

USE = """
import asyncio, json, sys
import django
django.setup()
from sandboxes.gateway import load_sdk, open_gateway
from sandboxes.errors import SandboxMissing

async def use():
    async with open_gateway() as gateway:
        document = await gateway.create({})
        sandbox = await gateway.sandbox_get(document["id"])
        await sandbox.toolbox.upload({"file": b"content"})
        await sandbox.toolbox.session_create("s")
        command = await sandbox.toolbox.command_run("s", "echo heard")
        async for shares in sandbox.toolbox.follow("s", command):
            if "heard" in "".join(text for _, text in shares):
                break
        toolbox = gateway.toolbox(document["id"], document["toolboxProxyUrl"])
        assert await toolbox.session_documents()
        await gateway.sandbox_delete(document["id"])
        try:
            await gateway.document("nobody")
        except SandboxMissing:
            return

load_sdk()
before = set(sys.modules)
asyncio.run(use())
print(json.dumps(sorted(set(sys.modules) - before)))
"""


def modules(code: str, data_dir: Path, **env: str) -> list[str]:
    """What the code prints of them, in a process of its own."""
    own = {"PATH": os.environ["PATH"], "TASKHUB_DATA_DIR": str(data_dir)}
    env = {**own, "DJANGO_SETTINGS_MODULE": "config.settings.test", **env}
    done = subprocess.run([sys.executable, "-c", code], env=env, cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    found: list[str] = json.loads(done.stdout.splitlines()[-1])
    return found


def is_of_sdk(name: str) -> bool:
    """Its parts, but for the packages that know where those are."""
    return name.startswith(("daytona.", "daytona_"))


def test_beat_loads_neither_the_sdk_nor_the_doors(tmp_path: Path) -> None:
    loaded = modules(JOBS, tmp_path)
    assert "sandboxes.jobs" in loaded
    assert [name for name in loaded if is_of_sdk(name) and "." in name] == []
    assert not {"mcp", "config.urls", "aiohttp"} & set(loaded)


def test_a_hub_of_one_machine_loads_no_sdk_before_it_is_used(tmp_path: Path) -> None:
    """What a visitor asks for first, too: all addresses are read for it."""
    loaded = modules(WEB, tmp_path, DJANGO_SETTINGS_MODULE="config.settings.local")
    assert {"config.asgi", "config.urls", "taskhub.mcp.endpoint"} <= set(loaded)
    assert not {"mcp", "mcp_types", "aiohttp", "daytona"} & set(loaded)


def test_a_gateway_loads_the_sdk_where_it_was_not_loaded_before(daytona: Daytona, tmp_path: Path) -> None:
    later = modules(USE.replace("load_sdk()\n", "", 1), tmp_path, DAYTONA_API_KEY=KEY, DAYTONA_API_URL=daytona.api_url)
    assert {"aiohttp", "daytona._async.daytona"} <= set(later)


def test_what_is_loaded_beforehand_is_all_that_a_gateway_needs(daytona: Daytona, tmp_path: Path) -> None:
    later = modules(USE, tmp_path, DAYTONA_API_KEY=KEY, DAYTONA_API_URL=daytona.api_url)
    assert [name for name in later if is_of_sdk(name)] == []


def test_a_worker_whose_sdk_cannot_be_loaded_does_not_go_on(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(loading, "_SDK", ("daytona.nothing_of_that_name",))
    with pytest.raises(SystemExit, match="nothing_of_that_name"):
        signals.worker_init.send(sender="a worker")
