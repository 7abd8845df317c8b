"""What runs a script inside a sandbox, and what it writes down there about the script's files.

The runner is a bash script that goes into the sandbox beside the script itself. It

1. takes the script's environment from a file that it deletes, and gives it to the script alone: it appears in no
   command line;
2. makes a folder that only one can make, so the script runs once however often a start is repeated;
3. starts the script in a working folder of its own, in a process group of its own, and sends it the signals whose names
   come through a FIFO, so that it can be ended while the session, and with it the log, stays. (A process number would
   mean nothing to a command that sees other processes than the session does.)
4. looks through the working folder once a second, and writes down what changed, for us to fetch;
5. ends what the script left running, which would keep the log open, by its group and by a mark in its environment;
6. looks once more, lists the files that are there, and ends with the script's exit code. (A command that ended its
   session's shell would never get one.)

Its own folder, beside the working folder, holds

    changes    the last changes, a line each: a number that counts from 1, what happened, the size (or -), the path
    artifacts  at the end: how many files there are, then a line for each of the last modified: its time, size and path

Nothing in it is trusted: the script may write there too. It takes find, sort, comm, awk and timeout as Debian has them;
where they are missing, no change is seen. A look takes at most a tenth of the time; a folder of more than FILES_MOST
files is not looked through.
"""

from __future__ import annotations

import shlex
from dataclasses import dataclass
from typing import Final
from uuid import UUID

RUN_TWICE: Final = 222
"""The exit code of a runner that found its folder taken: its twin runs the script."""
FILES_MOST: Final = 20_000
CHANGES_KEPT: Final = 200
"""Lines in `changes`: those before them count, but are not named any more."""
ARTIFACTS_KEPT: Final = 1000
PATH_BYTES: Final = 1000
"""A longer path is not named."""
_BASH: Final = "/bin/bash"

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

_RUNNER: Final = """\
#!/bin/bash
# Written by TaskHub: runs script.sh once, in a folder and a process group of its own.
dir={folder}
exports=$(<{launch}/env.sh)
rm -f {launch}/env.sh
mkdir "$dir/started" 2>/dev/null || exit {run_twice}
mkdir -p {work}
: >"$dir/seen"
: >"$dir/changes"

set -m
(
  set +m
  eval "$exports"
  cd {work} && exec {bash} {launch}/script.sh
) </dev/null &
script=$!
exec 2>/dev/null  # what bash itself says of ended jobs is not the script's
mkfifo "$dir/new" && mv "$dir/new" "$dir/control"
while read -r name; do kill -"$name" -- -$script; done <>"$dir/control" >/dev/null &
listener=$!

look() {{
  timeout 10 find {work} -ignore_readdir_race -mindepth 1 \\
    -name '*[[:cntrl:]]*' -prune -o -type f -printf '%T@ %s %P\\n' | head -n $(({files_most} + 1)) | sort >"$dir/now"
  # 124 and above: it did not come to its end.
  [ "${{PIPESTATUS[0]}}" -lt 124 ] && [ "$(wc -l <"$dir/now")" -le {files_most} ] || return
  read -r n _ < <(tail -n 1 "$dir/changes")
  comm -3 "$dir/seen" "$dir/now" | awk -v n="${{n:-0}}" -v longest={path_bytes} {differences} >"$dir/fresh"
  cat "$dir/changes" "$dir/fresh" | tail -n {changes_kept} >"$dir/changes.new"
  [ -s "$dir/fresh" ] && mv "$dir/changes.new" "$dir/changes"
  cp "$dir/now" "$dir/seen"
}}
watch() {{
  set +m
  export LC_ALL=C
  pause=1
  # A pause is over at its time; the script, when the input is.
  while read -r -t $pause; [ $? -gt 128 ]; do
    begun=${{EPOCHREALTIME/[.,]/}}
    look
    took=$((${{EPOCHREALTIME/[.,]/}} - begun))  # microseconds
    pause=$((took > 100000 ? took / 100000 : 1))
  done
  look
  (wc -l <"$dir/now"; tail -n {artifacts_kept} "$dir/now") >"$dir/artifacts.new"
  mv "$dir/artifacts.new" "$dir/artifacts"
}}
# What the script does not hold open: it was started before.
exec {{running}}> >(watch >/dev/null)
watcher=$!

wait $script
code=$?
kill -KILL -- -$script
grep -lzsF 'TASKHUB_EXECUTION={execution}' /proc/[0-9]*/environ | while IFS=/ read -r _ _ pid _; do
  kill -KILL "$pid"
done
exec {{running}}>&-
wait $watcher
kill $listener
exit $code
"""


@dataclass(frozen=True, slots=True)
class Folders:
    """Where an execution's files are in its sandbox; `work_dir` is the sandbox's own working directory."""

    work_dir: str
    session_name: str

    @property
    def own(self) -> str:
        """The runner's: what it writes down, and what it is asked."""
        return f"{self.work_dir}/.taskhub/{self.session_name}"

    @property
    def working(self) -> str:
        """The script's current directory, empty when it starts."""
        return f"{self.work_dir}/taskhub/{self.session_name}"


def runner(folders: Folders, launch: str, execution_id: UUID) -> str:
    """The runner's text; `launch` is the folder of this try, with the script and its environment in it."""
    return _RUNNER.format(
        folder=shlex.quote(folders.own),
        work=shlex.quote(folders.working),
        launch=shlex.quote(launch),
        run_twice=RUN_TWICE,
        bash=_BASH,
        execution=execution_id,
        differences=shlex.quote(_DIFFERENCES),
        files_most=FILES_MOST,
        path_bytes=PATH_BYTES,
        changes_kept=CHANGES_KEPT,
        artifacts_kept=ARTIFACTS_KEPT,
    )
