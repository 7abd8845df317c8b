"""Errors of a sandbox's toolbox: what a script does to files, what Daytona's daemon answers, what we make of it.

The daemon reads and writes its own files as the scripts' user, so a script decides whether it can. Its answers are no
word on Daytona, our key or the sandbox, and their text, which names paths, is not searched for Daytona's words. Seen
with v0.190; `tests/integration/test_broken_insides.py` does these to the daemon, or plays its answers.

    what a script does                    what is asked for         answer                        error
    chmod 000 ~, or the daemon's folder   log                       403 (a websocket: no body)    InsideRefused
                                          command, list of sessions 500 "failed to read exit …"   InsideFailed
                                          end of the session        400, though all is ended      InsideRefused
                                          file, folder              403, or 400, without a body   InsideRefused
                                          upload                    400 {"errors": […]}           InsideRefused
                                          another command           500 "failed to execute …"     InsideFailed
    rm -rf ~/.daytona                     log                       404 "no such file"            SandboxMissing
    a file in the place of that folder    log                       400 "not a directory"         InsideRefused
                                          command                   500                           InsideFailed
    in the log's place: a folder          log, followed             closed with 1011              SandboxUnavailable
                        a loop, a socket  log                       400                           InsideRefused
                        a named pipe      log                       none                          SandboxUnavailable
                        /dev/null, a      log                       bytes that are no lines of
                        huge sparse file                            ours                          -
    `exit_code`: locked, a folder, text   command                   500                           InsideFailed
                 a named pipe             command                   none                          SandboxUnavailable
                 written by the script    command                   an exit code that is false    -
    a file of its own: locked             file                      403 "403 Forbidden"           InsideRefused
                       a folder, a loop   file                      400                           InsideRefused
                       gone, a socket     file                      404                           SandboxMissing
                       a named pipe       file                      none                          SandboxUnavailable
    asks the daemon to end its session    log, command              404 "session not found"       SandboxMissing

The proxy before the sandbox answers 401: for a wrong key, for a sandbox that is gone, and for every one while it cannot
ask Daytona's API (ToolboxKeyRefused). It answers 400 "Is the Sandbox started?" for one that is not (SandboxRefused).
Daytona's API itself tells these apart.

The hub goes on with an execution whatever the inside says (`ExecutorError.is_inside`): a log that cannot be read is
tried again a few times and then counts as lost, whether the runner lives is looked at, and the script ends by itself,
by its time limit or by a stop, on the rungs of `ladder.py`. Files that cannot be read are not kept.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from http import HTTPStatus
from typing import Final

from sandboxes.errors import InsideFailed, InsideRefused, SandboxError, SandboxRefused, ToolboxKeyRefused
from sandboxes.gateway.translation import refusal

_NOT_STARTED: Final = re.compile(r"\bis the sandbox started\b", re.IGNORECASE)
_REFUSED: Final = "The sandbox refused this; is it started, and is the path one that can be read and written?"
_DENIED: Final = "Inside the sandbox, permission was denied: a script may have locked its files."
_BAD: Final = frozenset({HTTPStatus.BAD_REQUEST, HTTPStatus.UNPROCESSABLE_ENTITY, HTTPStatus.REQUEST_ENTITY_TOO_LARGE})


def refusal_inside(what: str, status: int | None, headers: Mapping[str, str], text: str = "") -> SandboxError:
    """As `refusal`, for an answer of a sandbox's toolbox."""
    if status == HTTPStatus.UNAUTHORIZED:
        return ToolboxKeyRefused()
    if status == HTTPStatus.FORBIDDEN:
        return InsideRefused("sandbox_permission_denied", _DENIED)
    if status in _BAD:
        is_started = _NOT_STARTED.search(text) is None
        return (InsideRefused if is_started else SandboxRefused)("sandbox_refused", _REFUSED)
    if status == HTTPStatus.INTERNAL_SERVER_ERROR:
        return InsideFailed()
    return refusal(what, status, headers)
