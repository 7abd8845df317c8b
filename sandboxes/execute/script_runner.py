"""The programs that run a script inside a sandbox, and the marks that they leave in its log.

Two programs go into the sandbox beside the script and its environment, in one upload:

* `run.sh` (bash) takes the script's environment from a file that it deletes, and gives it to the script alone:
  it appears in no command line. It starts the script in a working folder of its own, in a process group of its own, and
  sends it the signals whose names come through a FIFO, so the script can be ended while the session, and with it the
  log, stays. It looks through the working folder once a second and writes down what changed. At the end it ends what
  the script left running, by its group and by a mark in its environment, and lists the files.
* `attend.pl` (perl, which Debian and Ubuntu always have) stands above it: it holds the lock by which a dead
  runner is noticed, shows unfinished lines, ends leftovers that have changed session and environment, and prints the
  end mark, also where run.sh was killed. Without perl, run.sh prints the end mark itself, holds the lock with flock,
  and there are no unfinished lines.

Where the environment has a prepare, a repository or a setup, run.sh sees to these first, in the script's process group:
`prepare.sh` runs a prepare, `checkout.sh` is the checkout, `askpass.sh` what gives git the credential. A mark in the
log tells the commit, and another one that the script begins.

The runner's own folder, beside the working folder, holds

    started    a folder that only one start can make, so a repeated start runs the script once
    lock       locked while the runner lives
    control    a FIFO; each line is a signal's name
    given      a line for each file that was there when the script began, as a look lists it
    phase      what is under way before the script, or why it has failed
    begun      is there when the script has begun; `since` is a second older
    commit     what was checked out
    go         the hub has closed the network
    changes    the last changes, a line each: a number that counts from 1, what happened, the size (or -), the path
    artifacts  at the end, where there are files; see `run.sh`, `conclude`
    changes.mbox, changes.patch
               what the script has committed, and what else it has changed of the tracked files

Nothing in it is trusted: the script may write there too. The programs take find, sort, comm, cmp and awk as Debian
has them; without them, no change is seen. A look takes at most a tenth of the time; a folder of more than FILES_MOST
files is not looked through.
"""

from __future__ import annotations

import shlex
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cache
from hashlib import sha256
from pathlib import Path
from typing import Final
from uuid import UUID

from sandboxes.execute.prepare_script import PrepareScript
from taskhub.executions.checkout import Checkout
from taskhub.executions.executor import LogTokens
from taskhub.executions.file_paths import PATH_BYTES
from taskhub.executions.keep_patterns import expression_of

RUN_TWICE: Final = 222
"""The exit code of a runner that found its folder taken: its twin runs the script."""
FILES_MOST: Final = 20_000
CHANGES_KEPT: Final = 200
"""Lines in `changes`: those before them count, but are not named any more."""
ARTIFACTS_KEPT: Final = 1000
SCRIPT_MARK: Final = "TASKHUB_EXECUTION"
"""In the environment of the script and of all that it starts: the execution's id."""
RUNNER_MARK: Final = "TASKHUB_RUNNER"
"""In the environment of the runner's own processes: the execution's id."""

# What is only in the second listing is indented by a tab; in a path there is none.
_DIFFERENCES: Final = """
  function tell(change, size, path) { print ++n, change, size, length(path) <= longest ? path : "" }
  { size = $2; path = $0; sub(/^\\t?[^ ]* [^ ]* /, "", path) }
  /^\\t/ { sizes[path] = size; paths[++count] = path; next }
  { before[path] }
  END {
    for (path in before) if (!(path in sizes)) tell("deleted", "-", path)
    for (i = 1; i <= count; i++) tell(paths[i] in before ? "modified" : "created", sizes[paths[i]], paths[i])
  }
"""


@dataclass(frozen=True, slots=True)
class Folders:
    """Where an execution's files are in its sandbox, relative to the sandbox's working directory."""

    session_name: str

    @property
    def own(self) -> str:
        """The runner's: what it writes down, and what it is asked."""
        return f".taskhub/{self.session_name}"

    @property
    def working(self) -> str:
        """The script's current directory; it has the given files when it starts."""
        return f"taskhub/{self.session_name}"


