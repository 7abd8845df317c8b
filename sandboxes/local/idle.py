"""Sandboxes that stop, or go, by themselves: auto-stop, auto-delete, time to live."""

import asyncio
from contextlib import suppress

from sandboxes.local.errors import ControlError
from sandboxes.local.options import Options
from sandboxes.local.rows import SandboxRow
from sandboxes.local.sandboxes import Registry, age_s

_LONGEST_TICK_S = 1.0


async def keep_idle_rules(registry: Registry, options: Options) -> None:
    """Runs as long as the server. A transition that is under way, or a sandbox that went, is met at the next tick."""
    tick_s = min(_LONGEST_TICK_S, options.minute_s / 10)
    while True:
        await asyncio.sleep(tick_s)
        for sandbox in registry.sandboxes():
            sandbox.save_activity()
            with suppress(ControlError):
                await _apply(registry, sandbox.row, options.minute_s)


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
