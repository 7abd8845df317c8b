"""Runs an execution in a session of a sandbox. The contract is `taskhub/executions/executor.py`.

The script goes into the sandbox as a file, with a small runner beside it (`script_runner.py`); `ladder.py` ends it
where the runner does not.
"""

from __future__ import annotations

import asyncio
import logging
import math
import shlex
import uuid
from collections.abc import AsyncGenerator, Callable, Coroutine, Mapping, Sequence
from contextlib import aclosing, suppress
from dataclasses import replace
from typing import TYPE_CHECKING, Any, Final, Literal

from django.conf import settings

from sandboxes.errors import (
    KeyRefused,
    SandboxError,
    SandboxMissing,
    SandboxRefused,
    SandboxUnavailable,
    SnapshotNotReady,
)
from sandboxes.execute.file_changes import look_at_changes, produced, read_produced, toolboxes
from sandboxes.execute.ladder import Ladder, runner_state
from sandboxes.execute.prepare_script import PrepareScript
from sandboxes.execute.references import guard_reference, guard_secrets, volume_ids
from sandboxes.execute.sandbox_fields import sandbox_fields
from sandboxes.execute.script_runner import RUN_TWICE, Folders, Run
from sandboxes.execute.snapshot_preparer import SnapshotPreparer
from sandboxes.gateway import open_gateway
from sandboxes.log_follower import Follower
from sandboxes.models import EXECUTION_LABEL
from taskhub.executions.executor import (
    FileChanges,
    Launch,
    LogLine,
    LogTokens,
    Observation,
    Place,
    Produced,
    Reference,
    RunnerState,
    ScriptEnd,
    Signed,
    Stopped,
    Troubled,
)
from taskhub.models import EnvironmentSpec, SandboxSize
from taskhub.models.prepared_snapshot import PREPARING_PREFIX

if TYPE_CHECKING:
    from sandboxes.gateway import Command, Gateway, Sandbox, Toolbox

log = logging.getLogger(__name__)

_PARALLEL: Final = 16
FEW: Final = 3
"""So many sandboxes are asked for one by one; of more, the list is read."""


_SNAPSHOT_LOST: Final = frozenset({"snapshot_not_found", "snapshot_failed"})
_SNAPSHOT_UNFIT: Final = _SNAPSHOT_LOST | {
    *("snapshot_not_active", "snapshot_not_ready", "snapshots_forbidden", "snapshot_quota", "snapshot_elsewhere")
}
"""Codes of errors that are no reason to wait for a prepared snapshot: scripts can do without."""
_GONE: Final = frozenset({"stopped", "archived", "destroyed", "destroying", "error"})


async def _together(*requests: Coroutine[Any, Any, object]) -> None:
    """All at once. The first error is raised as it is, for callers that tell errors apart, and ends the others."""
    try:
        async with asyncio.TaskGroup() as group:
            for request in requests:
                group.create_task(request)
    except ExceptionGroup as failed:
        raise failed.exceptions[0] from None


