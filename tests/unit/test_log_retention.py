"""Retention of logs: old ones go, with their scripts; the rest of the execution stays."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest
from django.core.files.base import ContentFile
from django.core.files.storage import default_storage
from django.utils import timezone
from rest_framework.test import APIClient

from taskhub import jobs
from taskhub.executions.log_index import SUFFIX
from taskhub.models import Execution, Task

pytestmark = [pytest.mark.django_db, pytest.mark.sqlite_suffices]


def ended(task: Task, name: str, days: int, status: str = "completed") -> Execution:
    at = timezone.now() - timedelta(days=days)
    log_file = default_storage.save(f"logs/task-{name}.log", ContentFile(b"a line\n"))
    default_storage.save(log_file + SUFFIX, ContentFile(b""))
    fields = {"script": "echo secret", "timeout_s": 60, "log_file": log_file, "log_lines": 1}
    return Execution.objects.create(task=task, status=status, finished_at=at, session_name=name, **fields)


def test_logs_and_scripts_go_together_where_a_setting_says_so(settings: Any, api: APIClient) -> None:
    task = Task.objects.create(title="t")
    old, fresh = ended(task, "old", 8), ended(task, "fresh", 6)
    for days, left in ((0, {"old", "fresh"}), (7, {"fresh"}), (7, {"fresh"})):
        settings.TASKHUB_LOGS_KEEP_DAYS = days
        jobs.logs_trim()
        assert set(Execution.objects.exclude(script="").values_list("session_name", flat=True)) == left
    assert not default_storage.exists(old.log_file)
    assert not default_storage.exists(old.log_file + SUFFIX)
    assert default_storage.exists(fresh.log_file)
    old.refresh_from_db()
    assert (old.status, old.log_lines) == ("completed", None)
    shown = api.get(f"/api/executions/{old.pk}").json()
    assert (shown["script"], shown["log_lines"]) == ("", None)
