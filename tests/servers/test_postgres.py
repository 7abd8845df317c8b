from __future__ import annotations

import os
import subprocess
import sys

import pytest

from tests.processes import ROOT


@pytest.mark.postgres
@pytest.mark.timeout(1800)
def test_the_unit_tests_pass_on_postgresql_too(postgres_url: str) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "pytest", "tests/unit", "-q", "--no-cov"],
        env={
            **{name: value for name, value in os.environ.items() if not name.startswith(("TASKHUB_", "REDIS_"))},
            "TASKHUB_TEST_DATABASE_URL": postgres_url,
        },
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout[-5000:] + done.stderr[-2000:]
    assert "skipped" not in done.stdout.splitlines()[-1]
