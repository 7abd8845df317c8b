"""The hub's rows."""

from taskhub.models.announcement import Announcement, AnnouncementLevel
from taskhub.models.artifact import Artifact
from taskhub.models.audit import AuditEntry
from taskhub.models.execution import ACTIVE_STATUSES, Execution, ExecutionStatus
from taskhub.models.listener import Listener, Replay
from taskhub.models.measure import Heartbeat, Measure, MeasureName, MeasureTotal
from taskhub.models.process import StreamProcess
from taskhub.models.task import PRIORITY_RANK, TRANSITIONS, HasTag, Task, TaskPriority, TaskStatus
from taskhub.models.token import ApiToken
from taskhub.models.webhook import DeliveryStatus, WebhookDelivery, WebhookEndpoint

__all__ = [
    "ACTIVE_STATUSES",
    "PRIORITY_RANK",
    "TRANSITIONS",
    "Announcement",
    "AnnouncementLevel",
    "ApiToken",
    "Artifact",
    "AuditEntry",
    "DeliveryStatus",
    "Execution",
    "ExecutionStatus",
    "HasTag",
    "Heartbeat",
    "Listener",
    "Measure",
    "MeasureName",
    "MeasureTotal",
    "Replay",
    "StreamProcess",
    "Task",
    "TaskPriority",
    "TaskStatus",
    "WebhookDelivery",
    "WebhookEndpoint",
]
