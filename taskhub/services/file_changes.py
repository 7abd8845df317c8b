"""File changes of a running execution: each is published once, by any worker.

The execution's row holds the number of the last published change. A worker that finds it increased knows that another
worker has published those changes. There is no audit entry: the changes are the script's, not an account's.
"""

from __future__ import annotations

from typing import Final

from django.db import transaction

from taskhub.events.publish import publish
from taskhub.events.types import ChangedFile, FileChanged
from taskhub.executions.executor import FileChange, FileChanges
from taskhub.executions.masking import mask_of, masked_path
from taskhub.models import Execution, ExecutionStatus

FILES_MOST: Final = 100
PATHS_MOST: Final = 16 * 1024
"""Characters of all paths in an event."""


@transaction.atomic
def file_changes_tell(*, execution: Execution, changes: FileChanges) -> bool:
    """Publish changes after `execution.files_seen`; False if another worker did, or the execution has ended."""
    moved = Execution.objects.filter(
        pk=execution.pk, status=ExecutionStatus.RUNNING, files_seen=execution.files_seen
    ).update(files_seen=changes.upto)
    if moved != 1:
        return False
    execution.files_seen = changes.upto
    task = execution.task
    mask = mask_of(execution)
    named = _that_fit([file._replace(path=masked_path(file.path, mask)) for file in changes.files])
    left_out = changes.left_out + len(changes.files) - len(named)
    # Files that were created and deleted between two scans are not reported.
    if task is not None and (named or left_out):
        publish(
            FileChanged(
                task_id=task.pk,
                execution_id=execution.pk,
                assignee=task.assignee,
                files=[ChangedFile(change=file.change, path=file.path, size=file.size) for file in named],
                left_out=left_out,
            )
        )
    return True


def _that_fit(files: list[FileChange]) -> list[FileChange]:
    """The latest ones, which come last."""
    left = PATHS_MOST
    first = len(files)
    while first > max(0, len(files) - FILES_MOST) and len(files[first - 1].path) <= left:
        first -= 1
        left -= len(files[first].path)
    return files[first:]
