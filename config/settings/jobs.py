"""Periodic jobs: what beat sends, and how often.

`expires` drops a tick that found no free worker in time: skipped, not queued (`taskhub/lib/ticks.py`). `at_rest`: the
marker of jobs that have something to do, and the seconds between two jobs while that is not set
(`taskhub/lib/awake.py`); the jobs at rest are the safety net for a marker that was lost.
"""

from __future__ import annotations

from typing import Any, Final

from config.settings.mail import MAIL_SCHEDULE
from taskhub.lib import awake

CELERY_BEAT_SCHEDULER = "taskhub.lib.beat:MonotonicScheduler"
# Spec 000's rates.
SANDBOX_STATUS_S = 5.0
SANDBOX_SESSIONS_S = 10.0
# Only while an operator looks at the admin's list.
SANDBOX_LIST_S = 5.0

_RECONCILE_S: Final = 1.0
# A page of the account's list for every 200 sandboxes, however many executions run.
_SANDBOXES_S: Final = 5.0
# A task is back within 5 s after its lease ran out.
_CLAIMS_S: Final = 2.0
# One statement where nothing is to be prepared.
_SNAPSHOTS_S: Final = 5.0
_WEBHOOKS_S: Final = 1.0
_AT_REST_S: Final = 5.0
_SELDOM_S: Final = 30.0
"""At rest, for jobs whose marker is set again and again by what they are for: running executions, open streams."""


def _job(task: str, every_s: float, *, expires_s: float, at_rest: tuple[str, float] | None = None) -> dict[str, Any]:
    rests = {} if at_rest is None else {"at_rest": at_rest}
    return {"task": task, "schedule": every_s, "options": {"expires": expires_s, **rests}}


def _trim(task: str, every_s: float) -> dict[str, Any]:
    return _job(task, every_s, expires_s=every_s)


CELERY_BEAT_SCHEDULE = {
    "reconcile executions": _job(
        "taskhub.jobs.executions_reconcile",
        _RECONCILE_S,
        expires_s=2 * _RECONCILE_S,
        at_rest=(awake.EXECUTIONS, _AT_REST_S),
    ),
    "prepare snapshots": _job(
        "taskhub.jobs.snapshots_prepare", _SNAPSHOTS_S, expires_s=_SNAPSHOTS_S, at_rest=(awake.SNAPSHOTS, _SELDOM_S)
    ),
    "expire claims": _job(
        "taskhub.jobs.claims_expire", _CLAIMS_S, expires_s=_CLAIMS_S, at_rest=(awake.CLAIMS, _AT_REST_S)
    ),
    "check the sandboxes of executions": _job(
        "taskhub.jobs.executions_check_sandboxes",
        _SANDBOXES_S,
        expires_s=_SANDBOXES_S,
        at_rest=(awake.EXECUTIONS, _SELDOM_S),
    ),
    "deliver webhooks": _job(
        "taskhub.webhooks.jobs.webhooks_deliver",
        _WEBHOOKS_S,
        expires_s=2 * _WEBHOOKS_S,
        at_rest=(awake.WEBHOOKS, _AT_REST_S),
    ),
    "trim webhooks": _trim("taskhub.webhooks.jobs.webhooks_trim", 600.0),
    "trim events": _trim("taskhub.jobs.events_trim", 600.0),
    "trim idempotency keys": _trim("taskhub.jobs.idempotency_keys_trim", 600.0),
    "trim artifacts": _trim("taskhub.jobs.artifacts_trim", 600.0),
    "void verdicts": _trim("taskhub.jobs.verdicts_void", 600.0),
    "trim logs": _trim("taskhub.jobs.logs_trim", 600.0),
    "trim measures": _trim("taskhub.jobs.measures_trim", 3600.0),
    "trim OAuth": _trim("taskhub.jobs.oauth_trim", 3600.0),
    "expire tokens": _trim("taskhub.jobs.tokens_expire", 3600.0),
    "poll sandboxes": _job(
        "sandboxes.jobs.poll_status",
        SANDBOX_STATUS_S,
        expires_s=SANDBOX_STATUS_S,
        at_rest=(awake.SUBSCRIPTIONS, _SELDOM_S),
    ),
    "poll sessions": _job(
        "sandboxes.jobs.poll_sessions",
        SANDBOX_SESSIONS_S,
        expires_s=SANDBOX_SESSIONS_S,
        at_rest=(awake.SUBSCRIPTIONS, _SELDOM_S),
    ),
    "refresh the list of sandboxes": _job(
        "sandboxes.jobs.poll_list", SANDBOX_LIST_S, expires_s=SANDBOX_LIST_S, at_rest=(awake.SANDBOX_LIST, _SELDOM_S)
    ),
    "trim observations": _trim("sandboxes.jobs.observations_trim", 3600.0),
    "expire subscriptions": _job(
        "sandboxes.jobs.subscriptions_expire", 10.0, expires_s=10.0, at_rest=(awake.SUBSCRIPTIONS, _SELDOM_S)
    ),
    "release sandboxes": _trim("taskhub.jobs.executions_release", 30.0),
    **MAIL_SCHEDULE,
}
