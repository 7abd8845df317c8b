"""Errors of the API, with the two generations of Daytona's error bodies.

SandboxServerError
├── ControlError    the control API: /api/...
└── ToolboxError    inside a sandbox: /toolbox/...
    ├── ExecError   running a command in a session: v0.190 answers 500 to nearly everything here
    └── ProxyError  the proxy in front of the sandbox: no such sandbox, a bad key, not started
"""

from datetime import UTC, datetime
from http import HTTPStatus
from typing import Any

from aiohttp import web

from sandboxes.local.options import Dialect

NOT_STARTED = "failed to get runner info: no IP address found. Is the Sandbox started?"

_CODES = {
    400: "BAD_REQUEST",
    401: "UNAUTHORIZED",
    403: "FORBIDDEN",
    404: "NOT_FOUND",
    408: "REQUEST_TIMEOUT",
    409: "CONFLICT",
    410: "GONE",
    422: "UNPROCESSABLE_ENTITY",
    500: "INTERNAL_SERVER_ERROR",
}


class SandboxServerError(Exception):
    """`status` is the HTTP status; `message` says what to do, in Daytona's words where those are known."""

    def __init__(self, status: int, message: str) -> None:
        super().__init__(message)
        self.status = status
        self.message = message

    def response(self, request: web.Request, dialect: Dialect) -> web.StreamResponse:
        raise NotImplementedError


class ControlError(SandboxServerError):
    """An error of the control API."""

    def response(self, request: web.Request, dialect: Dialect) -> web.StreamResponse:
        body: dict[str, Any] = {
            "path": request.path,
            "timestamp": timestamp(),
            "statusCode": self.status,
            "error": HTTPStatus(self.status).phrase,
            "message": self.message,
        }
        if dialect == "new":
            body["source"] = "DAYTONA_API"
        return web.json_response(body, status=self.status)


class ToolboxError(SandboxServerError):
    """An error inside a sandbox. `code` is what the newer dialect says in place of the status's general code."""

    source = "DAYTONA_DAEMON"

    def __init__(self, status: int, message: str, code: str | None = None) -> None:
        super().__init__(status, message)
        self.code = code

    def response(self, request: web.Request, dialect: Dialect) -> web.StreamResponse:
        general = _CODES.get(self.status, HTTPStatus(self.status).name)
        body: dict[str, Any] = {
            "statusCode": self.status,
            "message": self.message,
            "code": general,
            "timestamp": timestamp(),
            "path": toolbox_path(request),
            "method": request.method,
        }
        if dialect == "new":
            body |= {"code": self.code or general, "source": self.source}
        else:
            body["message"] = self._v0190_message()
        return web.json_response(body, status=self.status)

    def _v0190_message(self) -> str:
        return f"{HTTPStatus(self.status).phrase.lower()}: {self.message}"


class ExecError(ToolboxError):
    """Daytona v0.190 answers 500 here, with a timestamp of year 1 and no path; to an empty command 400 and no body."""

    def response(self, request: web.Request, dialect: Dialect) -> web.StreamResponse:
        if dialect == "new":
            return super().response(request, dialect)
        if self.status == HTTPStatus.BAD_REQUEST:
            return web.Response(status=400)
        message = self._v0190_message() if self.status != HTTPStatus.INTERNAL_SERVER_ERROR else self.message
        body = {
            "statusCode": 500,
            "message": f"failed to execute command: {message}",
            "timestamp": "0001-01-01T00:00:00Z",
            "path": "",
        }
        return web.json_response(body, status=500)


class ProxyError(ToolboxError):
    """An error of the proxy in front of the sandbox."""

    source = "DAYTONA_PROXY"


def no_session() -> ToolboxError:
    return ToolboxError(404, "session not found", "PROCESS_NOT_FOUND")


def no_command() -> ToolboxError:
    return ToolboxError(404, "command not found", "PROCESS_NOT_FOUND")


def toolbox_path(request: web.Request) -> str:
    """The path as the daemon inside the sandbox sees it: without /toolbox/{sandboxId}."""
    _, _, rest = request.path.removeprefix("/toolbox/").partition("/")
    return f"/{rest}"


def timestamp(moment: datetime | None = None) -> str:
    """ISO 8601 in UTC with milliseconds, as Daytona writes it."""
    return (moment or datetime.now(UTC)).isoformat(timespec="milliseconds").replace("+00:00", "Z")
