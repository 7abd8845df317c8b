"""Error tree for requests to Daytona.

    SandboxError                     code, message, permanent, status (the status of our response)
    ├── SandboxMissing          404  permanent: the sandbox, session, command or file does not exist
    ├── SandboxRefused          409  permanent: Daytona refuses the request
    ├── KeyRefused              502  permanent: Daytona refuses our key
    ├── SandboxesOff            409  permanent: this installation runs no scripts
    └── SandboxUnavailable      503  transient: no response, an invalid one, or 429 or 5xx

All are `ExecutorError`s, which the hub handles. Messages contain nothing of Daytona's text, which may include hosts
or keys; the log has it.
"""

from __future__ import annotations

from taskhub.executions.executor import ExecutorError


class SandboxError(ExecutorError):
    """The root."""


class SandboxMissing(SandboxError):
    status = 404

    def __init__(self, what: str = "sandbox") -> None:
        self.what = what
        super().__init__(f"{what}_not_found", f"{what.capitalize()} not found.", permanent=True)


class SandboxRefused(SandboxError):
    status = 409

    def __init__(self, code: str, message: str) -> None:
        super().__init__(code, message, permanent=True)


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


class SandboxUnavailable(SandboxError):
    """`retry_after_s`: seconds that the service asked us to wait; None if it did not."""

    status = 503

    def __init__(self, retry_after_s: float | None = None) -> None:
        super().__init__("sandbox_unavailable", "The sandbox service does not answer; try again.", permanent=False)
        self.retry_after_s = retry_after_s
