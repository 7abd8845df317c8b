"""Makes prepared snapshots. The contract is `taskhub/executions/preparer.py`.

A look asks the service how far it is, and does what is next: make the sandbox, begin prepare in it, stop the sandbox,
keep it as the snapshot. So it goes on after any look that was not answered, or not finished.
"""

from __future__ import annotations

import logging
import math
import shlex
from dataclasses import replace
from typing import TYPE_CHECKING, Final

from sandboxes.errors import SandboxError, SandboxMissing, SandboxRefused
from sandboxes.execute.prepare_script import MARKS, PrepareScript
from sandboxes.execute.sandbox_fields import sandbox_fields
from sandboxes.execute.script_runner import RUN_TWICE
from sandboxes.gateway import Document, open_gateway
from taskhub.executions.preparer import PrepareLook, Preparing
from taskhub.models import EnvironmentSpec

if TYPE_CHECKING:
    from sandboxes.gateway import Gateway, Sandbox

log = logging.getLogger(__name__)

PREPARE_LABEL: Final = "taskhub.prepare"
"""At Daytona, of a sandbox that the hub made for a prepared snapshot: the snapshot's name."""
_SPARE_S: Final = 2 * 3600
"""For making the sandbox and keeping it: after that, and the limit of prepare, Daytona deletes it whatever becomes of
us."""
_NOT_STARTED: Final = frozenset({"stopped", "stopping", "snapshotting", "archived", "archiving"})
_BECOMES_ACTIVE: Final = frozenset({"snapshotting", "pending", "pulling", "building"})
_TAIL_LINES: Final = 40
_TAIL_BYTES: Final = 4000


class SnapshotPreparer:
    async def prepare(self, preparing: Preparing) -> PrepareLook:
        async with open_gateway() as gateway:
            sandbox = await _sandbox(gateway, preparing)
            commands = await sandbox.toolbox.session_open(preparing.sandbox)
            command = next((each for each in commands if each.exit_code != RUN_TWICE), None)
            if command is None and commands:
                words = "The process that ran prepare was ended from outside."
                raise SandboxRefused("prepare_lost", words)
            if command is None:
                await sandbox.toolbox.upload(_files(preparing))
                await sandbox.toolbox.command_run(preparing.sandbox, _command(preparing))
                return PrepareLook(None, sandbox.size)
            tail = await _log_tail(sandbox, preparing) if command.exit_code else ""
            return PrepareLook(command.exit_code, sandbox.size, tail)

    async def keep_snapshot(self, preparing: Preparing) -> str:
        async with open_gateway() as gateway:
            snapshot = await gateway.snapshots.find(preparing.snapshot)
            if snapshot is not None:
                return await _looked_at(gateway, preparing, snapshot)
            sandbox = await gateway.document(preparing.sandbox)
            if sandbox.get("state") == "started":
                await gateway.stop(preparing.sandbox)
            elif sandbox.get("state") == "stopped":
                await _keep(gateway, preparing)
            elif sandbox.get("state") not in _NOT_STARTED:
                log.warning("sandbox %s cannot be kept: %s", preparing.sandbox, sandbox.get("errorReason"))
                words = f"The sandbox of prepare cannot be kept: its state is {sandbox.get('state')}."
                raise SandboxRefused("snapshot_failed", words[:200]).saying(str(sandbox.get("errorReason") or ""))
            return ""

    async def drop_preparing(self, preparing: Preparing) -> None:
        async with open_gateway() as gateway:
            await gateway.sandbox_delete(preparing.sandbox)

    async def drop_snapshot(self, preparing: Preparing, snapshot_id: str) -> None:
        async with open_gateway() as gateway:
            found = await gateway.snapshots.find(snapshot_id or preparing.snapshot)
            if found is not None:
                await _delete(gateway, found)


