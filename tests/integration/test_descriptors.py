"""The limit of open files follows the limit of streams, and says where it cannot."""

from __future__ import annotations

import subprocess
import sys

import pytest

from tests.processes import ROOT

RAISE = """
import sys
from taskhub.lib.descriptors import raise_descriptor_limit
print(raise_descriptor_limit(int(sys.argv[1])))
"""


@pytest.mark.parametrize(
    ("soft", "hard", "streams", "holds", "is_enough"),
    [
        (256, 4096, 1000, 3000, True),
        (256, 2048, 1000, 2048, False),
        (4000, 4096, 1000, 4000, True),
    ],
)
def test_the_soft_limit_is_raised(soft: int, hard: int, streams: int, holds: int, is_enough: bool) -> None:
    limited = f'ulimit -Sn {soft} && ulimit -Hn {hard} && exec "$@"'
    command = ["bash", "-c", limited, "bash", sys.executable, "-c", RAISE, str(streams)]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True, timeout=60)
    assert int(done.stdout) == holds
    assert ("TASKHUB_STREAM_LIMIT=1000 needs 3000" in done.stderr) is not is_enough
