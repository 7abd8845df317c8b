"""Events about a task's state: the fields that they share, and readiness."""

from __future__ import annotations

from typing import Any

from taskhub.events.publish import publish
from taskhub.events.types import TaskReady
from taskhub.models import Task


def task_state(task: Task) -> dict[str, Any]:
    """The fields that task_created and task_updated share."""
    return {
        "task_id": task.pk,
        "status": task.status,
        "priority": task.priority,
        "assignee": task.assignee,
        "private": task.private,
        "artifacts": task.artifacts,
        "title": task.title,
        "tags": task.tags,
        "version": task.version,
        "updated_at": task.updated_at,
        "holder": task.holder,
        "held_back": task.held_back,
        "ready": task.ready,
        "closed_as": task.closed_as,
        "waiting_for": task.waiting_for,
        "verified": task.verified or None,
    }


def task_tell_ready(task: Task) -> None:
    """For the transaction in which the task has become ready."""
    publish(
        TaskReady(task_id=task.pk, assignee=task.assignee, priority=task.priority, title=task.title, tags=task.tags)
    )
