"""Local sandbox servers, each in a process of its own, and clients for them."""

import os
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import aiohttp
import pytest
from local_server_harness import AsyncDaytona, AsyncSandbox, Raw, Server, daytona_client, made, needs_bwrap, running

from tests.local_server.daemon_front import DaemonServer, running_daemons

# The program, where the contract tests shall also run in front of it.
DAEMON = os.environ.get("TASKHUB_TEST_DAEMON", "")
SERVERS = {"plain": "server", "bwrap": "bwrap_server", "daemon": "daemon_server"}
# What is the local server's own.
NOT_IN_FRONT_OF_THE_DAEMON = {
    "test_a_script_that_writes_to_the_shells_own_descriptor_ends_no_session": "only our shell has such a descriptor",
    "test_the_environment_is_clean": "the daemon's own environment is the sandbox's",
    "test_bubblewrap_hides_other_sandboxes_and_the_servers_processes": "it is about bubblewrap",
}
QUICK = ("--kill-grace-s", "1", "--transition-ms", "5")


@pytest.fixture(scope="session")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    with running(tmp_path_factory.mktemp("plain") / "data", "--no-bwrap", "--sizes-not-held", *QUICK) as server:
        yield server


@pytest.fixture(scope="session")
def bwrap_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    with running(tmp_path_factory.mktemp("bwrap") / "data", *QUICK) as server:
        yield server


@pytest.fixture(scope="session")
def daemon_server() -> Iterator[Server]:
    """Daytona's own daemon in every sandbox: `make test-daemon DAEMON=path`."""
    with running_daemons(Path(DAEMON), *QUICK) as server:
        yield server


@pytest.fixture(params=["plain", pytest.param("bwrap", marks=needs_bwrap), *(["daemon"] if DAEMON else [])])
def any_server(request: pytest.FixtureRequest) -> Server:
    """Each test that asks for it runs with and without bubblewrap, and with Daytona's daemon where that is given."""
    if request.param == "daemon" and request.node.originalname in NOT_IN_FRONT_OF_THE_DAEMON:
        pytest.skip(NOT_IN_FRONT_OF_THE_DAEMON[request.node.originalname])
    return request.getfixturevalue(SERVERS[request.param])


@pytest.fixture
def is_daemon(any_server: Server) -> bool:
    """Whether it is Daytona's own daemon, which differs from the local server where a test asks for this."""
    return isinstance(any_server, DaemonServer)


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
