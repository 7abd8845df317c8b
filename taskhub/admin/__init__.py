"""The admin, for operators: what is going on, and what can be done about it.

Every list is read-only but for its actions, and each action is a service's: what changes here is audited too.
"""

from __future__ import annotations

from taskhub.admin import (
    accounts,
    admission,
    announcements,
    audit,
    dashboard,
    events,
    executions,
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
    "dashboard",
    "events",
    "executions",
    "streams",
    "tasks",
    "tokens",
    "webhooks",
]