class SandboxExecutor(SnapshotPreparer):
    """Executions in Daytona sandboxes, or in those of the local sandbox server."""

    async def launch(self, launch: Launch) -> Place:
        async with open_gateway() as gateway:
            sandbox, is_new, is_lost = await self._prepared_sandbox(gateway, launch)
            toolboxes.remember(sandbox.id, sandbox.toolbox_url)
            run, inside = _run(launch), sandbox.toolbox
            if is_new:
                await _together(inside.session_create(launch.session_name), inside.upload(run.files()))
                command_id = None
            else:
                # An earlier try may have started it; then nothing of this one must lie about.
                command_id = _started(await inside.session_open(launch.session_name))
                if command_id is None:
                    await inside.upload(run.files())
            if command_id is None:
                try:
                    command_id = await inside.command_run(launch.session_name, run.command())
                except SandboxRefused:
                    # Nothing will read its files; a later script of this sandbox must not.
                    with suppress(SandboxError):
                        await inside.shell(f"rm -rf {shlex.quote(run.launch)}")
                    raise
            return Place(
                *(launch.execution_id, sandbox.id, launch.session_name, command_id, launch.log_token),
                size=sandbox.size,
                lost_snapshot=is_lost,
            )

    async def _prepared_sandbox(self, gateway: Gateway, launch: Launch) -> tuple[Sandbox, bool, bool]:
        """As below; made from the prepared snapshot where that can be used at once, and whether that is lost."""
        if launch.sandbox_id or not launch.prepared_snapshot:
            return *await self._sandbox(gateway, launch), False
        try:
            return *await self._sandbox(gateway, launch), False
        except (SandboxRefused, SnapshotNotReady) as error:
            if error.code not in _SNAPSHOT_UNFIT:
                raise
            log.warning("the snapshot %s is not used: %s", launch.prepared_snapshot, error.code)
            is_lost = error.code in _SNAPSHOT_LOST
        return *await self._sandbox(gateway, replace(launch, prepared_snapshot="")), is_lost

    async def _sandbox(self, gateway: Gateway, launch: Launch) -> tuple[Sandbox, bool]:
        """The sandbox, started, and whether it was made just now."""
        is_new = False
        if launch.sandbox_id:
            sandbox = await _by_id(gateway, launch.sandbox_id)
        else:
            spec, snapshot = launch.environment, launch.prepared_snapshot
            if spec is not None:
                await guard_secrets(gateway, spec)
            ids = await volume_ids(gateway, spec) if spec is not None else {}
            lifetime_s = launch.setup_timeout_s + launch.timeout_s + _keep_s(launch)
            try:
                sandbox, is_new = await gateway.sandbox_create(
                    name=launch.session_name,
                    labels={EXECUTION_LABEL: str(launch.execution_id)},
                    ttl_minutes=math.ceil(lifetime_s / 60) + 30,
                    fields=sandbox_fields(spec, volume_ids=ids, task_id=launch.task_id, prepared=snapshot),
                )
            except SandboxRefused as error:
                named = snapshot or (spec.snapshot if spec is not None else "")
                if error.code == "snapshot_not_active" and named:
                    await gateway.snapshots.wake(named)
                raise
        return await gateway.sandbox_start(sandbox), is_new

    async def has_sandbox(self, sandbox_id: str) -> bool:
        try:
            async with open_gateway(watching=True) as gateway:
                await _by_id(gateway, sandbox_id)
        except SandboxMissing:
            return False
        return True

    async def look_up(self, environment: EnvironmentSpec, field: Reference) -> SandboxSize | None:
        async with open_gateway(watching=True) as gateway:
            return await guard_reference(gateway, environment, field)

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
                if sandbox.state in _GONE:
                    return Observation("gone", reason=_reason(sandbox))
                return _observation(await _command(sandbox.toolbox, place))
        except SandboxMissing as error:
            return Observation("ended" if error.is_inside else "gone")
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

    async def produced_files(self, place: Place, *, after: int = 0) -> Produced:
        async with open_gateway(watching=True) as gateway:
            return await produced(gateway, place, after)

    async def read_file(self, place: Place, path: str, *, is_change_set: bool = False) -> AsyncGenerator[bytes, None]:
        async with open_gateway(watching=True) as gateway:
            found = read_produced(gateway, place, path, is_change_set=is_change_set)
            async with aclosing(found) as chunks:
                async for chunk in chunks:
                    yield chunk

    async def present(self, places: Sequence[Place]) -> list[Observation]:
        wanted = {place.sandbox_id for place in places}
        try:
            async with open_gateway(watching=True) as gateway:
                states = await sandbox_states(gateway, wanted)
        except SandboxError as error:
            log.warning("the sandboxes of executions cannot be looked at: %s", error.code)
            states = {}
        return [Observation(states.get(place.sandbox_id, "unknown")) for place in places]

    async def runner_state(self, place: Place) -> RunnerState:
        async with open_gateway(watching=True) as gateway:
            return await runner_state(await toolboxes.find(gateway, place.sandbox_id), place)

    async def close_network(self, place: Place) -> None:
        async with open_gateway() as gateway:
            await gateway.close_network(place.sandbox_id)

    async def let_begin(self, place: Place) -> None:
        tokens = LogTokens(place.log_token[:32], place.log_token[32:])
        async with open_gateway() as gateway:
            toolbox = await toolboxes.find(gateway, place.sandbox_id)
            await toolbox.upload(Run.go(Folders(place.session_name), tokens))

    async def stop(
        self, place: Place, *, ended: Callable[[], ScriptEnd | None] | None = None, runner_is_dead: bool = False
    ) -> Stopped:
        async with open_gateway() as gateway:
            toolbox = await toolboxes.find(gateway, place.sandbox_id)
            try:
                return await Ladder(toolbox, place, ended).climb(runner_is_dead=runner_is_dead)
            except SandboxUnavailable:
                # Nothing inside answers. Where Daytona itself does, the script may be the reason.
                sandbox = await gateway.sandbox_get(place.sandbox_id)
                if sandbox.state in _GONE:
                    raise SandboxMissing from None
                return Stopped("sandbox", is_silent=True)

    async def stop_sandbox(self, place: Place) -> None:
        async with open_gateway() as gateway:
            try:
                await gateway.stop(place.sandbox_id)
            except SandboxMissing:
                return
            except SandboxRefused:
                # It is being stopped or deleted already.
                if (await gateway.sandbox_get(place.sandbox_id)).state not in _GONE | {"stopping", "archiving"}:
                    raise

    async def follow_log(
        self,
        place: Place,
        *,
        on_trouble: Troubled | None = None,
        on_sign: Signed | None = None,
        enough: Callable[[], bool] = lambda: False,
        is_watched: bool = False,
    ) -> AsyncGenerator[list[LogLine], None]:
        async with open_gateway(watching=True) as gateway:
            toolbox = await toolboxes.find(gateway, place.sandbox_id)
            tokens = LogTokens.read(place.log_token)
            command_id = place.command_id
            while True:
                follower = Follower(
                    *(toolbox, place.session_name, command_id, on_trouble),
                    tokens=tokens,
                    mask=place.mask,
                    on_sign=on_sign,
                    enough=enough,
                    is_known=True,  # it was started: no request is spent on asking
                    is_watched=is_watched,
                )
                async with aclosing(follower.lines()) as batches:
                    async for batch in batches:
                        yield batch
                if follower.end is not None or follower.exit_code != RUN_TWICE:
                    return
                # Two starts were sent, and this is the twin that did nothing: it has no log either.
                other = _started(await toolbox.session_open(place.session_name))
                if other in {None, command_id}:
                    return
                command_id = str(other)

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
        if sandbox.is_started:
            await sandbox.toolbox.release_session(place.session_name)


