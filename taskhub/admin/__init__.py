"""The admin for operators: lists, actions, dashboard.

Lists are read-only except for their actions, and each action calls a service, so changes are audited.
"""

from __future__ import annotations

from taskhub.admin import (
    accounts,
    admission,
    announcements,
    audit,
    claims,
    dashboard,
    environments,
    events,
    executions,
    oauth_clients,
    streams,
    tasks,
    tokens,
    webhooks,
)

__all__ = [
    "accounts",
    "admission",
    "announcements",
    "audit",
    "claims",
    "dashboard",
    "environments",
    "events",
    "executions",
    "oauth_clients",
    "streams",
    "tasks",
    "tokens",
    "webhooks",
]
