"""`python -m config.launcher`: what `make run`, `make stop` and `make link` call once the environment is installed."""

from __future__ import annotations

import argparse
import asyncio
import os
import signal
import subprocess
import sys
import time
from contextlib import suppress
from pathlib import Path
from typing import Final

from config.launcher import LaunchError, running
from config.launcher.redis_server import NoRedisError
from config.project_python import goes_on

STOPPED_WITHIN_S: Final = 30.0
ACTIONS: Final = ("run", "stop", "link")


def main() -> int:
    arguments = _parser().parse_args()
    try:
        if arguments.action == "stop":
            return _stop()
        if arguments.action == "link":
            return _print_link()
        if not goes_on("-m", "config.launcher", *sys.argv[1:]):
            return 1
        os.umask(0o077)  # what is made in the data folder is its owner's alone
        return asyncio.run(_launch())
    except (LaunchError, NoRedisError) as error:
        print(f"TaskHub cannot start: {error}", file=sys.stderr)
    except running.SeveralHubsError as error:
        print(f"TaskHub: {error}", file=sys.stderr)
    return 1


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m config.launcher",
        description="TaskHub on one machine: web process, worker, beat, Redis and sandbox server, as one program.",
        epilog="TASKHUB_PORT (8000) and TASKHUB_DATA_DIR (var/ in the project's folder) move it. "
        "Settings may be in a file .env in the project's folder; the environment wins.",
    )
    meaning = (
        "run (or nothing): start everything, until Ctrl-C or SIGTERM; stop: end the hub that runs, and wait for its "
        "end; link: print another sign-in link of the hub that runs"
    )
    parser.add_argument("action", nargs="?", default="run", choices=ACTIONS, help=meaning)
    return parser


async def _launch() -> int:
    from config.launcher.launch import Launcher  # noqa: PLC0415 - it needs what may be missing

    return await Launcher().run()


def _stop() -> int:
    data_dir = running.choose_data_dir(os.environ)
    hub = running.running_on(data_dir)
    if hub is None:
        print(f"No TaskHub runs on {data_dir}.")
        return 0
    with suppress(ProcessLookupError):
        os.kill(hub.pid, signal.SIGTERM)
    until = time.monotonic() + STOPPED_WITHIN_S
    while running.is_taken(data_dir):
        if time.monotonic() > until:
            print(
                f"TaskHub on {data_dir} (process {hub.pid}) did not stop within {STOPPED_WITHIN_S:.0f} s.",
                file=sys.stderr,
            )
            return 1
        time.sleep(0.05)
    print(f"TaskHub on {data_dir} has stopped.")
    return 0


def _print_link() -> int:
    data_dir = running.choose_data_dir(os.environ)
    if running.running_on(data_dir) is None:
        print(f"No TaskHub runs on {data_dir}; `make run` starts one.", file=sys.stderr)
        return 1
    command = [sys.executable, str(Path(running.ROOT) / "manage.py"), "sign_in_link"]
    return subprocess.run(command, env=os.environ | {"TASKHUB_DATA_DIR": str(data_dir)}, check=False).returncode


if __name__ == "__main__":
    sys.exit(main())
