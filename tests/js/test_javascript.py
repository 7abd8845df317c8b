"""Runs the `node:test` tests of this folder: modules of the pages that need no DOM."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

import pytest

from tests.node import LEAST, find_node

HERE = Path(__file__).parent
FILES = sorted(path.name for path in HERE.glob("*.test.js"))


@pytest.mark.parametrize("name", FILES)
def test_module_passes_its_node_tests(name: str) -> None:
    node = find_node()
    if node is None:
        pytest.skip(f"Node.js {LEAST[0]}.{LEAST[1]} or newer is not installed")
    # The pages' scripts have no package.json beside them that would call them modules; node finds out, and says so.
    command = [node, "--disable-warning=MODULE_TYPELESS_PACKAGE_JSON", "--test", str(HERE / name)]
    env = {**os.environ, "LC_ALL": "en_US.UTF-8", "TZ": "UTC"}
    done = subprocess.run(command, check=False, capture_output=True, text=True, timeout=120, env=env)
    assert done.returncode == 0, done.stdout + done.stderr


def test_all_files_were_found() -> None:
    assert len(FILES) >= 5