async def _sandbox(gateway: Gateway, preparing: Preparing) -> Sandbox:
    """Started. It is found by its name; one that is made is given nothing that is secret, or outlives it."""
    spec = plain(preparing.environment)
    try:
        found = await gateway.sandbox_get(preparing.sandbox)
    except SandboxMissing:
        if await gateway.snapshots.find(preparing.snapshot) is not None:
            words = (
                f"The sandbox service has a snapshot {preparing.snapshot} that this hub did not make; delete it there, "
                "and save the environment again."
            )
            raise SandboxRefused("snapshot_exists", words) from None
        found, _ = await gateway.sandbox_create(
            name=preparing.sandbox,
            labels={PREPARE_LABEL: preparing.snapshot},
            ttl_minutes=math.ceil((spec.setup_limit_s + _SPARE_S) / 60),
            fields=sandbox_fields(spec),
        )
    return await gateway.sandbox_start(found)


def plain(spec: EnvironmentSpec) -> EnvironmentSpec:
    """Without secrets and volumes. Its repository says that the network is closed later; it is not checked out."""
    return replace(spec, secrets={}, any_host=(), volumes=())


def _folder(preparing: Preparing) -> str:
    return f".taskhub/{preparing.sandbox}"


def _files(preparing: Preparing) -> dict[str, bytes]:
    return {
        f"{_folder(preparing)}/{name}": content for name, content in PrepareScript.of(preparing.environment).files()
    }


def _command(preparing: Preparing) -> str:
    """Nothing of it is left in the snapshot but the mark. Where two starts were sent, one does nothing."""
    folder, mark = _folder(preparing), PrepareScript.of(preparing.environment).mark
    text = (
        f"mkdir {folder}/started 2>/dev/null || exit {RUN_TWICE}; "
        f'bash {folder}/prepare.sh "$PWD/{folder}" {mark} "$PWD/{MARKS}" '
        f"</dev/null >{folder}/log 2>&1; code=$?; "
        f"[ $code -ne 0 ] || rm -rf {folder}; exit $code"
    )
    return f"bash -c {shlex.quote(text)}"


async def _log_tail(sandbox: Sandbox, preparing: Preparing) -> str:
    """ "" where it cannot be read: the exit code is worth more."""
    line = f"tail -n {_TAIL_LINES} {_folder(preparing)}/log | tail -c {_TAIL_BYTES}"
    try:
        _, text = await sandbox.toolbox.shell(line)
    except SandboxError as error:
        log.warning("the log of %s cannot be read: %s", preparing.sandbox, error.code)
        return ""
    return "".join(each for each in text if each.isprintable() or each in "\n\t")


async def _looked_at(gateway: Gateway, preparing: Preparing, snapshot: Document) -> str:
    """Its id, where it is active; one that has failed is deleted, so that its name is free."""
    state, source = snapshot.get("state"), snapshot.get("sourceSandboxId")
    if source is not None and await _id_of(gateway, preparing) not in {source, None}:
        words = f"The sandbox service has another snapshot {preparing.snapshot} by now, that this hub did not make."
        raise SandboxRefused("snapshot_exists", words)
    if state in _BECOMES_ACTIVE:
        return ""
    if state in {"active", "inactive"}:
        return str(snapshot["id"])
    said = await gateway.snapshots.failure(snapshot)
    log.warning("the snapshot %s is in the state %s: %s", preparing.snapshot, state, said)
    await _delete(gateway, snapshot)
    raise SandboxRefused("snapshot_failed", f"The snapshot was not made: its state was {state}."[:200]).saying(said)


async def _id_of(gateway: Gateway, preparing: Preparing) -> str | None:
    try:
        return str((await gateway.document(preparing.sandbox))["id"])
    except SandboxMissing:
        return None


async def _keep(gateway: Gateway, preparing: Preparing) -> None:
    try:
        await gateway.keep_as_snapshot(preparing.sandbox, preparing.snapshot)
    except SandboxRefused as error:
        if error.code == "sandbox_conflict":
            return  # another look was faster
        if error.code != "sandbox_refused":
            raise
        words = "The sandbox service does not keep the sandbox of prepare as a snapshot."
        raise SandboxRefused("snapshot_refused", words).saying(error.detail) from None


async def _delete(gateway: Gateway, snapshot: Document) -> None:
    try:
        await gateway.snapshots.drop(str(snapshot["id"]))
    except SandboxMissing:
        return
