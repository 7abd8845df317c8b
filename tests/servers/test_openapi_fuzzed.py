"""Requests made from the OpenAPI document, right and wrong ones, with all of schemathesis' checks.

Against the production settings, where everything is closed: one of the checks is that without credentials, or with
wrong ones, nothing is had. The sandboxes are those of the local sandbox server; scripts are only queued, for there is
no worker. The seed is fixed, so that a failure is about the change at hand.
"""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.processes import free_port
from tests.servers.hubs import Installation, ProductionInstallation

KEY = "the-key-of-the-local-sandbox-server"
UNLIMITED = (
    "TASKHUB_FAILED_CREDENTIALS_PER_MINUTE",
    "TASKHUB_REQUESTS_PER_MINUTE",
    "TASKHUB_REQUESTS_PER_MINUTE_PER_ADDRESS",
)
CONFIG = """
[parameters]
# Its coverage takes no pattern for a header, and "0" for an ETag; odd ones are in tests/live/test_bad_input_live.py.
"If-Match" = "*"
# Of each wait the present state is enough here.
"wait_s" = 0

[[operations]]
include-path-regex = "^/api/(exec/[{]task_id[}]|tasks/[{]task_id[}]/verify)/$"
# A task's description may hold the script; where neither does, a body without one is refused. Nor has each a check.
checks.positive_data_acceptance.expected-statuses = ["2xx", "400", "401", "403", "404", "409", "429", "5xx"]

[[operations]]
include-path-regex = "^/api/tasks/([{]task_id[}]/)?$"
# A blocker must be a task that there is.
checks.positive_data_acceptance.expected-statuses = ["2xx", "400", "401", "403", "404", "409", "412", "429", "5xx"]

[[operations]]
include-path-regex = "^/api/exec/logs/[{]task_id[}]/(search/)?$"
# OpenAPI has no word for query parameters that exclude, or need, each other.
checks.positive_data_acceptance.expected-statuses = ["2xx", "400", "401", "403", "404", "409", "429", "5xx"]

[[operations]]
include-path-regex = "^/api/environments/"
# Fields that exclude each other, and forms of addresses, domains and images; a name is taken once.
checks.positive_data_acceptance.expected-statuses = ["2xx", "400", "401", "403", "404", "409", "429", "5xx"]

[[operations]]
include-path-regex = "^/api/webhooks/"
# Which addresses may be sent to is more than a pattern can say.
checks.positive_data_acceptance.expected-statuses = ["2xx", "400", "401", "403", "404", "409", "429", "5xx"]
"""


@pytest.fixture
def installation(tmp_path: Path) -> Iterator[Installation]:
    made = ProductionInstallation(tmp_path)
    made.env |= dict.fromkeys(UNLIMITED, "0")
    port = free_port()
    made.env |= {"DAYTONA_API_URL": f"http://127.0.0.1:{port}/api", "DAYTONA_API_KEY": KEY, "LOCAL_SANDBOX_KEY": KEY}
    try:
        made.start("sandboxes", "-m", "sandboxes.local", "--data-dir", str(tmp_path / "boxes"), "--port", str(port))
        made.processes["sandboxes"].wait_for_line("ready")
        made.start_web("one")
        yield made
    finally:
        made.end()


@pytest.mark.timeout(2500)
def test_the_document_is_kept(installation: Installation, tmp_path: Path) -> None:
    config = tmp_path / "schemathesis.toml"
    config.write_text(CONFIG)
    base = installation.address("one")
    headers = {**installation.base_headers, **installation.headers}
    command = [
        *(
            str(Path(sys.executable).with_name("schemathesis")),
            "--config-file",
            str(config),
            "run",
            f"{base}/api/schema/",
            "--url",
            base,
        ),
        *(option for name, value in headers.items() for option in ("--header", f"{name}: {value}")),
        # Streams do not end, and a wait lasts; both have tests of their own.
        *("--exclude-path-regex", "/stream$|^/sse$"),
        *("--checks", "all", "--phases", "examples,coverage,fuzzing", "--max-examples", "10", "--workers", "1"),
        *("--seed", "7"),
        # Of hypothesis' checks of itself this one is timed.
        *("--generation-database", "none", "--no-color", "--suppress-health-check", "too_slow"),
    ]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, timeout=2400, check=False)
    said = done.stdout
    found = [place for title in ("= ERRORS", "= FAILURES") if (place := said.find(title)) >= 0]
    assert done.returncode == 0, said[min(found, default=0) :][:12_000] + done.stderr[-2000:]
    traces = [line for line in installation.processes["one"].output if "Traceback" in line]
    assert not traces, "\n".join(installation.processes["one"].output)
