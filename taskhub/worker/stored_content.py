"""Copies of files in the storage, as a start reads them."""

from __future__ import annotations

from django.core.files.storage import default_storage

from taskhub.executions.executor import ExecutorError


def stored_content(name: str, *, gone: ExecutorError) -> bytes:
    """Reads the storage, and blocks. Raises `gone` where there is no copy of this name, another ExecutorError where the
    storage does not answer."""
    try:
        with default_storage.open(name) as stored:
            content: bytes = stored.read()
            return content
    except FileNotFoundError:
        raise gone from None
    except OSError as error:
        raise ExecutorError("storage_unavailable", "The storage of files does not answer.", permanent=False) from error
