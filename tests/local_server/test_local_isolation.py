"""Ways out of a sandbox: files, pipes and sockets that a script puts, replaces or reaches."""

import asyncio
import os
import socket
import stat
import subprocess
import sys
import tempfile
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path
from uuid import uuid4

import aiohttp
import pytest
from local_server_harness import Raw, Server, daytona_client, eventually, made, needs_bwrap, running

from sandboxes.local.disk import NotRegularFileError, open_regular, read_text, remove_tree, write_atomically
from sandboxes.local.errors import ToolboxError
from sandboxes.local.paths import Home
from sandboxes.local.searching import _files, _lines_with

with warnings.catch_warnings():
    warnings.simplefilter("ignore")
    from daytona import DaytonaError, DaytonaNotFoundError, SessionExecuteRequest

RUN_FOLDER = "run=$(dirname $(dirname ${BASH_SOURCE[0]})); "


async def run(sandbox, command: str, session: str = "s", **options):
    request = SessionExecuteRequest(command=command, **options)
    return await sandbox.process.execute_session_command(session, request)


@pytest.fixture
def outside() -> Iterator[Path]:
    """A folder of this machine, which no sandbox has any business in."""
    with tempfile.TemporaryDirectory(dir=Path.home(), prefix=".taskhub-test-") as name:
        folder = Path(name)
        (folder / "secret").write_text("secret needle")
        (folder / "secret").chmod(0o640)
        (folder / "empty").mkdir()
        yield folder
        assert (folder / "secret").read_text() == "secret needle"
        assert stat.S_IMODE((folder / "secret").stat().st_mode) == 0o640
        assert sorted(os.listdir(folder)) == ["empty", "secret"]  # noqa: PTH208  a short look
        assert list((folder / "empty").iterdir()) == []


# Commands and pipes that the server makes for a running session.


@needs_bwrap
@pytest.mark.parametrize(
    "attack",
    [
        'touch "$run/x"',
        'ln -s "$HOME" "$run/x"',
        'mkfifo "$run/x"',
        'mkdir "$run/x"',
        'rm "${BASH_SOURCE[0]}"',
        'echo echo changed >> "${BASH_SOURCE[0]}"',
        'chmod 777 "${BASH_SOURCE[0]}"',
        'mv "$run" "$HOME/run"',
        'mv "$(dirname "${BASH_SOURCE[0]}")" "$run/y"',
        'ln "${BASH_SOURCE[0]}" "$HOME/link"',
        'rm "$(dirname "${BASH_SOURCE[0]}")/out"',
        'unshare --user --map-root-user --mount mount -o remount,bind,rw "$run" && touch "$run/x"',
        'unshare --user --map-root-user --mount umount "$run"',
    ],
)
async def test_no_script_changes_what_the_server_writes_for_a_command(bwrap_server: Server, attack: str):
    async with daytona_client(bwrap_server) as client, made(client) as sandbox:
        await sandbox.process.create_session("s")
        result = await run(sandbox, f"{RUN_FOLDER} test -e $run && if {attack}; then echo done; else echo refused; fi")
        assert result.stdout == "refused\n"
        assert (await run(sandbox, "echo on")).stdout == "on\n"


@needs_bwrap
@pytest.mark.parametrize("name", ["command", "in", "out", "err"])
async def test_a_race_for_a_commands_files_cannot_be_won(bwrap_server: Server, outside: Path, name: str):
    """A script watches the folder and puts a link where the server is about to write."""
    async with daytona_client(bwrap_server) as client, made(client) as sandbox:
        await sandbox.process.create_session("attack")
        await sandbox.process.create_session("victim")
        attack = (
            f"{RUN_FOLDER} touch ready; while :; do for folder in $run/*/; do"
            f' ln -s "{outside}/secret" "${{folder}}{name}" && echo won; done; done 2>/dev/null'
        )
        command = (await run(sandbox, attack, "attack", run_async=True)).cmd_id
        await eventually((bwrap_server.data_dir / sandbox.id / "home" / "ready").exists)
        for number in range(20):
            assert (await run(sandbox, f"echo {number}", "victim")).stdout == f"{number}\n"
        assert (await sandbox.process.get_session_command_logs("attack", command)).stdout == ""


