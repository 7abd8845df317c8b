"""Runs an execution in a session of a sandbox. The contract is `taskhub/executors/base.py`.

The script goes into the sandbox as a file, with a small runner beside it. The runner

1. takes the script's environment from a file that it deletes, and gives it to the script alone: it appears in no
   command line;
2. makes a folder that only one can make, so the script runs once however often a start is repeated;
3. starts the script in a process group of its own and sends it the signals whose names come through a FIFO, so that
   it can be ended while the session, and with it the log, stays. (A process number would mean nothing to a command
   that sees other processes than the session does.)
4. ends what the script left running, which would keep the log open, by its group and by a mark in its environment;
5. ends with the script's exit code. (A command that ended its session's shell would never get one.)
"""

from __future__ import annotations

import asyncio
import logging
import math
import shlex
import time
import uuid
from collections.abc import AsyncGenerator, Sequence
from contextlib import aclosing
from typing import Final

from django.conf import settings

from sandboxes.errors import KeyRefused, SandboxError, SandboxMissing, SandboxUnavailable
from sandboxes.gateway import Command, Gateway, Sandbox, open_gateway
from sandboxes.logs import follow_lines
from taskhub.executors.base import Launch, LogLine, Observation, Place

log = logging.getLogger(__name__)

RUN_TWICE: Final = 222
"""The exit code of a runner that found its folder taken: its twin runs the script."""
_BASH: Final = "/bin/bash"
_GRACE_S: Final = 5.0
_PARALLEL: Final = 16

_RUNNER: Final = """\
#!/bin/bash
# Written by TaskHub: runs script.sh once, in a process group of its own.
dir={folder}
exports=$(<{launch}/env.sh)
rm -f {launch}/env.sh
mkdir "$dir/started" 2>/dev/null || exit {run_twice}
set -m
(
  set +m
  eval "$exports"
  exec {bash} {launch}/script.sh
) </dev/null &
script=$!
exec 2>/dev/null  # what bash itself says of ended jobs is not the script's
mkfifo "$dir/new" && mv "$dir/new" "$dir/control"
while read -r name; do kill -"$name" -- -$script; done <>"$dir/control" >/dev/null &
listener=$!
wait $script
code=$?
kill -KILL -- -$script
grep -lzsF 'TASKHUB_EXECUTION={execution}' /proc/[0-9]*/environ | while IFS=/ read -r _ _ pid _; do
  kill -KILL "$pid"
done
kill $listener
exit $code
"""


