"""Limits of an account, in Daytona's words."""

import subprocess
import sys
from collections.abc import AsyncIterator

import aiohttp
import pytest
from local_server_harness import Raw, running

TIER = "\nTo increase concurrency limits, upgrade your organization's Tier by visiting https://app.daytona.io/dashboard/limits."
LARGER = (
    "\nNeed higher resource limits per-sandbox? Contact us at support@daytona.io and let us know about your use case."
)


@pytest.fixture
async def limited(tmp_path, http: aiohttp.ClientSession, request: pytest.FixtureRequest) -> AsyncIterator[Raw]:
    with running(tmp_path / "data", "--no-bwrap", "--sizes-not-held", "--transition-ms", "5", *request.param) as server:
        yield Raw(server, http)


async def create(raw: Raw, name: str, **fields: object) -> tuple[int, str]:
    status, body, _ = await raw.call("POST", "/api/sandbox", body={"name": name, **fields})
    return status, body.get("message", "")


async def change(raw: Raw, name: str, what: str) -> tuple[int, str]:
    status, body, _ = await raw.call("POST", f"/api/sandbox/{name}/{what}")
    return status, body.get("message", "")


async def stopped(raw: Raw, name: str) -> None:
    assert (await change(raw, name, "stop"))[0] == 200
    while (await raw.call("GET", f"/api/sandbox/{name}"))[1]["state"] != "stopped":
        pass


@pytest.mark.parametrize("limited", [("--limit-cpus", "2")], indirect=True)
async def test_started_sandboxes_count_against_the_limit(limited: Raw):
    full = (403, f"Total CPU limit exceeded. Maximum allowed: 2.{TIER}")
    assert [await create(limited, name) for name in ("a", "b", "c")] == [(200, ""), (200, ""), full]
    status, body, _ = await limited.call("POST", "/api/sandbox", body={})
    assert (status, body["statusCode"], body["error"]) == (403, 403, "Forbidden")
    # The refused one has left nothing behind.
    assert (await limited.call("GET", "/api/sandbox/c"))[0] == 404
    await stopped(limited, "a")
    assert await create(limited, "c") == (200, "")
    # Starting a stopped sandbox is refused in the same way; a started one stays as it is.
    assert await change(limited, "a", "start") == full
    assert (await limited.call("GET", "/api/sandbox/a"))[1]["state"] == "stopped"
    assert (await change(limited, "b", "start"))[0] == 200
    assert (await limited.call("DELETE", "/api/sandbox/b"))[0] == 200
    assert (await change(limited, "a", "start"))[0] == 200
    assert await create(limited, "larger than all", cpu=3) == full


@pytest.mark.parametrize(
    "limited", [("--limit-memory", "2", "--limit-disk", "9", "--limit-status", "400")], indirect=True
)
async def test_memory_and_disk_are_limited_and_some_releases_answer_400(limited: Raw):
    assert await create(limited, "a", memory=2, disk=3) == (200, "")
    assert await create(limited, "b") == (400, f"Total memory limit exceeded. Maximum allowed: 2GiB.{TIER}")
    await stopped(limited, "a")
    assert await create(limited, "b", disk=6) == (200, "")
    # A stopped sandbox uses no memory, and its disk as before.
    await stopped(limited, "b")
    archive = "\nConsider archiving your unused Sandboxes to free up available storage."
    assert await create(limited, "c", disk=1) == (
        400,
        f"Total disk limit exceeded. Maximum allowed: 9GiB.{archive}{TIER}",
    )


@pytest.mark.parametrize(
    "limited",
    [("--limit-cpus", "10", "--limit-sandbox-cpus", "4", "--limit-sandbox-memory", "8", "--limit-sandbox-disk", "10")],
    indirect=True,
)
@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"cpu": 8}, "CPU request 8 exceeds maximum allowed per sandbox (4)."),
        ({"memory": 9}, "Memory request 9GB exceeds maximum allowed per sandbox (8GB)."),
        ({"disk": 11}, "Disk request 11GB exceeds maximum allowed per sandbox (10GB)."),
    ],
)
async def test_a_sandbox_too_large_for_itself_is_a_400(limited: Raw, fields: dict[str, int], message: str):
    assert await create(limited, "a", **fields) == (400, message + LARGER)


async def test_sizes_below_one_are_refused(raw: Raw):
    for name in ("cpu", "memory", "disk"):
        assert await create(raw, "a", **{name: 0}) == (400, f"{name} must not be less than 1")


@pytest.mark.parametrize("words", [("--limit-cpus", "0"), ("--limit-disk", "many"), ("--limit-status", "500")])
def test_a_bad_limit_is_refused(tmp_path, words: tuple[str, ...]):
    command = [sys.executable, "-m", "sandboxes.local", "--data-dir", str(tmp_path), *words]
    result = subprocess.run(command, check=False, capture_output=True, text=True, timeout=60)
    assert result.returncode == 2
    assert words[0] in result.stderr
