"""Starting the server: what it needs, what it refuses."""

import os
import socket
import subprocess
import sys
from pathlib import Path

import pytest
from local_server_harness import KEY, ROOT, Raw, Server, running

from tests.processes import reaper

CODE = "import sandboxes.local.__main__, sys; print([m for m in ('django', 'taskhub', 'daytona') if m in sys.modules])"


def start(*options: str, key: str | None = KEY, **more) -> subprocess.CompletedProcess[str]:
    environment = {name: value for name, value in os.environ.items() if name != "LOCAL_SANDBOX_KEY"}
    if key is not None:
        environment["LOCAL_SANDBOX_KEY"] = key
    command = [sys.executable, "-m", "sandboxes.local", *options]
    return subprocess.run(
        command, cwd=ROOT, env=environment, capture_output=True, text=True, timeout=20, check=False, **more
    )


@pytest.mark.parametrize("key", [None, "", "too-short"])
def test_it_does_not_start_without_a_key(tmp_path, key):
    result = start("--data-dir", str(tmp_path), key=key)
    assert result.returncode == 2
    assert "LOCAL_SANDBOX_KEY" in result.stderr


@pytest.mark.parametrize("host", ["0.0.0.0", "::", "192.0.2.1"])
def test_it_does_not_leave_loopback(tmp_path, host):
    result = start("--data-dir", str(tmp_path), "--host", host)
    assert result.returncode == 2
    assert "loopback" in result.stderr


def test_it_does_not_take_a_public_or_unfit_socket(tmp_path):
    with socket.socket() as public, socket.socket() as idle, socket.socket(type=socket.SOCK_DGRAM) as datagrams:
        public.bind(("0.0.0.0", 0))
        public.listen()
        idle.bind(("127.0.0.1", 0))
        for listener, reason in ((public, "loopback"), (idle, "listen"), (datagrams, "TCP")):
            number = listener.fileno()
            result = start("--data-dir", str(tmp_path), "--fd", str(number), pass_fds=(number,))
            assert result.returncode == 2
            assert reason in result.stderr


def test_one_server_per_folder(server: Server):
    result = start("--data-dir", str(server.data_dir))
    assert result.returncode == 2
    assert "another local sandbox server" in result.stderr


@pytest.mark.parametrize("options", [("--transition-ms", "-1"), ("--minute-s", "0")])
def test_it_refuses_times_that_make_no_sense(tmp_path, options):
    assert start("--data-dir", str(tmp_path), *options).returncode == 2


async def test_it_serves_an_inherited_socket(tmp_path, http):
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        listener.listen()
        number = listener.fileno()
        process = subprocess.Popen(  # noqa: ASYNC220  it only forks
            [sys.executable, "-m", "sandboxes.local", "--data-dir", str(tmp_path / "d"), "--fd", str(number)],
            cwd=ROOT,
            env={**os.environ, "LOCAL_SANDBOX_KEY": KEY},
            stdout=subprocess.PIPE,
            text=True,
            pass_fds=(number,),
            start_new_session=True,
        )
        reaper.tell("process", process.pid)
        server = Server(tmp_path / "d")
        server.port = listener.getsockname()[1]
        # Also a request made before the server is ready is answered.
        assert (await Raw(server, http).call("GET", "/api/sandbox"))[:2] == (200, {"items": [], "nextCursor": None})
        process.terminate()
        assert process.wait(60) == 0
        assert process.stdout.read().count("\n") == 1
        process.stdout.close()


def test_bubblewrap_can_be_turned_off(tmp_path):
    with running(tmp_path / "data", "--no-bwrap") as server:
        assert "no bubblewrap" in server.ready


def test_it_stands_alone():
    result = subprocess.run([sys.executable, "-c", CODE], cwd=ROOT, capture_output=True, text=True, check=True)
    assert result.stdout.strip() == "[]"
    assert not [path for path in Path(ROOT, "sandboxes/local").glob("*.py") if len(path.read_text().splitlines()) > 350]