@dataclass(frozen=True, slots=True)
class Run:
    """What `files` and `command` are made from; `launch` is the folder of this try, relative as `Folders` is.

    `keep`: patterns of the files that are kept besides those in `out/`; None: all. `locks`: the script does not begin
    before the hub has written `go` (`Run.go`) into the runner's folder.
    """

    folders: Folders
    launch: str
    execution_id: UUID
    tokens: LogTokens
    script: str
    env: dict[str, str]
    skip: Sequence[str] = ()
    merge_output: bool = False
    given: Mapping[str, bytes] = field(default_factory=dict)
    setup: str = ""
    prepare: PrepareScript | None = None
    checkout: Checkout | None = None
    keep: Sequence[str] | None = None
    locks: bool = False

    def files(self) -> dict[str, bytes]:
        """What goes into the sandbox, by path."""
        variables = {**self.env, SCRIPT_MARK: str(self.execution_id)}
        exports = "".join(f"export {name}={shlex.quote(value)}\n" for name, value in variables.items())
        return {
            f"{self.launch}/script": self.script.encode(),
            f"{self.launch}/env.sh": f"# {self.tokens.end} {self.tokens.run}\n{exports}".encode(),
            f"{self.launch}/run.sh": f"#!/bin/bash\n{self._settings()}{_program('run.sh')}".encode(),
            f"{self.launch}/attend.pl": _program("attend.pl").encode(),
            **{f"{self.launch}/{name}": content for name, content in self._preparation()},
            **{f"{self.launch}/files/{path}": content for path, content in self.given.items()},
        }

    def _preparation(self) -> Iterator[tuple[str, bytes]]:
        if self.prepare is not None:
            yield from self.prepare.files(**{SCRIPT_MARK: str(self.execution_id)})
        if self.setup:
            yield "setup", self.setup.encode()
        if self.checkout is None:
            return
        yield "checkout.sh", _program("checkout.sh").encode()
        yield from self.checkout.changes.items()
        yield "askpass", _program("askpass.sh").encode()
        if (credential := self.checkout.credential) is not None:
            lines = (credential.username, credential.token, *credential.hosts)
            yield "credential", "".join(f"{line}\n" for line in lines).encode()

    def command(self) -> str:
        """What the session runs.

        What the session's shell says of a runner that was killed is not the script's. The descriptor that stands in for
        its standard error must not stay: it would keep the log open.
        """
        perl = f"perl {self.launch}/attend.pl {self.launch} {self.folders.working}"
        mark = f"{RUNNER_MARK}={self.execution_id}"
        return (
            "exec 9>&2 2>/dev/null; "
            f"if command -v perl >/dev/null; then {mark} {perl} 2>&9 9>&-; "
            f"else {mark} bash {self.launch}/run.sh 2>&9 9>&-; fi; "
            "taskhub_code=$?; exec 9>&-; (exit $taskhub_code)"
        )

    @staticmethod
    def go(folders: Folders, tokens: LogTokens) -> dict[str, bytes]:
        """The file, by its path, that lets the script begin."""
        return {f"{folders.own}/go": f"{sha256(tokens.end.encode()).hexdigest()}\n".encode()}

    def _settings(self) -> str:
        settings: dict[str, object] = {
            "session": self.folders.session_name,
            "launch": self.launch,
            "execution": self.execution_id,
            "twice": RUN_TWICE,
            "merge": "yes" if self.merge_output else "",
            "files_most": FILES_MOST,
            "path_bytes": PATH_BYTES,
            "changes_kept": CHANGES_KEPT,
            "artifacts_kept": ARTIFACTS_KEPT,
            "differences": _DIFFERENCES,
            "prepares": "yes" if self.prepare is not None or self.setup or self.checkout is not None else "",
            "prepared": "" if self.prepare is None else self.prepare.mark,
            "checks_out": "" if self.checkout is None else "yes",
            "locks": "yes" if self.locks else "",
            "keep": "" if self.keep is None else expression_of(self.keep),
        }
        if self.checkout is not None:
            settings |= {name: getattr(self.checkout, name) for name in ("url", "ref", "path", "depth")}
        assigned = "".join(f"{name}={shlex.quote(str(value))}\n" for name, value in settings.items())
        # What git keeps for itself is never the script's.
        skip = self.skip if self.checkout is None or ".git" in self.skip else (*self.skip, ".git")
        return f"{assigned}skip=({shlex.join(skip)})\n"


@cache
def _program(name: str) -> str:
    return (Path(__file__).parent / name).read_text()