async def _by_id(gateway: Gateway, sandbox_id: str) -> Sandbox:
    """Raises SandboxMissing also for a name: it may be another account's sandbox, and access is decided by ids.

    No script runs in a sandbox of prepare: what it left there would come to all executions of the environment.
    """
    sandbox = await gateway.sandbox_get(sandbox_id)
    if sandbox.id != sandbox_id or sandbox.name.startswith(PREPARING_PREFIX):
        raise SandboxMissing
    return sandbox


def _keep_s(launch: Launch) -> int:
    keep_s = launch.environment.keep_sandbox_s if launch.environment is not None else None
    return int(settings.TASKHUB_SANDBOX_KEEP_S) if keep_s is None else keep_s


def _run(launch: Launch) -> Run:
    spec = launch.environment
    folders = Folders(launch.session_name)
    # A folder of its own for each try: one that comes late must not change the files of the one that runs.
    mine = f"{folders.own}/{uuid.uuid4()}"
    tokens = LogTokens(launch.log_token[:32], launch.log_token[32:])
    skip = () if launch.all_files else tuple(settings.TASKHUB_ARTIFACTS_SKIP)
    return Run(
        folders,
        mine,
        launch.execution_id,
        tokens,
        launch.script,
        launch.env,
        skip,
        launch.merge_output,
        launch.files,
        setup=spec.setup if spec is not None else "",
        prepare=PrepareScript.of(spec) if spec is not None and spec.prepare else None,
        checkout=launch.checkout,
        locks=launch.locks,
        keep=spec.keep if spec is not None else None,
    )


async def sandbox_states(gateway: Gateway, wanted: set[str]) -> dict[str, Literal["running", "gone", "unknown"]]:
    """The state of these sandboxes, from as few requests as there are pages of the list. Raises SandboxError.

    The list may be a little old: one that is not in it, or not running by it, is asked for by its id.
    """
    running: set[str] = set()
    cursor: str | None = None
    while len(wanted) > FEW and (page := await gateway.page(cursor)):
        running |= {item["id"] for item in page.items if item["id"] in wanted and item.get("state") not in _GONE}
        cursor = page.next_cursor
        if cursor is None or running == wanted:
            break
    limit = asyncio.Semaphore(_PARALLEL)
    left = sorted(wanted - running)
    answers = await asyncio.gather(*(_state(gateway, sandbox_id, limit) for sandbox_id in left))
    found: dict[str, Literal["running", "gone", "unknown"]] = dict(zip(left, answers, strict=True))
    return found | dict.fromkeys(running, "running")


async def _state(gateway: Gateway, sandbox_id: str, limit: asyncio.Semaphore) -> Literal["running", "gone", "unknown"]:
    try:
        async with limit:
            return "gone" if (await gateway.document(sandbox_id)).get("state") in _GONE else "running"
    except SandboxMissing:
        return "gone"
    except SandboxError:
        return "unknown"


def _reason(sandbox: Sandbox) -> Literal["", "disk_limit"]:
    """The local server's reason; Daytona has a disk of its own for each sandbox, which is full then."""
    return "disk_limit" if sandbox.state == "error" and sandbox.error_reason.startswith("disk_limit") else ""


def _started(commands: list[Command]) -> str | None:
    """The command that runs the script, of those an earlier start may have left."""
    return next((command.id for command in commands if command.exit_code != RUN_TWICE), None)


async def _command(toolbox: Toolbox, place: Place) -> Command:
    """The command that runs the script. If two starts were sent, the one we know may be the twin that did nothing."""
    command = await toolbox.command(place.session_name, place.command_id)
    if command.exit_code != RUN_TWICE:
        return command
    commands = await toolbox.session_open(place.session_name)
    return next((found for found in commands if found.exit_code != RUN_TWICE), command)


def _observation(command: Command) -> Observation:
    if command.exit_code is None:
        return Observation("running")
    return Observation("ended", command.exit_code)
