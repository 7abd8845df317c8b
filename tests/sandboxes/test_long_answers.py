"""A Daytona whose answers are too long or too deep: errors of upstream, with memory flat."""

from __future__ import annotations

import resource
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from typing import Any

import pytest
from asgiref.sync import async_to_sync

from sandboxes.circuit_breaker import breaker
from sandboxes.errors import SandboxUnavailable
from sandboxes.gateway import Gateway, open_gateway
from sandboxes.gateway.translation import ANSWER_LIMIT_BYTES, DEPTH_LIMIT
from tests.sandboxes.ill_daytona import KEY, Daytona

pytestmark = pytest.mark.usefixtures("connected")
MIB = 1024 * 1024
SANDBOX = r"GET /api/sandbox"


@pytest.fixture
def connected(daytona: Daytona, settings: Any) -> None:
    settings.DAYTONA_API_URL, settings.DAYTONA_API_KEY = daytona.api_url, KEY
    breaker.succeeded()


@asynccontextmanager
async def gateway() -> AsyncGenerator[Gateway, None]:
    async with open_gateway() as opened:
        yield opened


@async_to_sync
async def page() -> Any:
    async with gateway() as opened:
        return await opened.page()


@async_to_sync
async def sandbox_get(sandbox_id: str) -> Any:
    async with gateway() as opened:
        return await opened.sandbox_get(sandbox_id)


@async_to_sync
async def sessions(sandbox_id: str) -> Any:
    async with gateway() as opened:
        sandbox = await opened.sandbox_get(sandbox_id)
        return await sandbox.toolbox.session_documents()


@async_to_sync
async def shell(sandbox_id: str) -> Any:
    async with gateway() as opened:
        sandbox = await opened.sandbox_get(sandbox_id)
        return await sandbox.toolbox.shell("true")


def peak_mib() -> float:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


def test_a_page_of_700_mib_is_an_error_and_costs_no_memory(daytona: Daytona) -> None:
    daytona.fault(SANDBOX, status=200, text=" " * MIB, repeat=700)
    before = peak_mib()
    with pytest.raises(SandboxUnavailable):
        page()
    assert peak_mib() - before < 4 * ANSWER_LIMIT_BYTES / MIB


def test_a_sandbox_is_bounded_too(daytona: Daytona) -> None:
    sandbox_id = daytona.sandbox()
    daytona.fault(SANDBOX, status=200, text=" " * MIB, repeat=100)
    before = peak_mib()
    with pytest.raises(SandboxUnavailable):
        sandbox_get(sandbox_id)
    assert peak_mib() - before < 4 * ANSWER_LIMIT_BYTES / MIB


@pytest.mark.parametrize(("match", "ask"), [(r"/process/session$", sessions), (r"/process/execute", shell)])
def test_a_toolbox_is_bounded(daytona: Daytona, match: str, ask: Any) -> None:
    sandbox_id = daytona.sandbox()
    daytona.fault(match, status=200, text=" " * MIB, repeat=100)
    with pytest.raises(SandboxUnavailable):
        ask(sandbox_id)


def test_a_declared_length_is_believed_before_anything_is_read(daytona: Daytona) -> None:
    daytona.fault(SANDBOX, status=200, text=" ", headers={"Content-Length": str(ANSWER_LIMIT_BYTES + 1)})
    with pytest.raises(SandboxUnavailable):
        page()


def test_an_error_with_a_long_text_is_an_error_of_upstream(daytona: Daytona) -> None:
    daytona.fault(SANDBOX, status=400, text=" " * MIB, repeat=20)
    with pytest.raises(SandboxUnavailable):
        page()


def test_an_answer_below_the_limit_is_taken(daytona: Daytona) -> None:
    daytona.fault(SANDBOX, status=200, text='{"items": []}' + " " * MIB)
    assert page().items == []


@pytest.mark.parametrize("depth", [DEPTH_LIMIT, 100_000])
@pytest.mark.parametrize("ask", [page, lambda: sandbox_get("a")])
def test_json_that_is_too_deep_is_an_error_of_upstream(daytona: Daytona, ask: Any, depth: int) -> None:
    daytona.fault(SANDBOX, status=200, text='{"items": ' + "[" * depth + "]" * depth + "}")
    with pytest.raises(SandboxUnavailable):
        ask()
