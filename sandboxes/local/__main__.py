"""Command line of the local sandbox server: options, listening socket, shutdown."""

import argparse
import asyncio
import fcntl
import ipaddress
import logging
import os
import resource
import signal
import socket
import sys
from pathlib import Path

from aiohttp import web

from sandboxes.local.app import build_app
from sandboxes.local.isolation import find_bwrap
from sandboxes.local.options import MINIMUM_KEY_LENGTH, Limits, Options
from sandboxes.local.sandboxes import Registry
from sandboxes.local.shells import ShellFactory
from sandboxes.local.supervisor import prctl

KEY_VARIABLE = "LOCAL_SANDBOX_KEY"
_PR_SET_DUMPABLE = 4
_BACKLOG = 512
_DESCRIPTORS = 65_536
# Requests that are still open after everything they could wait for has ended.
_SHUTDOWN_TIMEOUT_S = 0.3


def main() -> int:
    """Exit code 0 after SIGTERM or SIGINT; 2 with a sentence on stderr if the server can not start."""
    arguments = _parser().parse_args()
    logging.basicConfig(level=logging.WARNING, format="%(asctime)s %(levelname)s %(name)s: %(message)s")
    try:
        options = _options(arguments)
        listener = _listener(arguments)
        lock = _lock(options.data_dir)
    except (ValueError, OSError) as error:
        sys.stderr.write(f"sandboxes.local: {error}\n")
        return 2
    # The key stands in /proc/<pid>/environ: this keeps other processes of the same user from reading it there.
    prctl(_PR_SET_DUMPABLE, 0)
    _raise_descriptor_limit()
    try:
        asyncio.run(_serve(options, listener))
    finally:
        os.close(lock)
    return 0


async def _serve(options: Options, listener: socket.socket) -> None:
    hidden = [*options.hide, options.data_dir]
    bwrap = find_bwrap(options.data_dir, hidden) if options.allow_bwrap else None
    offline = bwrap is not None and find_bwrap(options.data_dir, hidden, network=False) is not None
    shells = ShellFactory(hidden=hidden, bwrap=bwrap, closes_network=offline)
    registry = Registry(options, shells)
    await registry.load()
    stopping = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, stopping.set)
    runner = web.AppRunner(
        build_app(options, registry),
        # A handler whose client went away is cancelled: a command is not waited for any longer than its client waits.
        handler_cancellation=True,
        access_log=None,
        shutdown_timeout=_SHUTDOWN_TIMEOUT_S,
    )
    await runner.setup()
    site = web.SockSite(runner, listener, backlog=_BACKLOG)
    await site.start()
    memory = registry.stock.sizes.memory is not None
    sys.stdout.write(f"{_announcement(options, listener, isolated=bwrap is not None, memory=memory)}\n")
    sys.stdout.flush()
    await stopping.wait()
    # Streams are closed and processes ended first; then there is nothing left that a request could wait for.
    await site.stop()
    await registry.close()
    await runner.cleanup()
    shells.close()


def _announcement(options: Options, listener: socket.socket, *, isolated: bool, memory: bool) -> str:
    not_held = "" if memory else "; memory of sandboxes is not held"
    host, port = listener.getsockname()[:2]
    shown = f"[{host}]" if ":" in host else host
    how = "bubblewrap" if isolated else "no bubblewrap: separated by folder only"
    if options.sizes_not_held:
        how += not_held
    return f"Local sandbox server ready on http://{shown}:{port} (data in {options.data_dir}; {how})"


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m sandboxes.local",
        description="A stand-in for Daytona on this machine: its API over real bash processes, a folder per sandbox. "
        f"The API key comes from the environment variable {KEY_VARIABLE}: at least {MINIMUM_KEY_LENGTH} characters.",
    )
    parser.add_argument("--data-dir", type=Path, required=True, help="where sandboxes live; made if it is missing")
    parser.add_argument("--host", default="127.0.0.1", help="a loopback address (default: %(default)s)")
    listening = parser.add_mutually_exclusive_group()
    listening.add_argument("--port", type=int, default=0, help="default: any free port, which is printed")
    listening.add_argument("--fd", type=int, help="an inherited TCP socket that is bound and listening")
    parser.add_argument("--dialect", choices=("v0.190", "new"), default="v0.190", help="generation of error bodies")
    parser.add_argument("--transition-ms", type=int, default=20, help="how long states like starting are visible")
    parser.add_argument("--minute-s", type=float, default=60.0, help="length of an interval's minute, for tests")
    parser.add_argument(
        "--kill-grace-s", type=float, default=5.0, help="from SIGTERM to SIGKILL (default: %(default)s)"
    )
    parser.add_argument("--disk-s", type=float, default=5.0, help="how often disk is counted (default: %(default)s)")
    parser.add_argument("--no-bwrap", action="store_true", help="do not use bubblewrap, even where it works")
    parser.add_argument(
        "--hide", type=Path, action="append", default=[], help="a folder that scripts in bubblewrap find empty"
    )
    parser.add_argument(
        "--sizes-not-held",
        action="store_true",
        help="take sizes of sandboxes that this machine cannot hold: more CPUs than it has, memory without a cgroup",
    )
    parser.add_argument(
        "--fake-builds", action="store_true", help="play the builds of images; nothing is built. For tests"
    )
    _add_limits(parser)
    parser.add_argument("--faults", action="store_true", help="serve /faults and /requests, for tests")
    return parser


