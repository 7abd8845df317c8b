"""The hub's rows."""

from taskhub.models.audit import AuditEntry
from taskhub.models.execution import ACTIVE_STATUSES, Execution, ExecutionStatus
from taskhub.models.process import StreamProcess
from taskhub.models.task import TRANSITIONS, Task, TaskPriority, TaskStatus
from taskhub.models.token import ApiToken

__all__ = [
    "ACTIVE_STATUSES",
    "TRANSITIONS",
    "ApiToken",
    "AuditEntry",
    "Execution",
    "ExecutionStatus",
    "StreamProcess",
    "Task",
    "TaskPriority",
    "TaskStatus",
]
