"""Local sandbox servers, each in a process of its own, and clients for them."""

from collections.abc import AsyncIterator, Iterator

import aiohttp
import pytest
from local_server_harness import AsyncDaytona, AsyncSandbox, Raw, Server, daytona_client, made, needs_bwrap, running

QUICK = ("--kill-grace-s", "1", "--transition-ms", "5")


@pytest.fixture(scope="session")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    with running(tmp_path_factory.mktemp("plain") / "data", "--no-bwrap", *QUICK) as server:
        yield server


@pytest.fixture(scope="session")
def bwrap_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    with running(tmp_path_factory.mktemp("bwrap") / "data", *QUICK) as server:
        yield server


@pytest.fixture(params=["plain", pytest.param("bwrap", marks=needs_bwrap)])
def any_server(request: pytest.FixtureRequest) -> Server:
    """Each test that asks for it runs with and without bubblewrap."""
    return request.getfixturevalue("server" if request.param == "plain" else "bwrap_server")


@pytest.fixture(scope="session")
def slow_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """Transitions take long enough to be looked at."""
    with running(tmp_path_factory.mktemp("slow") / "data", "--no-bwrap", "--transition-ms", "300") as server:
        yield server


@pytest.fixture(scope="session")
def new_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    with running(tmp_path_factory.mktemp("new") / "data", "--no-bwrap", "--dialect", "new") as server:
        yield server


@pytest.fixture(scope="session")
def faulty_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    with running(tmp_path_factory.mktemp("faulty") / "data", "--no-bwrap", "--faults") as server:
        yield server


@pytest.fixture
async def daytona(server: Server) -> AsyncIterator[AsyncDaytona]:
    async with daytona_client(server) as client:
        yield client


@pytest.fixture
async def http() -> AsyncIterator[aiohttp.ClientSession]:
    async with aiohttp.ClientSession() as session:
        yield session


@pytest.fixture
def raw(server: Server, http: aiohttp.ClientSession) -> Raw:
    return Raw(server, http)


@pytest.fixture
async def sandbox(daytona: AsyncDaytona) -> AsyncIterator[AsyncSandbox]:
    async with made(daytona) as sandbox:
        yield sandbox


@pytest.fixture
async def any_sandbox(any_server: Server) -> AsyncIterator[AsyncSandbox]:
    async with daytona_client(any_server) as client, made(client) as sandbox:
        yield sandbox
