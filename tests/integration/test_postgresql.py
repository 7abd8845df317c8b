from __future__ import annotations

import os
import sys

import pytest

from tests.processes import Process


@pytest.mark.postgres
@pytest.mark.timeout(1800)
def test_what_touches_rows_passes_on_postgresql_too(postgres_url: str) -> None:
    """What of `tests/unit` and `tests/integration` uses the database, without what is marked `sqlite_suffices`."""
    of_this_run = ("TASKHUB_", "REDIS_", "PYTEST_")
    env = {name: value for name, value in os.environ.items() if not name.startswith(of_this_run)}
    process = Process(
        [sys.executable, "-m", "pytest", "tests/unit", "tests/integration", "-m", "rows", "-q"],
        env | {"TASKHUB_TEST_DATABASE_URL": postgres_url},
    )
    try:
        code = process.wait(1700)
        failed = [line for line in process.output if line.startswith(("FAILED ", "ERROR "))]
        assert code == 0, "\n".join([*failed, *process.output[-150:]])
        assert " passed" in process.output[-1]
        assert "skipped" not in process.output[-1]
    finally:
        process.end()