@needs_bwrap
async def test_the_output_of_a_command_outside_sessions_has_no_name(bwrap_server: Server, outside: Path):
    async with daytona_client(bwrap_server) as client, made(client) as sandbox:
        await sandbox.process.create_session("s")
        attack = (
            f"{RUN_FOLDER} touch ready; while :; do for file in $run/*.output; do"
            f' ln -sf "{outside}/secret" "$file" && echo won; done; done 2>/dev/null'
        )
        command = (await run(sandbox, attack, run_async=True)).cmd_id
        await eventually((bwrap_server.data_dir / sandbox.id / "home" / "ready").exists)
        for number in range(10):
            assert (await sandbox.process.exec(f"echo {number}")).result == f"{number}\n"
        assert (await sandbox.process.get_session_command_logs("s", command)).stdout == ""


# Sockets.


def listening_at(path: Path) -> socket.socket:
    listener = socket.socket(socket.AF_UNIX)
    listener.bind(str(path))
    path.chmod(0o777)
    listener.listen()
    return listener


def connecting(path: str) -> str:
    code = f"import socket; socket.socket(socket.AF_UNIX).connect({path!r}); print('connected')"
    return f'{sys.executable} -c "{code}" 2>&1 | tail -1'


def outcome(command: str) -> str:
    return subprocess.run(command, check=False, shell=True, capture_output=True, text=True).stdout


@needs_bwrap
@pytest.mark.parametrize("folder", ["/run/lock", "/var/run/lock", "/tmp"])
async def test_sockets_of_the_machine_are_out_of_reach(bwrap_server: Server, folder: str):
    if not os.access(folder, os.W_OK):
        pytest.skip(f"{folder} is not writable here")
    path = Path(folder) / f"taskhub-test-{uuid4().hex}"
    with listening_at(path):
        try:
            # The control: it can be reached from outside.
            assert await asyncio.to_thread(outcome, connecting(str(path))) == "connected\n"
            async with daytona_client(bwrap_server) as client, made(client) as sandbox:
                await sandbox.process.create_session("s")
                for said in (
                    (await sandbox.process.exec(connecting(str(path)))).result,
                    (await run(sandbox, connecting(str(path)))).stdout,
                    (await sandbox.process.exec(connecting(f"/proc/self/root{path}"))).result,
                ):
                    assert "FileNotFoundError" in said
        finally:
            path.unlink()


@needs_bwrap
async def test_runtime_folders_are_empty_and_names_are_still_resolved(bwrap_server: Server):
    async with daytona_client(bwrap_server) as client, made(client) as sandbox:
        assert (await sandbox.process.exec("find /run /var/run -type s -o -type f ! -name '*resolv*'")).result == ""
        readable = await sandbox.process.exec("cat /etc/resolv.conf")
        assert readable.result == await asyncio.to_thread(Path("/etc/resolv.conf").read_text)


# Files that a script swaps between the check of a path and its use.


@pytest.fixture
def home(tmp_path: Path) -> Home:
    folder = tmp_path.resolve() / "home"
    (folder / "d" / "below").mkdir(parents=True)
    (folder / "d" / "secret").write_text("mine needle")
    return Home(folder)


def open_and_read(home: Home, located: Path) -> str:
    with os.fdopen(home.open(located)) as file:
        return file.read()


def written_into(home: Home, located: Path) -> None:
    with home.parent(located) as (folder, name):
        os.close(os.open(name, os.O_WRONLY | os.O_CREAT, dir_fd=folder))


def removed_from(home: Home, located: Path) -> None:
    with home.parent(located) as (folder, name):
        os.unlink(name, dir_fd=folder)


OPERATIONS: dict[str, Callable[[Home, Path], object]] = {
    "open": lambda home, d: open_and_read(home, d / "secret"),
    "status": lambda home, d: home.status(d / "secret"),
    "mode": lambda home, d: home.set_mode(d / "secret", 0o777),
    "mode of the folder": lambda home, d: home.set_mode(d, 0o777),
    "folder": lambda home, d: home.open_folder(d),
    "folders": lambda home, d: home.make_folders(d / "empty" / "new"),
    "upload": lambda home, d: written_into(home, d / "new"),
    "delete": lambda home, d: removed_from(home, d / "secret"),
    "list": lambda home, d: list(home.walk(d)),
    "search": lambda home, d: list(_files(home, d)),
    "find": lambda home, d: list(_lines_with(home, d, b"needle")),
}


