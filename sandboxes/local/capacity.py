"""Resource quotas: the limits of an account, in Daytona's own words."""

from collections.abc import Iterable
from http import HTTPStatus
from typing import Final

from sandboxes.local.errors import ControlError
from sandboxes.local.options import Limits
from sandboxes.local.rows import SandboxRow

_DASHBOARD: Final = "https://app.daytona.io/dashboard"
_MORE: Final = f"To increase concurrency limits, upgrade your organization's Tier by visiting {_DASHBOARD}/limits."
_ARCHIVE: Final = "Consider archiving your unused Sandboxes to free up available storage."
_LARGER: Final = (
    "Need higher resource limits per-sandbox? Contact us at support@daytona.io and let us know about your use case."
)
# These states use CPU and memory; every state of a sandbox that exists uses disk.
_COMPUTING: Final = frozenset({"creating", "starting", "started", "stopping"})


def refuse_beyond(limits: Limits, row: SandboxRow, others: Iterable[SandboxRow]) -> None:
    """Raises ControlError if `row` may not start beside the `others`."""
    _refuse_too_large(limits, row)
    others = list(others)
    computing = [each for each in others if each.state in _COMPUTING]
    for name, limit, unit, using, advice in (
        ("cpu", limits.cpus, "", computing, _MORE),
        ("memory", limits.memory, "GiB", computing, _MORE),
        ("disk", limits.disk, "GiB", others, f"{_ARCHIVE}\n{_MORE}"),
    ):
        if limit is not None and sum(each.fields[name] for each in [*using, row]) > limit:
            said = "CPU" if name == "cpu" else name
            raise ControlError(limits.status, f"Total {said} limit exceeded. Maximum allowed: {limit}{unit}.\n{advice}")


def _refuse_too_large(limits: Limits, row: SandboxRow) -> None:
    for name, limit, unit in (
        ("cpu", limits.sandbox_cpus, ""),
        ("memory", limits.sandbox_memory, "GB"),
        ("disk", limits.sandbox_disk, "GB"),
    ):
        wanted = row.fields[name]
        if limit is not None and wanted > limit:
            said = "CPU" if name == "cpu" else name.capitalize()
            raise ControlError(
                HTTPStatus.BAD_REQUEST,
                f"{said} request {wanted}{unit} exceeds maximum allowed per sandbox ({limit}{unit}).\n{_LARGER}",
            )
