"""Artifacts: created at the end of an execution, deleted when they expire."""

from __future__ import annotations

from datetime import datetime
from typing import Final

from django.core.files.storage import default_storage
from django.db.models import Q

from taskhub.executions.artifact_collector import Kept
from taskhub.models import Artifact, Execution, LeftOutFile

_BATCH: Final = 1000
_PATH_MOST: Final = LeftOutFile._meta.get_field("path").max_length  # noqa: SLF001 - Django's documented name


def artifacts_create(*, execution: Execution, kept: Kept) -> None:
    """Part of the transaction in which the execution ends."""
    Artifact.objects.bulk_create(
        Artifact(
            execution=execution,
            path=copy.path,
            size=copy.size,
            sha256=copy.sha256,
            stored_as=copy.stored_as,
            path_is_masked=copy.path_is_masked,
        )
        for copy in kept.copies
    )
    LeftOutFile.objects.bulk_create(
        LeftOutFile(execution=execution, path=file.path[:_PATH_MOST], size=file.size, reason=file.reason)
        for file in kept.named
    )


def artifacts_trim(*, before: datetime) -> int:
    """Delete artifacts from before then, and those whose task is deleted, with what is known of files that were not
    kept. Returns the number of artifacts."""
    old = Artifact.objects.filter(Q(kept_at__lt=before) | Q(execution__task__isnull=True))
    found = list(old.order_by("kept_at")[:_BATCH])
    for artifact in found:
        # The copy first: a process that dies here leaves a row, which the next run finds.
        default_storage.delete(artifact.stored_as)
    Artifact.objects.filter(pk__in=[artifact.pk for artifact in found]).delete()
    unnamed = LeftOutFile.objects.filter(Q(at__lt=before) | Q(execution__task__isnull=True)).order_by("at")
    LeftOutFile.objects.filter(pk__in=list(unnamed.values_list("pk", flat=True)[:_BATCH])).delete()
    return len(found)