@pytest.mark.parametrize("name", OPERATIONS)
def test_a_folder_swapped_for_a_link_is_refused(home: Home, outside: Path, name: str):
    located = home.follow("d")
    located.rename(home.folder / "was")
    located.symlink_to(outside)
    with pytest.raises((OSError, ToolboxError)):
        OPERATIONS[name](home, located)


def test_a_subfolder_swapped_for_a_link_during_a_walk_is_passed_over(home: Home, outside: Path):
    walk = home.walk(home.follow("~"))
    found = [next(walk)[0]]
    (home.folder / "d").rename(home.folder / "was")
    (home.folder / "d").symlink_to(outside)
    found += [path for path, _ in walk]
    assert found == [home.folder / "d"]


@pytest.mark.parametrize("kind", ["link", "pipe", "socket", "device"])
def test_only_regular_files_and_folders_are_opened(home: Home, outside: Path, kind: str):
    path = home.folder / "d" / "secret"
    path.unlink()
    if kind == "link":
        path.symlink_to(outside / "secret")
    elif kind == "pipe":
        os.mkfifo(path)
    elif kind == "socket":
        with socket.socket(socket.AF_UNIX) as bound:
            bound.bind(str(path))
    else:
        try:
            os.mknod(path, stat.S_IFCHR | 0o600, os.makedev(1, 5))
        except PermissionError:
            pytest.skip("only root makes devices")
    for call in (
        lambda: home.open(path),
        lambda: home.set_mode(path, 0o777),
        lambda: open_regular(path, os.O_RDONLY),
        lambda: open_regular(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND),
        lambda: read_text(path),
    ):
        with pytest.raises(OSError):  # noqa: PT011  its number depends on what is there
            call()
    assert list(_lines_with(home, home.folder, b"")) == []
    if kind == "device":
        with pytest.raises(NotRegularFileError):
            read_text(path)


@pytest.mark.parametrize("kind", ["link", "pipe"])
def test_a_state_file_is_replaced_whatever_a_script_put_in_its_way(tmp_path: Path, outside: Path, kind: str):
    for name in ("state", ".state.new"):
        if kind == "link":
            (tmp_path / name).symlink_to(outside / "secret")
        else:
            os.mkfifo(tmp_path / name)
    write_atomically(tmp_path / "state", "new")
    assert read_text(tmp_path / "state") == "new"
    assert [path.name for path in tmp_path.iterdir()] == ["state"]


async def test_a_named_pipe_hangs_no_request_and_is_not_opened(any_sandbox):
    """A script that waits for a reader of its pipe still waits afterwards."""
    fs, process = any_sandbox.fs, any_sandbox.process
    await process.create_session("s")
    await process.exec("mkdir d; mkfifo d/p; ln -s d/p direct")
    writer = (await run(any_sandbox, "echo up; echo x > d/p; echo opened", run_async=True)).cmd_id

    async def log() -> str:
        return (await process.get_session_command_logs("s", writer)).stdout

    await eventually(log)
    for call in (
        lambda: fs.download_file("d/p"),
        lambda: fs.download_file("direct"),
        lambda: fs.set_file_permissions("d/p", mode="777"),
        lambda: fs.find_files("d/p", "x"),
        lambda: fs.list_files("d/p"),
        lambda: fs.create_folder("d/p/below", "755"),
        lambda: fs.upload_file(b"x", "d/p/below"),
        lambda: process.exec("true", cwd="d/p"),
    ):
        with pytest.raises(DaytonaError):
            await asyncio.wait_for(call(), 60)
    assert await fs.find_files("~", "x") == []
    assert len((await fs.search_files("~", "**/p")).files) == 1
    assert (await fs.get_file_info("d/p")).size == 0
    assert await log() == "up\n"
    await fs.move_files("d/p", "moved")
    await fs.upload_file(b"y", "d/p")
    assert (await process.exec("cat moved; cat d/p")).result == "x\ny"
    await eventually(lambda: asyncio.wait_for(log(), 60))
    await fs.delete_file("moved")


async def test_a_file_that_shrinks_while_it_is_sent_ends_the_connection(sandbox, raw: Raw):
    await sandbox.process.exec("head -c 200000000 /dev/zero > large")
    url = f"{raw.server.url}/toolbox/{sandbox.id}/files/download?path=large"
    async with raw.session.get(url, headers=raw.headers()) as response:
        await response.content.read(1000)
        await sandbox.process.exec("truncate -s 0 large")
        with pytest.raises(aiohttp.ClientError):
            await asyncio.wait_for(response.read(), 60)


