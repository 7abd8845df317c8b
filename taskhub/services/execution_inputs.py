"""Inputs of an execution: its environment, its given files, and the sandbox of the execution before."""

from __future__ import annotations

import json
import re
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from itertools import accumulate
from typing import Final
from uuid import UUID

from taskhub.auth.actor import Actor
from taskhub.errors import Conflict, Invalid, NotFound, TooLarge
from taskhub.executions.file_paths import is_inside
from taskhub.executions.masking import Secret
from taskhub.models import Artifact, Execution, ExecutionKind, GivenFile, Task
from taskhub.models.execution import ENV_SEAL
from taskhub.roles import Caller
from taskhub.selectors.artifacts import artifact_named
from taskhub.selectors.executions import execution_find_for

ENV_NAME: Final = re.compile(r"[A-Za-z_][A-Za-z0-9_]*\Z")
"""The names that a shell takes."""
BASH_KEEPS: Final = frozenset({"BASHOPTS", "BASH_VERSINFO", "EUID", "PPID", "SHELLOPTS", "UID"})
"""Names that bash keeps to itself."""
ENV_LIMIT: Final = 100
"""Variables of an execution, with those of its environment."""
ENV_BYTES: Final = 64 * 1024
"""Of their names and values: there is room below what a process may be started with."""
GIVEN_MOST: Final = 20
GIVEN_TEXT_BYTES: Final = 1024 * 1024
"""Of all texts together."""
GIVEN_COPY_BYTES: Final = 20 * 1024 * 1024
"""Of all copies together: a worker holds them in memory while it starts the execution."""


@dataclass(frozen=True, slots=True)
class Given:
    """A file for an execution: its `text`, or what the execution `execution_id` left as `source_path`."""

    path: str
    text: str | None = None
    execution_id: UUID | None = None
    source_path: str = ""


def env_bytes(env: Mapping[str, str | Secret]) -> int:
    """Of the names and values, secret ones included."""
    texts = (each.value if isinstance(each, Secret) else each for each in env.values())
    return sum(map(len, env)) + sum(len(text.encode()) for text in texts)


def env_apart(env: Mapping[str, str | Secret]) -> tuple[dict[str, str], str]:
    """The plain variables, and the encrypted secret ones: empty where there are none."""
    plain = {name: value for name, value in env.items() if isinstance(value, str)}
    secret = {name: value.value for name, value in env.items() if isinstance(value, Secret)}
    return plain, ENV_SEAL.close(json.dumps(secret)) if secret else ""


def given_files_create(*, actor: Actor, execution: Execution, files: Sequence[Given]) -> None:
    """Part of the transaction that queues the execution.

    Raises Invalid for a wrong path; NotFound for a file that is not there, or that the actor may not see; TooLarge.
    """
    if not files:
        return
    _guard_paths([file.path for file in files])
    sources = {file.path: _source(actor, file) for file in files if file.text is None}
    if sum(len((file.text or "").encode()) for file in files) > GIVEN_TEXT_BYTES:
        raise TooLarge(f"The texts of files may have at most {GIVEN_TEXT_BYTES} bytes.", code="files_too_large")
    if sum(artifact.size for artifact in sources.values()) > GIVEN_COPY_BYTES:
        raise TooLarge(f"Files of executions may have at most {GIVEN_COPY_BYTES} bytes.", code="files_too_large")
    GivenFile.objects.bulk_create(
        GivenFile(
            execution=execution,
            path=file.path,
            text=file.text or "",
            stored_as=sources[file.path].stored_as if file.path in sources else "",
        )
        for file in files
    )


def _guard_paths(paths: Collection[str]) -> None:
    for path in paths:
        if not is_inside(path):
            raise _wrong(f"Must be relative, without . and ..: {path[:100]}")
    folders = {folder for path in paths for folder in list(accumulate(path.split("/"), "{}/{}".format))[:-1]}
    if len(set(paths)) < len(paths) or folders & set(paths):
        raise _wrong("A path is given twice, or is a folder of another one.")


def _wrong(words: str) -> Invalid:
    return Invalid("A path of a file is wrong.", details={"files": [words]})


def _source(actor: Actor, file: Given) -> Artifact:
    """Raises NotFound."""
    if file.execution_id is None:
        raise Invalid("A file needs a text, or an execution_id.", details={"files": [f"Nothing is in {file.path}."]})
    execution = _visible(actor.user, file.execution_id)
    return artifact_named(execution=execution, path=file.source_path or file.path)


def _visible(user: Caller | None, execution_id: UUID) -> Execution:
    if user is not None:
        return execution_find_for(user=user, execution_id=execution_id)
    found = Execution.objects.defer("script", "env").filter(pk=execution_id).first()
    if found is None:
        raise NotFound("Execution not found.", code="execution_not_found")
    return found


def given_files_delete(*, execution: Execution) -> None:
    """They are not needed any more when it has ended."""
    GivenFile.objects.filter(execution=execution).delete()


def sandbox_of_last(task: Task) -> str:
    """The sandbox in which the task was executed last. Raises Conflict where there is none any more."""
    runs = task.executions.filter(kind=ExecutionKind.RUN).exclude(sandbox_id="").order_by("-queued_at", "-id")
    sandbox_id = runs.values_list("sandbox_id", flat=True).first()
    if sandbox_id is None:
        raise Conflict("The task was not executed yet; leave out same_sandbox.", code="no_sandbox")
    made = Execution.objects.filter(sandbox_id=sandbox_id, requested_sandbox_id="", released_at__isnull=False)
    if made.exists():
        raise Conflict("The sandbox was deleted some time after its use; leave out same_sandbox.", code="no_sandbox")
    return str(sandbox_id)
