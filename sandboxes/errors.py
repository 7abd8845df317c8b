"""Error tree for requests to Daytona.

    SandboxError                     code, message, permanent, status (what our own callers get)
    ├── SandboxMissing          404  permanent: the sandbox, session, command or file is not there
    ├── SandboxRefused          409  permanent: Daytona understands and will not
    │   └── InsideRefused            permanent: the sandbox's own files or folders do not let it happen
    ├── SandboxTooLarge         409  permanent: one sandbox may not have so much
    ├── SandboxesFull           503  transient: our account has no room for another sandbox
    ├── KeyRefused              502  permanent: Daytona does not take our key
    │   └── ToolboxKeyRefused        doubtful: only the proxy before a sandbox says so, and it may be wrong for a while
    ├── SandboxesOff            409  permanent: this installation runs no scripts
    ├── SandboxBuilding         503  transient: the image that it is made from is being built or fetched
    ├── SnapshotNotReady        503  transient: the snapshot that it is made from is made active
    ├── VolumeNotReady          503  transient: a volume that it is to have is being made
    └── SandboxUnavailable      503  transient: no answer, an answer that makes no sense, or "later" (5xx)
        ├── SandboxThrottled         transient: it asks for fewer requests (429)
        ├── SandboxFailed            transient: the sandbox was made and did not start; another one may
        └── InsideFailed             transient: it answered, with an error of the sandbox's inside (500)

All are `ExecutorError`s, which the hub handles. Messages contain nothing of Daytona's text, which may include hosts
or keys; the log has it, and `detail` for operators.
"""

from __future__ import annotations

from typing import Final, Self

from taskhub.executions.executor import ExecutorError
from taskhub.models import Lack

_INSIDE: Final = frozenset({"session", "command", "file"})


class SandboxError(ExecutorError):
    """The root."""

    def saying(self, detail: str) -> Self:
        """Itself, with Daytona's own words."""
        self.detail = detail
        return self


class SandboxMissing(SandboxError):
    status = 404

    def __init__(self, what: str = "sandbox") -> None:
        self.what = what
        self.is_inside = what in _INSIDE
        super().__init__(f"{what}_not_found", f"{what.capitalize().replace('_', ' ')} not found.", permanent=True)


class SandboxRefused(SandboxError):
    status = 409

    def __init__(self, code: str, message: str) -> None:
        super().__init__(code, message, permanent=True)


class InsideRefused(SandboxRefused):
    is_inside = True


class SandboxTooLarge(SandboxError):
    status = 409

    def __init__(self) -> None:
        super().__init__(
            "capacity_never", "The sandbox service does not allow a single sandbox of this size.", permanent=True
        )


class SandboxesFull(SandboxError):
    status = 503
    waits_for = "capacity"

    def __init__(self, lack: Lack | None = None) -> None:
        self.lack = lack
        super().__init__(
            "sandbox_capacity",
            "The sandbox service has no CPU, memory or disk left for this hub's account; it waits for some.",
            permanent=False,
        )


class SandboxBuilding(SandboxError):
    status = 503
    waits_for = "image"

    def __init__(self) -> None:
        super().__init__(
            "sandbox_building", "The sandbox service still prepares the image for this sandbox.", permanent=False
        )


class SnapshotNotReady(SandboxError):
    status = 503
    waits_for = "snapshot"

    def __init__(self) -> None:
        words = "The sandbox service activates the environment's snapshot."
        super().__init__("snapshot_not_ready", words, permanent=False)


class VolumeNotReady(SandboxError):
    status = 503
    waits_for = "volume"

    def __init__(self) -> None:
        words = "The sandbox service still makes a volume of the environment."
        super().__init__("volume_not_ready", words, permanent=False)


class SandboxesOff(SandboxRefused):
    """The message says why, and which setting changes it."""

    def __init__(self, reason: str) -> None:
        super().__init__("sandboxes_off", reason)


class KeyRefused(SandboxError):
    def __init__(self) -> None:
        super().__init__(
            "sandbox_key_refused",
            "The sandbox service refuses this hub's key; tell its operator.",
            permanent=True,
        )


class ToolboxKeyRefused(KeyRefused):
    """A deleted sandbox gets the same answer as a wrong key, and so does every one while Daytona's API is away."""

    is_doubtful = True


class SandboxUnavailable(SandboxError):
    """`retry_after_s`: seconds that the service asked us to wait; None if it did not."""

    status = 503

    def __init__(self, retry_after_s: float | None = None) -> None:
        super().__init__("sandbox_unavailable", "The sandbox service does not answer; try again.", permanent=False)
        self.retry_after_s = retry_after_s


class SandboxThrottled(SandboxUnavailable):
    waits_for = "rate"

    def __init__(self, retry_after_s: float | None = None) -> None:
        super().__init__(retry_after_s)
        self.code = "sandbox_throttled"
        self.message = "The sandbox service asks this hub for fewer requests; try again later."


class SandboxFailed(SandboxUnavailable):
    def __init__(self) -> None:
        super().__init__()
        self.code = "sandbox_failed"
        self.message = "The sandbox did not start at the sandbox service; operators read its reason."


class InsideFailed(SandboxUnavailable):
    is_inside = True

    def __init__(self) -> None:
        super().__init__()
        self.code = "sandbox_error"
        self.message = (
            "The sandbox answered with an error of its own: its files or processes may be at fault. Try again."
        )
