"""Error tree of the hub. Every error has a code, a message and an HTTP status, the same in all interfaces.

    HubError                     code, message, HTTP status, details
    ├── NotAuthenticated  401    no credentials, or wrong ones
    │   └── BadTicket            (events/tickets.py) the ticket is forged, expired, or for another stream
    ├── Forbidden         403    the caller's role may not do this
    ├── TooManyFailures   429    too many wrong credentials from this address
    ├── NotFound          404    the row does not exist, or the caller may not see it
    ├── Conflict          409    the state of the row forbids it
    │   ├── TransitionRefused    the status may not follow the current one; details list the allowed ones
    │   ├── ExecutionActive      the task is already being executed
    │   ├── ExecutionEnding      its execution is being ended; retry after Retry-After seconds
    │   ├── Unverified           (services/evidence.py) the task is done only with a passed verification
    │   ├── LeaseLost            the caller's claim on the task has ended, or its lease is not the present one
    │   └── Held                 another agent holds the task
    ├── PreconditionFailed 412   the row changed since the caller read it (If-Match)
    ├── Invalid           400    a value is wrong; details name the field
    ├── TooLarge          413    the request exceeds a size limit
    ├── RangeRefused      416    the requested range has no byte of the text
    ├── Unavailable       503    a required part does not answer; retry
    └── Upstream          …      the sandbox service failed or refused; with the fitting status

A message is one sentence that says what to do. No message holds a path of this machine, the value of a setting, or
anything from a traceback.
"""

from __future__ import annotations

from typing import Any, ClassVar, Final

HOW_TO_AUTHENTICATE: Final = (
    "Send Authorization: Bearer <token>; /connect/ and POST /api/tokens/ make a token, or an operator in the admin."
)
"""What every 401 says to do."""


class HubError(Exception):
    """Root of all errors that a caller may receive."""

    status: int = 400
    default_code: ClassVar[str] = "error"

    def __init__(self, message: str, *, code: str | None = None, details: dict[str, Any] | None = None) -> None:
        super().__init__(message)
        self.message = message
        self.code = code or self.default_code
        self.details = details

    def body(self) -> dict[str, Any]:
        """`{"error": {"code", "message", "details"?}}`."""
        return error_body(self.code, self.message, self.details)


def error_body(code: str, message: str, details: Any = None) -> dict[str, Any]:
    """The body of every error response."""
    error: dict[str, Any] = {"code": code, "message": message}
    if details:
        error["details"] = details
    return {"error": error}


class NotAuthenticated(HubError):
    status = 401
    default_code = "not_authenticated"


class Forbidden(HubError):
    status = 403
    default_code = "forbidden"


class TooManyFailures(HubError):
    """`retry_after_s`: when the address is listened to again."""

    status = 429
    default_code = "throttled"

    def __init__(self, message: str, *, retry_after_s: float | None = None) -> None:
        super().__init__(message)
        self.retry_after_s = retry_after_s


class NotFound(HubError):
    status = 404
    default_code = "not_found"


class Conflict(HubError):
    status = 409
    default_code = "conflict"


class TransitionRefused(Conflict):
    default_code = "transition_refused"


class ExecutionActive(Conflict):
    default_code = "execution_active"


class ExecutionEnding(Conflict):
    """`retry_after_s`: it has ended by then."""

    default_code = "execution_ending"

    def __init__(self, execution_id: str, *, retry_after_s: int) -> None:
        super().__init__(
            f"The task's execution is being ended; try again in {retry_after_s} s.",
            details={"execution_id": execution_id, "retry_after_s": retry_after_s},
        )
        self.retry_after_s = retry_after_s


class LeaseLost(Conflict):
    default_code = "lease_lost"


class Held(Conflict):
    default_code = "held"


class PreconditionFailed(HubError):
    status = 412
    default_code = "precondition_failed"


class Invalid(HubError):
    status = 400
    default_code = "invalid"


class TooLarge(HubError):
    status = 413
    default_code = "too_large"


class RangeRefused(HubError):
    status = 416
    default_code = "range_not_satisfiable"


class Unavailable(HubError):
    status = 503
    default_code = "unavailable"


class Upstream(HubError):
    """`status` is set per error: 404, 409, 502 or 503. `retry_after_s`: when to retry, if known."""

    def __init__(self, message: str, *, code: str, status: int, retry_after_s: float | None = None) -> None:
        super().__init__(message, code=code)
        self.status = status
        self.retry_after_s = retry_after_s
