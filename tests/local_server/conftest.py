"""Local sandbox servers, each in a process of its own, and clients for them."""

import os
import tempfile
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import aiohttp
import pytest
from daemon_front import DaemonServer, why_not
from local_server_harness import AsyncDaytona, AsyncSandbox, Raw, Server, daytona_client, made, needs_bwrap, running

# The program, where the contract tests shall also run in front of it.
DAEMON = os.environ.get("TASKHUB_TEST_DAEMON", "")
SERVERS = {"plain": "server", "bwrap": "bwrap_server", "daemon": "daemon_server"}
_PATHS = "the daemon neither expands ~ nor keeps paths in the home, and answers with paths as they were asked for"
# Where the daemon (v0.190) differs, each seen in a run of `make test-daemon`.
NOT_IN_FRONT_OF_THE_DAEMON = {
    "test_a_command_that_ends_its_shell_never_gets_an_exit_code": "the daemon answers late input with 500, not 410",
    "test_a_script_that_writes_to_the_shells_own_descriptor_ends_no_session": "its shell has no such descriptor",
    "test_deleting_a_session_kills_everything_it_started": "the daemon leaves processes that called setsid",
    "test_a_command_outside_sessions": "the daemon answers 200 and exit code -1 for a missing folder",
    "test_the_environment_is_clean": "the daemon's own environment is the sandbox's",
    "test_bubblewrap_hides_other_sandboxes_and_the_servers_processes": "it is about bubblewrap",
    "test_upload_and_download": _PATHS,
    "test_an_upload_replaces_a_file_at_once_and_leaves_nothing_else": "the daemon keeps its sessions in the home",
    "test_information_and_listing": "the daemon lists one level only",
    "test_moving_and_deleting": _PATHS,
    "test_finding": _PATHS,
}
QUICK = ("--kill-grace-s", "1", "--transition-ms", "5")


@pytest.fixture(scope="session")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    with running(tmp_path_factory.mktemp("plain") / "data", "--no-bwrap", *QUICK) as server:
        yield server


@pytest.fixture(scope="session")
def bwrap_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    with running(tmp_path_factory.mktemp("bwrap") / "data", *QUICK) as server:
        yield server


@pytest.fixture(scope="session")
def daemon_server() -> Iterator[Server]:
    """Daytona's own daemon in every sandbox: `make test-daemon DAEMON=path`."""
    reason = why_not()
    if reason:
        pytest.skip(reason)
    with tempfile.TemporaryDirectory(prefix="taskhub-daemon-") as name:
        folder = Path(name)
        # Daemons and scripts run as a user of their own, who has to get through.
        folder.chmod(0o711)
        server = DaemonServer(folder / "data", Path(DAEMON).resolve(), "--no-bwrap", *QUICK)
        server.start()
        yield server
        server.stop()


@pytest.fixture(params=["plain", pytest.param("bwrap", marks=needs_bwrap), *(["daemon"] if DAEMON else [])])
def any_server(request: pytest.FixtureRequest) -> Server:
    """Each test that asks for it runs with and without bubblewrap, and with Daytona's daemon where that is given."""
    if request.param == "daemon" and request.node.originalname in NOT_IN_FRONT_OF_THE_DAEMON:
        pytest.skip(NOT_IN_FRONT_OF_THE_DAEMON[request.node.originalname])
    return request.getfixturevalue(SERVERS[request.param])


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