async def test_a_file_of_a_far_year_is_listed(any_sandbox):
    await any_sandbox.process.exec("mkdir d; touch -d @99999999999 d/late; touch -d @-99999999999 d/early")
    assert {each.name for each in await any_sandbox.fs.list_files("d")} == {"late", "early"}


# Without bubblewrap a script reaches the server's own files. It can break its sandbox, not the server.


@pytest.mark.parametrize("replace", ["rm {path}; mkfifo {path}", "ln -sf /dev/zero {path}", "rm {path}; mkdir {path}"])
async def test_a_log_replaced_by_something_else_does_not_hang_the_server(sandbox, server: Server, replace: str):
    await sandbox.process.create_session("s")
    command = (await run(sandbox, "echo x")).cmd_id
    path = server.data_dir / sandbox.id / "sessions" / "s" / command / "output.log"
    await sandbox.process.exec(replace.format(path=path))
    with pytest.raises(DaytonaError):
        await asyncio.wait_for(sandbox.process.get_session_command_logs("s", command), 60)
    assert (await asyncio.wait_for(run(sandbox, "echo on"), 60)).stdout == "on\n"
    server.clear_stderr()


# Removal.


def deep(folder: Path, levels: int) -> None:
    folder.mkdir()
    descriptor = os.open(folder, os.O_RDONLY)
    for _ in range(levels):
        os.mkdir("d", dir_fd=descriptor)
        below = os.open("d", os.O_RDONLY, dir_fd=descriptor)
        os.close(descriptor)
        descriptor = below
    os.close(os.open("file", os.O_CREAT | os.O_WRONLY, dir_fd=descriptor))
    os.close(descriptor)


def test_folders_of_any_depth_and_permissions_are_removed(tmp_path: Path, outside: Path):
    deep(tmp_path / "root", 3000)
    shut = tmp_path / "root" / "a" / "b"
    shut.mkdir(parents=True)
    (shut / "file").touch()
    (shut / "link").symlink_to(outside)
    os.mkfifo(shut / "pipe")
    shut.chmod(0)
    shut.parent.chmod(0)
    remove_tree(tmp_path / "root")
    assert list(tmp_path.iterdir()) == []


def test_of_a_link_only_the_link_is_removed(tmp_path: Path, outside: Path):
    (tmp_path / "root").symlink_to(outside)
    remove_tree(tmp_path / "root")
    assert list(tmp_path.iterdir()) == []


async def test_a_sandbox_with_a_very_deep_folder_can_be_listed_and_deleted(any_sandbox, any_server: Server):
    make = "import os\nfor _ in range(3000): os.mkdir('d'); os.chdir('d')"
    assert (await any_sandbox.process.exec(f'{sys.executable} -c "{make}"')).exit_code == 0
    assert await any_sandbox.fs.list_files("~", depth=32)
    assert (await any_sandbox.fs.search_files("~", "*.py")).files == []
    await any_sandbox.fs.delete_file("d", recursive=True)
    assert (await any_sandbox.process.exec(f'{sys.executable} -c "{make}"')).exit_code == 0
    await any_sandbox.delete(wait=True)
    await eventually(lambda: not list(any_server.data_dir.glob(f"*{any_sandbox.id}")), 60)


async def test_the_server_starts_whatever_a_script_left_in_its_folders(tmp_path):
    with running(tmp_path / "data", "--no-bwrap") as server:
        async with daytona_client(server) as client:
            good, broken, hostile = [await client.create() for _ in range(3)]
            await good.process.exec("rm -rf .tmp; mkfifo .tmp")
            await hostile.process.create_session("s")
            await hostile.process.exec(
                f"cd {server.data_dir / hostile.id}; rm sessions/s/session.json; mkfifo sessions/s/session.json;"
                " touch sessions/x; mkfifo supervisors/1 supervisors/x; mkdir supervisors/2; rm -r run; ln -s / run"
            )
        server.kill()
        row = server.data_dir / broken.id / "sandbox.json"
        row.unlink()
        os.mkfifo(row)
        await asyncio.to_thread(server.start)
        async with daytona_client(server) as client:
            assert (await (await client.get(good.id)).process.exec("echo on")).result == "on\n"
            await client.get(hostile.id)
            with pytest.raises(DaytonaNotFoundError):
                await client.get(broken.id)
        assert os.listdir("/run")  # noqa: PTH208  a short look
        server.clear_stderr()
