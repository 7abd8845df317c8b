"""Executions: the executor's contract (`executor`), and the executor that a setting names."""

from __future__ import annotations

from functools import cache
from typing import cast

from django.conf import settings
from django.utils.module_loading import import_string

from taskhub.executions.executor import Executor


@cache
def get_executor() -> Executor:
    """The executor that `TASKHUB_EXECUTOR` names by its dotted path."""
    return cast("Executor", import_string(settings.TASKHUB_EXECUTOR)())
