"""Sandboxes that stop, or go, by themselves: auto-stop, auto-delete, time to live."""

import asyncio
import logging

from sandboxes.local.errors import ControlError
from sandboxes.local.options import Options
from sandboxes.local.rows import SandboxRow
from sandboxes.local.sandboxes import Registry, age_s

_logger = logging.getLogger(__name__)

_LONGEST_TICK_S = 1.0


async def keep_idle_rules(registry: Registry, options: Options) -> None:
    """Runs as long as the server. A transition that is under way, or a sandbox that went, is met at the next tick."""
    tick_s = min(_LONGEST_TICK_S, options.minute_s / 10)
    while True:
        await asyncio.sleep(tick_s)
        for sandbox in registry.sandboxes():
            try:
                sandbox.save_activity()
                await _apply(registry, sandbox.row, options.minute_s)
            except ControlError:
                continue
            except OSError:
                _logger.exception("the idle rules of sandbox %s could not be applied", sandbox.row.id)


async def keep_disk_limits(registry: Registry, options: Options) -> None:
    """Runs as long as the server. A count that takes longer than its period holds up the next one."""
    while True:
        await asyncio.sleep(options.disk_s)
        for sandbox in registry.sandboxes():
            try:
                await registry.count_disk(sandbox)
            except OSError as error:
                _logger.warning("the disk of sandbox %s could not be counted: %s", sandbox.row.id, error)


async def _apply(registry: Registry, row: SandboxRow, minute_s: float) -> None:
    if _to_be_destroyed(row, minute_s):
        await registry.destroy(row.id)
    elif _idle_too_long(row, minute_s):
        await registry.stop(row.id, force=False)


def _to_be_destroyed(row: SandboxRow, minute_s: float) -> bool:
    if row.auto_destroy_at is not None and age_s(row.auto_destroy_at) >= 0:
        return True
    interval = row.fields["autoDeleteInterval"]
    return interval >= 0 and row.stopped_at is not None and age_s(row.stopped_at) >= interval * minute_s


def _idle_too_long(row: SandboxRow, minute_s: float) -> bool:
    interval = row.fields["autoStopInterval"]
    return row.state == "started" and interval > 0 and age_s(row.last_activity_at) >= interval * minute_s
