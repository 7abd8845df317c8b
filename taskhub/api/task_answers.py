"""Answers about one task: its state with its `ETag`, and the lease under which the caller holds it."""

from __future__ import annotations

from typing import Final
from uuid import UUID

from rest_framework import status
from rest_framework.request import Request
from rest_framework.response import Response

from taskhub.api.actors import LEASE_HEADER, actor_of
from taskhub.api.serializers import TaskSerializer
from taskhub.auth.actor import Actor
from taskhub.models import Claim, Task
from taskhub.selectors.claims import claim_held_by
from taskhub.services.claims import claim_touch

ETAG: Final = "ETag"


def etag(task: Task) -> str:
    """What `If-Match` of a change compares."""
    return f'"{task.version}"'


def task_response(task: Task, http_status: int = status.HTTP_200_OK, *, actor: Actor | None = None) -> Response:
    """With `actor` the lease under which it holds the task goes with the answer, if its requests claim."""
    headers = {ETAG: etag(task), **(lease_headers(actor, task.pk) if actor else {})}
    return Response(TaskSerializer(task).data, status=http_status, headers=headers)


def claim_told(actor: Actor, task_id: UUID) -> Claim | None:
    """The claim of a caller whose requests claim and who holds the task."""
    return claim_held_by(actor, task_id) if actor.is_agent and actor.claims else None


def lease_headers(actor: Actor, task_id: UUID) -> dict[str, str]:
    """`TaskHub-Lease`, where there is one to tell."""
    claim = claim_told(actor, task_id)
    return {} if claim is None else {LEASE_HEADER: claim.token}


def touch(request: Request, task_id: UUID) -> None:
    """A reading request of the task's holder renews its lease."""
    if request.auth is not None:
        claim_touch(actor=actor_of(request), task_id=task_id)
