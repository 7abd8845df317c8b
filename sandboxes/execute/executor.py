"""Runs an execution in a session of a sandbox. The contract is `taskhub/executions/executor.py`.

The script goes into the sandbox as a file, with a small runner beside it (`runner.py`).
"""

from __future__ import annotations

import asyncio
import logging
import math
import shlex
import time
import uuid
from collections.abc import AsyncGenerator, Mapping, Sequence
from contextlib import aclosing
from typing import Final

from django.conf import settings

from sandboxes.errors import KeyRefused, SandboxError, SandboxMissing, SandboxUnavailable
from sandboxes.execute.file_changes import look_at_changes, produced, read_produced
from sandboxes.execute.script_runner import RUN_TWICE, Folders, runner
from sandboxes.gateway import Command, Gateway, Sandbox, open_gateway
from sandboxes.log_follower import Follower
from taskhub.executions.executor import FileChanges, Launch, LogLine, Observation, Place, Produced, Troubled

log = logging.getLogger(__name__)

_GRACE_S: Final = 5.0
_PARALLEL: Final = 16


class SandboxExecutor:
    """Executions in Daytona sandboxes, or in those of the local sandbox server."""

    async def launch(self, launch: Launch) -> Place:
        async with open_gateway() as gateway:
            sandbox = await self._sandbox(gateway, launch)
            commands = await sandbox.session_open(launch.session_name)
            command_id = _started(commands)
            if command_id is None:
                command_id = await self._start(sandbox, launch)
            return Place(launch.execution_id, str(sandbox.id), launch.session_name, command_id)

    async def _sandbox(self, gateway: Gateway, launch: Launch) -> Sandbox:
        if launch.sandbox_id:
            sandbox = await gateway.sandbox_get(launch.sandbox_id)
            if str(sandbox.id) != launch.sandbox_id:
                # A name may be another account's sandbox: access is decided by ids.
                raise SandboxMissing
        else:
            lifetime_s = launch.timeout_s + settings.TASKHUB_SANDBOX_KEEP_S
            sandbox = await gateway.sandbox_create(
                name=launch.session_name,
                labels={"taskhub.execution": str(launch.execution_id)},
                ttl_minutes=math.ceil(lifetime_s / 60) + 30,
            )
        await sandbox.start()
        return sandbox

    async def _start(self, sandbox: Sandbox, launch: Launch) -> str:
        folders = Folders(await sandbox.work_dir(), launch.session_name)
        # A folder of its own for each try: one that comes late must not change the files of the one that runs.
        mine = f"{folders.own}/{uuid.uuid4()}"
        env = {**launch.env, "TASKHUB_EXECUTION": str(launch.execution_id)}
        exports = "".join(f"export {name}={shlex.quote(value)}\n" for name, value in env.items())
        await sandbox.upload(
            {
                f"{mine}/script.sh": launch.script.encode(),
                f"{mine}/run.sh": runner(folders, mine, launch.execution_id).encode(),
                f"{mine}/env.sh": exports.encode(),
            },
        )
        return await sandbox.command_run(launch.session_name, f"bash {shlex.quote(mine)}/run.sh")

    async def observe(self, places: Sequence[Place]) -> list[Observation]:
        limit = asyncio.Semaphore(_PARALLEL)
        try:
            async with open_gateway() as gateway, asyncio.TaskGroup() as group:
                looks = [group.create_task(self._observe(gateway, place, limit)) for place in places]
        except KeyRefused:
            return [Observation("unknown") for _ in places]
        return [look.result() for look in looks]

    async def _observe(self, gateway: Gateway, place: Place, limit: asyncio.Semaphore) -> Observation:
        try:
            async with limit:
                sandbox = await gateway.sandbox_get(place.sandbox_id)
                if sandbox.state in {"stopped", "archived", "destroyed", "destroying", "error"}:
                    return Observation("gone")
                return _observation(await _command(sandbox, place))
        except SandboxMissing:
            return Observation("gone")
        except SandboxError as error:
            log.warning("execution %s cannot be looked at: %s", place.execution_id, error.code)
            return Observation("unknown")

    async def changed_files(self, seen: Mapping[Place, int]) -> AsyncGenerator[tuple[Place, FileChanges | None], None]:
        try:
            async with open_gateway(watching=True) as gateway, aclosing(look_at_changes(gateway, seen)) as looks:
                async for place, changes in looks:
                    yield place, changes
        except KeyRefused:
            log.warning("files cannot be looked at: there is no key")

    async def produced_files(self, place: Place) -> Produced:
        async with open_gateway(watching=True) as gateway:
            return await produced(gateway, place)

    async def read_file(self, place: Place, path: str) -> AsyncGenerator[bytes, None]:
        async with open_gateway(watching=True) as gateway, aclosing(read_produced(gateway, place, path)) as chunks:
            async for chunk in chunks:
                yield chunk

    async def stop(self, place: Place) -> Observation:
        """SIGTERM to the script's process group, 5 s, SIGKILL. Raises SandboxUnavailable if it does not end."""
        async with open_gateway() as gateway:
            sandbox = await gateway.sandbox_get(place.sandbox_id)
            control = shlex.quote(f"{Folders(await sandbox.work_dir(), place.session_name).own}/control")
            for signal in ("TERM", "KILL"):
                # Opened for reading too, so that it never waits for a runner that has just ended.
                send = f"[ -p {control} ] && echo {signal} 1<>{control}"
                await sandbox.shell(f"bash -c {shlex.quote(send)}")
                seen = await self._wait_for_end(sandbox, place)
                if seen.state == "ended":
                    return seen
        raise SandboxUnavailable

    async def _wait_for_end(self, sandbox: Sandbox, place: Place) -> Observation:
        until = time.monotonic() + _GRACE_S
        while True:
            seen = _observation(await _command(sandbox, place))
            if seen.state == "ended" or time.monotonic() > until:
                return seen
            await asyncio.sleep(0.1)  # Daytona tells nobody when a command ends

    async def follow_log(
        self, place: Place, *, on_trouble: Troubled | None = None
    ) -> AsyncGenerator[list[LogLine], None]:
        async with open_gateway(watching=True) as gateway:
            sandbox = await gateway.sandbox_get(place.sandbox_id)
            command = await _command(sandbox, place)
            follower = Follower(sandbox, place.session_name, command.id, on_trouble)
            async with aclosing(follower.lines()) as batches:
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
            await sandbox.release_session(place.session_name)


def _started(commands: list[Command]) -> str | None:
    """The command that runs the script, of those an earlier start may have left."""
    return next((command.id for command in commands if command.exit_code != RUN_TWICE), None)


async def _command(sandbox: Sandbox, place: Place) -> Command:
    """The command that runs the script. If two starts were sent, the one we know may be the twin that did nothing."""
    command = await sandbox.command(place.session_name, place.command_id)
    if command.exit_code != RUN_TWICE:
        return command
    commands = await sandbox.session_open(place.session_name)
    return next((found for found in commands if found.exit_code != RUN_TWICE), command)


def _observation(command: Command) -> Observation:
    if command.exit_code is None:
        return Observation("running")
    return Observation("ended", command.exit_code)