class SandboxExecutor:
    """Executions in Daytona sandboxes, or in those of the local sandbox server."""

    async def launch(self, launch: Launch) -> Place:
        async with open_gateway() as gateway:
            sandbox = await self._sandbox(gateway, launch)
            commands = await gateway.session_open(sandbox, launch.session_name)
            command_id = _started(commands)
            if command_id is None:
                command_id = await self._start(gateway, sandbox, launch)
            return Place(launch.execution_id, str(sandbox.id), launch.session_name, command_id)

    async def _sandbox(self, gateway: Gateway, launch: Launch) -> Sandbox:
        if launch.sandbox_id:
            sandbox = await gateway.sandbox_get(launch.sandbox_id)
        else:
            lifetime_s = launch.timeout_s + settings.TASKHUB_SANDBOX_KEEP_S
            sandbox = await gateway.sandbox_create(
                name=launch.session_name,
                labels={"taskhub.execution": str(launch.execution_id)},
                ttl_minutes=math.ceil(lifetime_s / 60) + 30,
            )
        await gateway.sandbox_start(sandbox)
        return sandbox

    async def _start(self, gateway: Gateway, sandbox: Sandbox, launch: Launch) -> str:
        folder = f"{await gateway.work_dir(sandbox)}/.taskhub/{launch.session_name}"
        # A folder of its own for each try: one that comes late must not change the files of the one that runs.
        mine = f"{folder}/{uuid.uuid4()}"
        env = {**launch.env, "TASKHUB_EXECUTION": str(launch.execution_id)}
        exports = "".join(f"export {name}={shlex.quote(value)}\n" for name, value in env.items())
        runner = _RUNNER.format(
            folder=shlex.quote(folder),
            launch=shlex.quote(mine),
            run_twice=RUN_TWICE,
            bash=_BASH,
            execution=launch.execution_id,
        )
        await gateway.upload(
            sandbox,
            {
                f"{mine}/script.sh": launch.script.encode(),
                f"{mine}/run.sh": runner.encode(),
                f"{mine}/env.sh": exports.encode(),
            },
        )
        return await gateway.command_run(sandbox, launch.session_name, f"bash {shlex.quote(mine)}/run.sh")

    async def observe(self, places: Sequence[Place]) -> list[Observation]:
        limit = asyncio.Semaphore(_PARALLEL)
        try:
            async with open_gateway() as gateway:
                return await asyncio.gather(*[self._observe(gateway, place, limit) for place in places])
        except KeyRefused:
            return [Observation("unknown") for _ in places]

    async def _observe(self, gateway: Gateway, place: Place, limit: asyncio.Semaphore) -> Observation:
        try:
            async with limit:
                sandbox = await gateway.sandbox_get(place.sandbox_id)
                if sandbox.state in {"stopped", "archived", "destroyed", "destroying", "error"}:
                    return Observation("gone")
                return _observation(await _command(gateway, sandbox, place))
        except SandboxMissing:
            return Observation("gone")
        except SandboxError as error:
            log.warning("execution %s cannot be looked at: %s", place.execution_id, error.code)
            return Observation("unknown")

    async def stop(self, place: Place) -> Observation:
        """SIGTERM to the script's process group, 5 s, SIGKILL. Raises SandboxUnavailable if it does not end."""
        async with open_gateway() as gateway:
            sandbox = await gateway.sandbox_get(place.sandbox_id)
            control = shlex.quote(f"{await gateway.work_dir(sandbox)}/.taskhub/{place.session_name}/control")
            for signal in ("TERM", "KILL"):
                # Opened for reading too, so that it never waits for a runner that has just ended.
                send = f"[ -p {control} ] && echo {signal} 1<>{control}"
                await gateway.shell(sandbox, f"bash -c {shlex.quote(send)}")
                seen = await self._wait_for_end(gateway, sandbox, place)
                if seen.state == "ended":
                    return seen
        raise SandboxUnavailable

    async def _wait_for_end(self, gateway: Gateway, sandbox: Sandbox, place: Place) -> Observation:
        until = time.monotonic() + _GRACE_S
        while True:
            seen = _observation(await _command(gateway, sandbox, place))
            if seen.state == "ended" or time.monotonic() > until:
                return seen
            await asyncio.sleep(0.1)  # Daytona tells nobody when a command ends

    async def follow_log(self, place: Place) -> AsyncGenerator[list[LogLine], None]:
        async with open_gateway() as gateway:
            sandbox = await gateway.sandbox_get(place.sandbox_id)
            command = await _command(gateway, sandbox, place)
            lines = follow_lines(gateway, sandbox, place.session_name, command.id)
            async with aclosing(lines) as batches:
                async for batch in batches:
                    yield batch

    async def release(self, place: Place, *, made_sandbox: bool) -> None:
        async with open_gateway() as gateway:
            if made_sandbox:
                # By its name: a start that failed half-way never learnt the id.
                await gateway.sandbox_delete(place.session_name)
            elif place.sandbox_id:
                await self._release_session(gateway, place)

    async def _release_session(self, gateway: Gateway, place: Place) -> None:
        try:
            sandbox = await gateway.sandbox_get(place.sandbox_id)
        except SandboxMissing:
            return
        if sandbox.state == "started":
            await gateway.session_delete(sandbox, place.session_name)


def _started(commands: list[Command]) -> str | None:
    """The command that runs the script, of those an earlier start may have left."""
    return next((command.id for command in commands if command.exit_code != RUN_TWICE), None)


async def _command(gateway: Gateway, sandbox: Sandbox, place: Place) -> Command:
    """The command that runs the script. If two starts were sent, the one we know may be the twin that did nothing."""
    command = await gateway.command_get(sandbox, place.session_name, place.command_id)
    if command.exit_code != RUN_TWICE:
        return command
    commands = await gateway.session_open(sandbox, place.session_name)
    return next((found for found in commands if found.exit_code != RUN_TWICE), command)


def _observation(command: Command) -> Observation:
    if command.exit_code is None:
        return Observation("running")
    return Observation("ended", command.exit_code)