def _add_limits(parser: argparse.ArgumentParser) -> None:
    limits = parser.add_argument_group("limits", "answered in Daytona's words; none by default")
    for name, unit in (("cpus", "N"), ("memory", "GIB"), ("disk", "GIB")):
        limits.add_argument(f"--limit-{name}", type=_size, metavar=unit, help=f"{name} of all sandboxes together")
        limits.add_argument(f"--limit-sandbox-{name}", type=_size, metavar=unit, help=f"{name} of one sandbox")
    limits.add_argument(
        "--limit-status",
        type=int,
        choices=(403, 400),
        default=403,
        help="HTTP status beyond a limit of all sandboxes: depends on Daytona's release (default: %(default)s)",
    )


def _size(text: str) -> int:
    """A positive whole number. Raises ArgumentTypeError."""
    if not text.isdecimal() or int(text) < 1:
        raise argparse.ArgumentTypeError(f"must be a positive whole number, not {text!r}")
    return int(text)


def _options(arguments: argparse.Namespace) -> Options:
    """Raises ValueError, OSError."""
    key = os.environ.pop(KEY_VARIABLE, "")
    if len(key) < MINIMUM_KEY_LENGTH:
        raise ValueError(f"set {KEY_VARIABLE} to a secret of at least {MINIMUM_KEY_LENGTH} characters")
    if min(arguments.transition_ms, arguments.kill_grace_s) < 0 or min(arguments.minute_s, arguments.disk_s) <= 0:
        raise ValueError("times can not be negative, and a minute not empty")
    data_dir: Path = arguments.data_dir
    data_dir.mkdir(mode=0o700, parents=True, exist_ok=True)
    return Options(
        data_dir=data_dir.resolve(),
        key=key,
        transition_s=arguments.transition_ms / 1000,
        minute_s=arguments.minute_s,
        disk_s=arguments.disk_s,
        dialect=arguments.dialect,
        allow_bwrap=not arguments.no_bwrap,
        faults=arguments.faults,
        hide=tuple(folder.resolve() for folder in arguments.hide),
        kill_grace_s=arguments.kill_grace_s,
        sizes_not_held=arguments.sizes_not_held,
        fake_builds=arguments.fake_builds,
        limits=Limits(
            cpus=arguments.limit_cpus,
            memory=arguments.limit_memory,
            disk=arguments.limit_disk,
            sandbox_cpus=arguments.limit_sandbox_cpus,
            sandbox_memory=arguments.limit_sandbox_memory,
            sandbox_disk=arguments.limit_sandbox_disk,
            status=arguments.limit_status,
        ),
    )


def _listener(arguments: argparse.Namespace) -> socket.socket:
    """A listening TCP socket on loopback: anyone who reaches it and has the key runs commands here.

    Raises ValueError, OSError.
    """
    if arguments.fd is not None:
        listener = socket.socket(fileno=arguments.fd)
        if listener.type != socket.SOCK_STREAM or listener.family not in (socket.AF_INET, socket.AF_INET6):
            raise ValueError(f"descriptor {arguments.fd} is not a TCP socket")
        if not listener.getsockopt(socket.SOL_SOCKET, socket.SO_ACCEPTCONN):
            raise ValueError(f"the socket of descriptor {arguments.fd} does not listen")
        _refuse_public(listener.getsockname()[0])
        listener.set_inheritable(False)
        return listener
    family, kind, protocol, _, address = socket.getaddrinfo(arguments.host, arguments.port, type=socket.SOCK_STREAM)[0]
    _refuse_public(str(address[0]))
    listener = socket.socket(family, kind, protocol)
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    listener.bind(address)
    listener.listen(_BACKLOG)
    return listener


def _refuse_public(address: str) -> None:
    if not ipaddress.ip_address(address).is_loopback:
        raise ValueError(f"{address} is not a loopback address: this server runs commands, keep it on this machine")


def _raise_descriptor_limit() -> None:
    """A running command holds four descriptors and its session two: the usual 1,024 are soon used up."""
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = _DESCRIPTORS if hard == resource.RLIM_INFINITY else min(_DESCRIPTORS, hard)
    resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))


def _lock(data_dir: Path) -> int:
    """One server per folder: another would end this one's processes. Held until this process ends. Raises OSError."""
    descriptor = os.open(data_dir / ".lock", os.O_RDWR | os.O_CREAT, 0o600)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        os.close(descriptor)
        raise OSError(f"another local sandbox server uses {data_dir}") from None
    return descriptor


if __name__ == "__main__":
    sys.exit(main())
